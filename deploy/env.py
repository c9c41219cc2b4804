"""Writes `.env` for docker-compose.yml: fresh random secrets, and the hashes of the two API keys. `make env`.

Nothing that stands in the file is ever changed; what a newer version needs besides is added. Needs nothing but Python.
"""

import base64
import hashlib
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

HEADER = """\
# Secrets of docker-compose.yml, made by deploy/env.py. Keep it to yourself: .env.example says what each is for.
# APP_KEY is what your application says to the broker; no container needs it, take it to where your secrets are kept.
"""

Values = dict[str, str]


def api_key(key_id: str) -> str:
    """The text of a key, as `upload-broker keys add` would print it."""
    return f"ub_{key_id}_{base64.b32encode(secrets.token_bytes(30)).decode().lower()}"


def hashed(name: str) -> Callable[[Values], str]:
    """What the broker keeps of the key that stands under `name`."""
    return lambda known: hashlib.sha256(known[name].encode()).hexdigest()


def random(count: int) -> Callable[[Values], str]:
    return lambda _: secrets.token_urlsafe(count)


def access_key(_: Values) -> str:
    return secrets.token_hex(10).upper()


MADE: dict[str, Callable[[Values], str]] = {
    "COMPOSE_PROFILES": lambda _: "emulator",
    "VALKEY_PASSWORD": random(32),
    "CAPSULE_KEY": random(48),
    "EVENT_TOKEN": random(32),
    "STORE_ACCESS_KEY": access_key,
    "STORE_SECRET_KEY": random(30),
    "STORE_WRITER_ACCESS_KEY": access_key,
    "STORE_WRITER_SECRET_KEY": random(30),
    "APP_KEY": lambda _: api_key("app"),
    "APP_KEY_HASH": hashed("APP_KEY"),
    "CONSUMER_KEY": lambda _: api_key("worker"),
    "CONSUMER_KEY_HASH": hashed("CONSUMER_KEY"),
}


def read(text: str) -> Values:
    """What is said already; an empty value says nothing."""
    pairs = (line.partition("=") for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {name.strip(): value.strip() for name, _, value in pairs if value.strip()}


def missing(known: Values) -> Values:
    """What has to be added. A key whose hash stands already is its owner's to know."""
    made: Values = {}
    for name, make in MADE.items():
        if name not in known and f"{name}_HASH" not in known:
            made[name] = make(known | made)
    return made


def main(path: Path) -> int:
    text = path.read_text() if path.exists() else HEADER
    made = missing(read(text))
    if not made:
        sys.stderr.write(f"{path} has everything; nothing was changed\n")
        return 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a") as file:
        begun = text if file.tell() == 0 else "" if text.endswith("\n") else "\n"
        file.write(begun + "".join(f"{name}={value}\n" for name, value in made.items()))
    sys.stderr.write(f"{path}: wrote {', '.join(made)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else ".env")))
