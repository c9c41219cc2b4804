"""What the demo needs around what it shows: HTTP without a library, what a process read and knows, and lines."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from broker.domain.errors import ConfigurationInvalid

_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def send(method: str, url: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
    request = urllib.request.Request(url, data=body or None, method=method, headers=dict(headers))  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return Answer(status=response.status, body=response.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return Answer(status=exc.code, body=exc.read())


def xml_code(answer: Answer) -> str:
    """The code of a store's refusal."""
    match = re.search(rb"<Code>(\w+)</Code>", answer.body)
    return match[1].decode() if match else ""


def seconds_between(start: str, end: str) -> float:
    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def bytes_read(process: subprocess.Popen[bytes] | None) -> int:
    """Every byte that the process ever read: from files and, as uvloop calls read(2), from sockets (proc(5), io)."""
    text = Path(f"/proc/{process.pid}/io").read_text() if process else ""
    match = re.search(r"^rchar: (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0


def environment_names(process: subprocess.Popen[bytes] | None) -> list[str]:
    with contextlib.suppress(OSError):
        entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0") if process else []
        return sorted(entry.partition(b"=")[0].decode() for entry in entries if entry)
    return []


def size_of(text: str) -> int:
    """:raises ConfigurationInvalid: it is no size."""
    match = re.fullmatch(r"(\d+)\s*([KMGT]iB|B|)", text)
    if match is None:
        raise ConfigurationInvalid(f"{text!r} is no size: write 64MiB or 1GiB")
    return int(match[1]) * _UNITS[match[2]]


def sample(path: Path, size_bytes: int) -> Path:
    """Real, incompressible bytes, a MiB at a time."""
    with path.open("wb") as file:
        left = size_bytes
        while left:
            left -= file.write(os.urandom(min(left, 2**20)))
    return path


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that everything that was started is stopped."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def title(text: str) -> None:
    say(f"\n▸ {text}")


def claim(text: str, is_held: bool) -> bool:
    say(f"  {'✔' if is_held else '✘'} {text}")
    return is_held


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
