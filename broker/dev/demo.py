"""`upload-broker demo`: one real file through the whole loop, then what makes the loop trustworthy. Leaves nothing."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from broker.dev.demo_gcs import GcsTricks
from broker.dev.demo_s3 import S3Tricks
from broker.dev.stack import Stack, StackOptions, start_stack
from broker.dev.telling import (
    Answer,
    bytes_read,
    claim,
    ended_by_sigterm,
    environment_names,
    sample,
    say,
    seconds_between,
    send,
    size_of,
    title,
    xml_code,
)
from broker.dev.tricks import Tricks

_WAIT_SECONDS = 60.0


def run_demo(*, size: str, file: Path | None, provider: Literal["s3", "gcs"]) -> int:
    """0 when every claim held; each is printed with what was seen.

    :raises ConfigurationInvalid: a part did not start, or the size cannot be read.
    """
    size_bytes = size_of(size)
    with ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="upload-broker-demo-") as folder:
        directory = Path(folder)
        path = file or sample(directory / "sample.bin", size_bytes)
        tricks: type[Tricks] = GcsTricks if provider == "gcs" else S3Tricks
        say(f"Starting private Redis, {tricks.stand_ins}, broker and consumer …")
        stack = start_stack(StackOptions(directory=directory / "dev", provider=provider, policy={"first_look": "1s"}))
        try:
            say(f"broker {stack.about.broker} · store {stack.about.store} · everything on loopback, nothing in a cloud")
            return _Demo(stack=stack, tricks=tricks(stack)).run(path)
        finally:
            stack.stop()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Demo:
    stack: Stack
    tricks: Tricks

    def run(self, path: Path) -> int:
        claims = [
            self._upload(path),
            self._tampered(),
            *([self._cancelled()] if self.tricks.has_sessions else []),
            self._forged_and_doubled(),
            self._dropped(),
            self._consumer_without_keys(),
        ]
        say("")
        held = sum(claims)
        say(f"{held} of {len(claims)} claims held." + ("" if held == len(claims) else " Something is wrong."))
        return 0 if all(claims) else 1

    # --- the main job -------------------------------------------------------------------------------------

    def _upload(self, path: Path) -> bool:
        title(f"Upload {path.name} straight to the bucket, and have it processed")
        before = bytes_read(self.stack.broker.process)
        session_id = self._put(path)
        in_broker = bytes_read(self.stack.broker.process) - before
        if session_id is None:
            return False
        session = self._session(session_id)
        start = session["timeline"][0]["at"]
        for step in session["timeline"]:
            say(f"  {step['state']:<11} +{seconds_between(start, step['at']):7.3f} s")
        say(f"  consumer said: {self._consumer_line(session_id)}")
        size = path.stat().st_size
        in_store = self._counters()["bytes_in"]
        say(f"  bytes of the file {size:,} · taken by the store {in_store:,} · read by the broker {in_broker:,}")
        is_held = session["state"] == "processed" and in_store >= size and in_broker < 100_000
        return claim("The API never touched a file byte", is_held)

    # --- what makes it trustworthy --------------------------------------------------------------------------

    def _tampered(self) -> bool:
        title("Tamper with a signed PUT")
        session = self._mint("tampered.txt", 5)
        request = session["upload"]["request"]
        tampered = self.tricks.tampered(request)
        answers = {name: send("PUT", url, headers, body) for name, (url, headers, body) in tampered.items()}
        for name, answer in answers.items():
            say(f"  {name:<14} → {answer.status} {xml_code(answer)}")
        exact = send("PUT", request["url"], request["headers"], b"hello")
        again = send("PUT", request["url"], request["headers"], b"HELLO")
        say(f"  as signed      → {exact.status}; once more with other bytes → {again.status} {xml_code(again)}")
        is_held = (
            all(answer.status in self.tricks.refused for answer in answers.values())
            and exact.status == 200
            and again.status == 412
        )
        return claim("One object, one size, one type, once", is_held)

    def _cancelled(self) -> bool:
        title("Abort a session of an upload that can be taken up again")
        session = self._mint("aborted.txt", 5, strategy="resumable")
        url = session["upload"]["request"]["url"]
        begun = self._status_of(url)
        say(f"  the store, asked how many bytes it has → {begun}")
        aborted = self._ask("DELETE", f"/upload-sessions/{session['id']}")
        end = time.monotonic() + _WAIT_SECONDS
        while (ended := self._status_of(url)) == begun and time.monotonic() < end:
            time.sleep(0.1)  # the looker cancels it
        late = send("PUT", url, {}, b"hello")
        say(f"  aborted → {aborted.status}; asked again → {ended}; bytes sent there all the same → {late.status}")
        is_held = begun == 308 and ended in {404, 410, 499} and late.status in {404, 410, 499}
        return claim("A URI that Google keeps for a week ends with its session", is_held)

    def _forged_and_doubled(self) -> bool:
        title("Forge an event, and double one")
        session = self._mint("never-sent.txt", 5)
        key = session["object"]["key"]
        forged = self.tricks.forged(key)
        say(f"  forged, {self.tricks.forgery:<16} → {forged.status}")
        doubled = [self.tricks.authentic(key) for _ in range(2)]
        say(f"  authentic, object absent → {doubled[0].status}, and again → {doubled[1].status}")
        answer = self._ask("POST", f"/upload-sessions/{session['id']}/completion")
        state = self._session(session["id"])["state"]
        say(f"  the broker looked ({answer.status}): the session is still {state}")
        real = self._mint("doubled.txt", 5)
        send("PUT", real["upload"]["request"]["url"], real["upload"]["request"]["headers"], b"hello")
        for _ in range(3):
            self.tricks.authentic(real["object"]["key"])
        done = self._wait(real["id"])
        say(f"  real object, four events → {done['state']} with {done['attempts']['leases']} lease")
        is_held = forged.status in {401, 403} and state == "pending"
        return claim("An event is a hint; HEAD is the truth", is_held and done["attempts"]["leases"] == 1)

    def _dropped(self) -> bool:
        title("Lose every event")
        send("PUT", f"{self.stack.about.store}/_emulator/faults", {}, b'{"events_lost": 1.0}')
        session = self._mint("unannounced.txt", 5)
        request = session["upload"]["request"]
        send("PUT", request["url"], request["headers"], b"hello")
        done = self._wait(session["id"])
        took = seconds_between(done["timeline"][0]["at"], done["timeline"][-1]["at"])
        lost = self._counters()["events"]["lost"]
        say(f"  events lost so far: {lost}; client said nothing; {done['state']} after {took:.1f} s all the same")
        return claim("A lost event costs seconds, never the upload", done["state"] == "processed" and lost > 0)

    def _consumer_without_keys(self) -> bool:
        title("What a file that owns the consumer would find there")
        process = self.stack.consumers[0].process
        names = environment_names(process)
        say(f"  its environment: {', '.join(names) if names else 'cannot be read on this system'}")
        secrets = [name for name in names if re.search("AWS|REDIS|SECRET|CAPSULE|S3|GOOGLE|GCS|ENCRYPTION", name)]
        return claim("The consumer holds no credential but its own role key", not secrets)

    # --- talking to the parts -------------------------------------------------------------------------------

    @staticmethod
    def _status_of(session_uri: str) -> int:
        return send("PUT", session_uri, {"content-range": "bytes */5"}).status

    def _put(self, path: Path) -> str | None:
        flags = [*self.tricks.flags, "--wait", "processed"]
        argv = [sys.executable, "-m", "uploader", "put", str(path), *flags, "--timeout", "600"]
        env = dict(os.environ, BROKER_URL=self.stack.about.broker, BROKER_API_KEY=self.stack.about.api_key)
        say(f"  $ uploader put {path.name} {' '.join(flags)}")
        sys.stdout.flush()
        done = subprocess.run([*argv, "--json"], env=env, stdout=subprocess.PIPE, check=False)  # noqa: S603 - our own
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        ids = [line["session_id"] for line in lines if line.get("session_id")]
        return ids[-1] if ids and done.returncode == 0 else None

    def _mint(self, filename: str, size_bytes: int, strategy: str = "put") -> Any:
        asked = {
            "filename": filename,
            "size_bytes": size_bytes,
            "content_type": "text/plain",
            "strategy": strategy,
        }
        return self._ask("POST", "/upload-sessions", json.dumps(asked).encode()).json

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
        return send(method, self.stack.about.broker + path, headers, body)

    def _counters(self) -> Any:
        return send("GET", f"{self.stack.about.store}/_emulator/counters", {}, b"").json

    def _consumer_line(self, session_id: str) -> str:
        """The consumer's own words on its stdout."""
        lines = self.stack.consumers[0].out.read_text().splitlines()
        said = [line for line in lines if "File size:" in line]
        return said[-1] if said else f"nothing about {session_id}"
