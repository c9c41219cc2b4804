"""`upload-broker demo`: one real file through the whole loop, then what makes the loop trustworthy. Leaves nothing."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.dev.stack import BUCKET, Stack, StackOptions, start_stack
from broker.domain.errors import ConfigurationInvalid

_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def run_demo(*, size: str, file: Path | None) -> int:
    """0 when every claim held; each is printed with what was seen.

    :raises ConfigurationInvalid: a part did not start, or the size cannot be read.
    """
    size_bytes = _bytes(size)
    with _ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="upload-broker-demo-") as folder:
        directory = Path(folder)
        path = file or _sample(directory / "sample.bin", size_bytes)
        _say("Starting private Redis, strict S3 emulator, broker and consumer …")
        stack = start_stack(StackOptions(directory=directory / "dev", policy={"first_look": "1s"}))
        try:
            _say(
                f"broker {stack.about.broker} · store {stack.about.store} · everything on loopback, nothing in a cloud"
            )
            return _Demo(stack=stack, directory=directory).run(path)
        finally:
            stack.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    stack: Stack
    directory: Path

    def run(self, path: Path) -> int:
        claims = [
            self._upload(path),
            self._tampered(),
            self._forged_and_doubled(),
            self._dropped(),
            self._consumer_without_keys(),
        ]
        _say("")
        held = sum(claims)
        _say(f"{held} of {len(claims)} claims held." + ("" if held == len(claims) else " Something is wrong."))
        return 0 if all(claims) else 1

    # --- the main job -------------------------------------------------------------------------------------

    def _upload(self, path: Path) -> bool:
        _title(f"Upload {path.name} straight to the bucket, and have it processed")
        before = _bytes_read(self.stack.broker.process)
        session_id = self._put(path)
        in_broker = _bytes_read(self.stack.broker.process) - before
        if session_id is None:
            return False
        session = self._session(session_id)
        start = session["timeline"][0]["at"]
        for step in session["timeline"]:
            _say(f"  {step['state']:<11} +{_seconds(start, step['at']):7.3f} s")
        _say(f"  consumer said: {self._consumer_line(session_id)}")
        size = path.stat().st_size
        in_store = self._counters()["bytes_in"]
        _say(f"  bytes of the file {size:,} · taken by the store {in_store:,} · read by the broker {in_broker:,}")
        is_held = session["state"] == "processed" and in_store >= size and in_broker < 100_000
        return _claim("The API never touched a file byte", is_held)

    # --- what makes it trustworthy --------------------------------------------------------------------------

    def _tampered(self) -> bool:
        _title("Tamper with a signed PUT")
        session = self._mint("tampered.txt", 5)
        request = session["upload"]["request"]
        tampered = {
            "one byte more": (request["url"], request["headers"], b"hello!"),
            "another type": (request["url"], request["headers"] | {"content-type": "text/html"}, b"hello"),
            "another key": (request["url"].replace("tampered.txt", "other.txt"), request["headers"], b"hello"),
            "made public": (request["url"], request["headers"] | {"x-amz-acl": "public-read"}, b"hello"),
        }
        answers = {name: _send("PUT", url, headers, body) for name, (url, headers, body) in tampered.items()}
        for name, answer in answers.items():
            _say(f"  {name:<14} → {answer.status} {_s3_code(answer)}")
        exact = _send("PUT", request["url"], request["headers"], b"hello")
        again = _send("PUT", request["url"], request["headers"], b"HELLO")
        _say(f"  as signed      → {exact.status}; once more with other bytes → {again.status} {_s3_code(again)}")
        is_held = (
            all(answer.status == 403 for answer in answers.values()) and exact.status == 200 and again.status == 412
        )
        return _claim("One object, one size, one type, once", is_held)

    def _forged_and_doubled(self) -> bool:
        _title("Forge an event, and double one")
        session = self._mint("never-sent.txt", 5)
        event = _event(session["object"]["key"])
        door = f"{self.stack.about.broker}/notifications/dev"
        forged = _send("POST", f"{door}?token=guessed", {"content-type": "application/json"}, event)
        _say(f"  forged, wrong token      → {forged.status}")
        url = f"{door}?token={self._event_token()}"
        doubled = [_send("POST", url, {"content-type": "application/json"}, event) for _ in range(2)]
        _say(f"  authentic, object absent → {doubled[0].status}, and again → {doubled[1].status}")
        answer = self._ask("POST", f"/upload-sessions/{session['id']}/completion")
        state = self._session(session["id"])["state"]
        _say(f"  the broker looked ({answer.status}): the session is still {state}")
        real = self._mint("doubled.txt", 5)
        _send("PUT", real["upload"]["request"]["url"], real["upload"]["request"]["headers"], b"hello")
        for _ in range(3):
            _send("POST", url, {"content-type": "application/json"}, _event(real["object"]["key"]))
        done = self._wait(real["id"])
        _say(f"  real object, four events → {done['state']} with {done['attempts']['leases']} lease")
        is_held = forged.status in {401, 403} and state == "pending"
        return _claim("An event is a hint; HEAD is the truth", is_held and done["attempts"]["leases"] == 1)

    def _dropped(self) -> bool:
        _title("Lose every event")
        _send("PUT", f"{self.stack.about.store}/_emulator/faults", {}, b'{"events_lost": 1.0}')
        session = self._mint("unannounced.txt", 5)
        request = session["upload"]["request"]
        _send("PUT", request["url"], request["headers"], b"hello")
        done = self._wait(session["id"])
        took = _seconds(done["timeline"][0]["at"], done["timeline"][-1]["at"])
        lost = self._counters()["events"]["lost"]
        _say(f"  events lost so far: {lost}; client said nothing; {done['state']} after {took:.1f} s all the same")
        return _claim("A lost event costs seconds, never the upload", done["state"] == "processed" and lost > 0)

    def _consumer_without_keys(self) -> bool:
        _title("What a file that owns the consumer would find there")
        process = self.stack.consumers[0].process
        names = _environment_names(process)
        _say(f"  its environment: {', '.join(names) if names else 'cannot be read on this system'}")
        secrets = [name for name in names if re.search("AWS|REDIS|SECRET|CAPSULE|S3", name)]
        return _claim("The consumer holds no credential but its own role key", not secrets)

    # --- talking to the parts -------------------------------------------------------------------------------

    def _put(self, path: Path) -> str | None:
        argv = [sys.executable, "-m", "uploader", "put", str(path), "--wait", "processed", "--timeout", "600"]
        env = dict(os.environ, BROKER_URL=self.stack.about.broker, BROKER_API_KEY=self.stack.about.api_key)
        _say(f"  $ uploader put {path.name} --wait processed")
        sys.stdout.flush()
        done = subprocess.run([*argv, "--json"], env=env, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        ids = [line["session_id"] for line in lines if line.get("session_id")]
        return ids[-1] if ids and done.returncode == 0 else None

    def _mint(self, filename: str, size_bytes: int) -> Any:
        body = json.dumps({"filename": filename, "size_bytes": size_bytes, "content_type": "text/plain"}).encode()
        return self._ask("POST", "/upload-sessions", body).json

    def _session(self, session_id: str) -> Any:
        return self._ask("GET", f"/upload-sessions/{session_id}").json

    def _wait(self, session_id: str) -> Any:
        end = time.monotonic() + _WAIT_SECONDS
        while time.monotonic() < end:
            session = self._session(session_id)
            if session["state"] not in {"pending", "verified", "processing"}:
                return session
            time.sleep(0.1)  # polling is what a client of this API does
        return session

    def _ask(self, method: str, path: str, body: bytes = b"") -> Answer:
        headers = {"authorization": f"Bearer {self.stack.about.api_key}", "content-type": "application/json"}
        return _send(method, self.stack.about.broker + path, headers, body)

    def _counters(self) -> Any:
        return _send("GET", f"{self.stack.about.store}/_emulator/counters", {}, b"").json

    def _event_token(self) -> str:
        return str(json.loads((self.stack.options.directory / "credentials.json").read_bytes())["event_token"])

    def _consumer_line(self, session_id: str) -> str:
        """The consumer's own words on its stdout."""
        lines = self.stack.consumers[0].out.read_text().splitlines()
        said = [line for line in lines if "File size:" in line]
        return said[-1] if said else f"nothing about {session_id}"


def _send(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
    request = urllib.request.Request(url, data=body or None, method=method, headers=dict(headers))  # noqa: S310 - loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return Answer(status=response.status, body=response.read())
    except urllib.error.HTTPError as exc:
        with exc:
            return Answer(status=exc.code, body=exc.read())


def _event(key: str) -> bytes:
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
    }
    return json.dumps({"Records": [record]}).encode()


def _s3_code(answer: Answer) -> str:
    match = re.search(rb"<Code>(\w+)</Code>", answer.body)
    return match[1].decode() if match else ""


def _seconds(start: str, end: str) -> float:
    from datetime import datetime  # noqa: PLC0415

    return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()


def _bytes_read(process: subprocess.Popen[bytes] | None) -> int:
    """Every byte that the process ever read: from files and, as uvloop calls read(2), from sockets (proc(5), io)."""
    text = Path(f"/proc/{process.pid}/io").read_text() if process else ""
    match = re.search(r"^rchar: (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0


def _environment_names(process: subprocess.Popen[bytes] | None) -> list[str]:
    with contextlib.suppress(OSError):
        entries = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0") if process else []
        return sorted(entry.partition(b"=")[0].decode() for entry in entries if entry)
    return []


def _bytes(text: str) -> int:
    match = re.fullmatch(r"(\d+)\s*([KMGT]iB|B|)", text)
    if match is None:
        raise ConfigurationInvalid(f"{text!r} is no size: write 64MiB or 1GiB")
    return int(match[1]) * _UNITS[match[2]]


def _sample(path: Path, size_bytes: int) -> Path:
    """Real, incompressible bytes, a MiB at a time."""
    with path.open("wb") as file:
        left = size_bytes
        while left:
            left -= file.write(os.urandom(min(left, 2**20)))
    return path


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM unwinds like Ctrl-C, so that everything that was started is stopped."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _title(text: str) -> None:
    _say(f"\n▸ {text}")


def _claim(text: str, is_held: bool) -> bool:
    _say(f"  {'✔' if is_held else '✘'} {text}")
    return is_held


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
