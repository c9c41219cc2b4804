"""Uploads of trees by the real command against a real stack: whoever starts them, and what the store then holds."""

import asyncio
import hashlib
import json
import os
import sys
import urllib.request
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from broker.dev.stack import BUCKET, Stack, bucket_of
from tests.owners import owner_of
from uploader.tree.reader import Reader
from uploader.tree.rows import Row

RUN_SECONDS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """How a command ended; `code` is negative if a signal ended it."""

    code: int
    events: list[dict[str, Any]]
    err: str

    def named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == name]

    @property
    def finished(self) -> dict[str, Any]:
        (event,) = self.named("tree.finished")
        return event

    @property
    def failed(self) -> dict[str, str]:
        """Codes by path."""
        return {event["path"]: event["code"] for event in self.named("file.failed")}

    @property
    def manifest(self) -> Path:
        (began,) = self.named("tree.began")
        return Path(began["manifest"])


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeWorld:
    """
    :ivar state: where manifests are kept.
    :ivar broker: its URL, perhaps of somebody in front of it.
    """

    stack: Stack
    state: Path
    broker: str

    async def start(self, *arguments: str | Path, before: Sequence[str] = ()) -> asyncio.subprocess.Process:
        """:param before: a command that runs ours with fewer rights."""
        return await asyncio.create_subprocess_exec(
            *before,
            *(sys.executable, "-m", "uploader", "put", *map(os.fspath, arguments), "--json"),
            env={
                "PATH": os.environ["PATH"],
                "XDG_STATE_HOME": str(self.state),
                "XDG_CONFIG_HOME": str(self.state),
                "BROKER_URL": self.broker,
                "BROKER_API_KEY": self.stack.about.api_key,
                "PYTHONWARNINGS": "error",
            },
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
        )

    async def put(self, *arguments: str | Path) -> Run:
        """To its end."""
        return await ended(await self.start(*arguments))

    def misbehave(self, **faults: float) -> None:
        """From now on; without words, nothing goes wrong at the store. Each is called as S3's emulator calls it."""
        if self.stack.options.provider == "gcs":
            faults = {GOOGLE_FAULTS.get(name, name): value for name, value in faults.items()}
        request = urllib.request.Request(
            f"{self.stack.about.store}/_emulator/faults", json.dumps(faults).encode(), method="PUT"
        )
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    def counters(self) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.stack.about.store}/_emulator/counters", timeout=10) as response:
            found: dict[str, Any] = json.load(response)
        return found

    async def objects(self, destination: str = "default") -> dict[str, str]:
        """MD5 in hex by key, as a client that is not ours lists them; without the broker's own marks."""
        with closing(await asyncio.to_thread(owner_of, self.stack, destination)) as owner:
            found = await owner.digests(bucket_of(destination) if destination != "default" else BUCKET, "uploads/")
        return {key: digest for key, digest in found.items() if not key.endswith("/.broker")}


GOOGLE_FAULTS = {"slow_down": "unavailable"}


async def ended(process: asyncio.subprocess.Process) -> Run:
    saying = asyncio.ensure_future(process.communicate())
    await asyncio.wait([saying], timeout=RUN_SECONDS)
    if not saying.done():  # with its last words
        process.kill()
        out, err = await saying
        raise AssertionError(f"not done after {RUN_SECONDS} s: …{out[-1500:].decode()}\n{err.decode()}")
    out, err = await saying
    assert process.returncode is not None
    *lines, last = out.split(b"\n")  # a process that was killed may have written half a line
    assert not last or process.returncode < 0
    return Run(code=process.returncode, events=[json.loads(line) for line in lines], err=err.decode())


def rows_of(manifest: Path) -> list[Row]:
    with Reader.open(manifest) as reader:
        return list(reader.rows())


def md5_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()
