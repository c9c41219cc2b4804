"""The sample workers in other languages, against the real broker and a strict store that breaks downloads."""

import asyncio
import hashlib
import json
import os
import random
import signal
import sys
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.contract import State
from broker.dev.stack import Stack
from tests.guides.conftest import need
from uploader import Uploader, UploadFailed

SAMPLES = Path(__file__).parents[2] / "docs" / "samples"
MINUTE = timedelta(minutes=1)
BODY = random.Random(7).randbytes(6 << 20)
DIGEST = hashlib.sha256(BODY).hexdigest()

# Both do the same by content type, so that one suite holds both workers.
NODE = """
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";

export default async (job, bytes, signal) => {
  const digest = createHash("sha256");
  for await (const chunk of bytes) digest.update(chunk);
  const no = Object.assign(new Error("no table"), { outcome: "rejected", code: "no-table" });
  if (job.content_type === "x/reject") throw no;
  if (job.content_type === "x/throw") throw new Error("oops");
  if (job.content_type === "x/wait") while (!existsSync(process.env.GO)) await new Promise((go) => setTimeout(go, 20));
  const secrets = Object.keys(job).filter((name) => ["lease", "read"].includes(name));
  const { epoch, filename: name, metadata } = job;
  return { sha256: digest.digest("hex"), epoch, name, case: metadata.url ?? null, secrets };
};
"""

SHELL = """
digest=$(sha256sum | cut -d' ' -f1)
case $(jq -r .content_type "$JOB") in
  x/reject) exit 65 ;;
  x/throw) exit 1 ;;
  x/wait) while [ ! -e "$GO" ]; do sleep 0.05; done ;;
esac
jq --arg digest "$digest" '{sha256: $digest, epoch, name: .filename, case: (.metadata.url // null),
  secrets: [keys[] | select(. == "lease" or . == "read")]}' "$JOB"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample worker: how it is started, and what it says when it begins with a job."""

    name: str
    argv: tuple[str, ...]
    leased: bytes
    lost: bytes
    reported: bytes

    def __str__(self) -> str:
        return self.name


Work = Callable[..., AbstractAsyncContextManager[asyncio.subprocess.Process]]


@pytest.fixture(params=["worker.mjs", "worker.sh"])
def sample(request: pytest.FixtureRequest, tmp_path: Path) -> Sample:
    path = str(SAMPLES / request.param)
    if request.param == "worker.mjs":
        need("node")
        (tmp_path / "process.mjs").write_text(NODE)
        argv = ("node", path, str(tmp_path / "process.mjs"))
        return Sample(name="node", argv=argv, leased=b'"job.leased"', lost=b'"job.lost"', reported=b'"code":')
    need("jq", "curl")
    (tmp_path / "process.sh").write_text(SHELL)
    argv = ("sh", path, "sh", str(tmp_path / "process.sh"))
    return Sample(name="sh", argv=argv, leased=b"leased ", lost=b"lost ", reported=b"result ")


@pytest.fixture
def work(stack: Stack, sample: Sample, tmp_path: Path) -> Work:
    """Runs one worker; at the end it is asked to stop, and must."""

    @asynccontextmanager
    async def running() -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            *sample.argv,
            env={
                "PATH": os.environ["PATH"],
                "BROKER_URL": stack.about.broker,
                "BROKER_CONSUMER_KEY": stack.about.consumer_key,
                "RENEW_SECONDS": "1",
                "GO": str(tmp_path / "go"),
                "TMPDIR": str(tmp_path),
            },
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            yield process
            if process.returncode is None:
                process.terminate()
            async with asyncio.timeout(30):
                await process.wait()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what a killed worker left behind
            _, said = await process.communicate()
            sys.stderr.write(said.decode())  # shown by pytest when the test fails
            for secret in (stack.about.consumer_key, "X-Amz-Signature", stack.about.secret_key):
                assert secret.encode() not in said

    return running


@pytest.fixture
def misbehave(stack: Stack) -> Iterator[Callable[[dict[str, float]], None]]:
    def tell(faults: dict[str, float]) -> None:
        url = f"{stack.about.store}/_emulator/faults"
        request = urllib.request.Request(url, json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    yield tell
    tell({})


async def told(process: asyncio.subprocess.Process, text: bytes) -> bytes:
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while text not in (line := await process.stderr.readline()):
            assert line, "it ended without saying so"
    return line


async def put(uploader: Uploader, kind: str = "text/plain", **more: Any) -> Any:
    body = more.pop("body", b"x")
    result = await uploader.put(body, filename='a "b".txt', content_type=kind, wait="processed", timeout=MINUTE, **more)
    return result.session


async def test_what_was_uploaded_is_processed_whatever_the_uploader_named_it(uploader: Uploader, work: Work) -> None:
    """File name and metadata are his: neither changes which URL is read, nor which lease is reported."""
    async with work():
        planted = {"url": "http://127.0.0.1:1/", "token": "x"}
        session = await put(uploader, body=BODY, metadata=planted)
    assert session.state is State.PROCESSED
    assert session.result["sha256"] == DIGEST
    assert session.result["name"] == 'a "b".txt'
    assert session.result["case"] == "http://127.0.0.1:1/"
    assert session.result["secrets"] == []
    assert session.attempts.failures == 0


async def test_an_empty_object_is_processed(uploader: Uploader, work: Work) -> None:
    async with work():
        session = await put(uploader, body=b"")
    assert session.result["sha256"] == hashlib.sha256(b"").hexdigest()


async def test_every_byte_comes_through_a_store_that_breaks(
    uploader: Uploader, work: Work, misbehave: Callable[[dict[str, float]], None]
) -> None:
    misbehave({"reset_downloads": 0.3, "truncated": 0.3, "seed": 5})
    async with work():
        sessions = [await put(uploader, body=BODY) for _ in range(3)]
    assert {session.result["sha256"] for session in sessions} == {DIGEST}
    assert {session.attempts.failures for session in sessions} == {0}


async def test_a_job_outlives_the_worker_that_was_killed(
    uploader: Uploader, work: Work, sample: Sample, tmp_path: Path
) -> None:
    putting = asyncio.create_task(put(uploader, "x/wait"))
    async with work() as first:
        await told(first, sample.leased)
        first.kill()
        await first.wait()
        (tmp_path / "go").touch()
        async with work():  # while whatever the dead one had started may still run
            session = await putting
    assert session.attempts.lost_leases >= 1
    assert session.attempts.failures == 0
    assert [step.state for step in session.timeline].count(State.PROCESSED) == 1


async def test_a_worker_that_stops_gives_its_job_to_the_next_without_blame(
    uploader: Uploader, work: Work, sample: Sample, tmp_path: Path
) -> None:
    putting = asyncio.create_task(put(uploader, "x/wait"))
    async with work() as first:
        await told(first, sample.leased)
        first.terminate()
        async with asyncio.timeout(30):
            assert await first.wait() == 0
    (tmp_path / "go").touch()
    async with work():
        session = await putting
    attempts = session.attempts
    assert (attempts.failures, attempts.lost_leases, attempts.infrastructure) == (0, 0, 0)
    assert attempts.leases >= 2


async def test_a_lease_is_held_for_longer_than_its_life(
    uploader: Uploader, work: Work, sample: Sample, tmp_path: Path
) -> None:
    putting = asyncio.create_task(put(uploader, "x/wait"))
    async with work() as worker:
        await told(worker, sample.leased)
        done, _ = await asyncio.wait({putting}, timeout=5)  # the lease's life is three seconds
        assert not done
        (tmp_path / "go").touch()
        session = await putting
    assert session.attempts.lost_leases == 0


async def test_of_two_that_believe_they_own_a_job_the_older_reports_nothing(
    stack: Stack, uploader: Uploader, work: Work, sample: Sample
) -> None:
    """The worker is stopped for longer than its lease, as a paused machine is; meanwhile somebody else leases."""
    putting = asyncio.create_task(put(uploader, "x/wait"))
    async with work() as sleeper:
        await told(sleeper, sample.leased)
        os.killpg(sleeper.pid, signal.SIGSTOP)
        try:
            job = await asyncio.to_thread(lease_patiently, stack)
        finally:
            os.killpg(sleeper.pid, signal.SIGCONT)
        await told(sleeper, sample.lost)
        report(stack, job, {"by": "another"})
        session = await putting
    assert session.result == {"by": "another"}


async def test_a_broker_that_restarts_loses_no_result(
    stack: Stack, uploader: Uploader, work: Work, sample: Sample, tmp_path: Path
) -> None:
    putting = asyncio.create_task(put(uploader, "x/wait"))
    async with work() as worker:
        await told(worker, sample.leased)
        await asyncio.to_thread(stack.broker.kill)
        (tmp_path / "go").touch()
        await asyncio.to_thread(stack.broker.start)
        session = await putting
    assert session.attempts.failures == 0


async def test_reject_ends_and_an_error_is_tried_again_until_it_is_buried(uploader: Uploader, work: Work) -> None:
    async with work():
        with pytest.raises(UploadFailed):
            await put(uploader, "x/reject")
        with pytest.raises(UploadFailed):
            await put(uploader, "x/throw")


async def test_a_wrong_digest_that_no_store_has_checked_is_never_processed(
    stack: Stack, uploader: Uploader, work: Work, sample: Sample
) -> None:
    """Node proves it; the shell worker cannot, and says so instead of answering `processed`."""
    session_id = await asyncio.to_thread(upload_in_parts, stack, BODY, "A" * 43 + "=")
    async with work() as worker:
        await told(worker, sample.reported)
    session = await uploader.status(session_id)
    expected = {"node": (State.REJECTED, "checksum-mismatch"), "sh": (State.FAILED, "checksum-not-provable")}
    assert (session.state, session.reason.code) == expected[sample.name]  # type: ignore[union-attr]


def upload_in_parts(stack: Stack, body: bytes, sha256: str) -> str:
    """A declared digest of an object in parts is proved by nobody but its reader."""
    wish = {"filename": "a", "size_bytes": len(body), "strategy": "multipart", "checksum": {"sha256": sha256}}
    session = call(stack, "/upload-sessions", wish, key=stack.about.api_key)
    for part in session["upload"]["parts"]:
        signed, start = part["request"], part["offset_bytes"]
        piece = body[start : start + part["size_bytes"]]
        request = urllib.request.Request(signed["url"], piece, signed["headers"], method=signed["method"])
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
    completed = call(stack, f"/upload-sessions/{session['id']}/completion", {}, key=stack.about.api_key)
    assert completed["state"] == "verified"
    return str(session["id"])


def lease_patiently(stack: Stack) -> dict[str, Any]:
    for _ in range(3):
        if jobs := call(stack, "/jobs/lease", {"wait_seconds": 10})["jobs"]:
            return dict(jobs[0])
    raise AssertionError("nobody's job became visible")


def report(stack: Stack, job: dict[str, Any], result: Any) -> None:
    lease = job["lease"]
    wish = {"lease": lease["token"], "epoch": lease["epoch"], "outcome": "processed", "result": result}
    call(stack, f"/jobs/{job['id']}/result", wish)


def call(stack: Stack, path: str, body: Any, key: str | None = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key or stack.about.consumer_key}", "Content-Type": "application/json"}
    request = urllib.request.Request(stack.about.broker + path, json.dumps(body).encode(), headers, method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))
