"""Plain functions in processes: what they can do, what they cannot reach, and what their death costs."""

import asyncio
import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from consumer_standin import KEY, PATIENT_SECONDS, Fault, Standin

from broker import contract
from consumer import errors, frames
from consumer.pool import Pool, _outcome, environment
from consumer.processors import Processor, arrange, collect

PARSERS = """
import ctypes, json, os, signal, subprocess, sys, threading, time
from pathlib import Path
from consumer import FileReader, Job, Reject, Retry, processor

@processor("text/plain")
def measure(job: Job, reader: FileReader):
    with reader.as_file(suffix=".csv") as path:
        named = path.read_bytes()
    with reader.as_file() as path:
        nameless = path.read_bytes()
    whole = reader.read()
    assert named == nameless == whole == b"".join(reader.iter_chunks(7))
    lines = sum(1 for _ in reader.iter_lines())
    return {"bytes": len(whole), "lines": lines, "range": reader.read_range(1, 3).decode(),
            "suffix": path.name != "", "epoch": job.lease.epoch, "case": job.metadata["case"]}

@processor("x/look")
def look(job, reader):
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            descriptors[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            pass
    return {"environ": dict(os.environ), "argv": Path("/proc/self/cmdline").read_text().split("\\0"),
            "fds": descriptors, "job": repr(job), "pid": os.getpid(), "session": os.getsid(0),
            "modules": sorted(sys.modules), "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
            "no_new_privs": ctypes.CDLL(None).prctl(39, 0, 0, 0, 0)}

@processor("x/segfault")
def segfault(job, reader):
    ctypes.string_at(0)

@processor("x/exit")
def leave(job, reader):
    os._exit(7)

@processor("x/sysexit")
def sysexit(job, reader):
    sys.exit(3)

@processor("x/raise")
def fail(job, reader):
    raise ValueError("no column in https://s3.test/x?X-Amz-Signature=1")

@processor("x/retry")
def again(job, reader):
    raise Retry(12, "busy")

@processor("x/reject")
def no(job, reader):
    raise Reject("not a table", code="bad-table")

@processor("x/large")
def large(job, reader):
    return "x" * 65_536

@processor("x/memory")
def memory(job, reader):
    return reader.read(max_bytes=1)

@processor("x/object")
def anything(job, reader):
    return object()

@processor("x/hang", timeout=1.0)
def hang(job, reader):
    helper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(os.environ["TMPDIR"], "pids").write_text(f"{os.getpid()} {helper.pid}")
    time.sleep(600)

@processor("x/forge")
def forge(job, reader):
    import pickle
    class Owned:
        def __reduce__(self):
            return (os.system, ("touch " + os.environ["TMPDIR"] + "/owned",))
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith("socket:"):
                os.write(int(name), len(pickle.dumps(Owned())).to_bytes(4, "big") + pickle.dumps(Owned()))
        except OSError:
            pass
    time.sleep(600)

@processor("x/say")
def say(job, reader):
    print("said", flush=False)
    return {}
"""


@pytest.fixture
def parsers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Marked functions as the worker sees them; its processes import the same file."""
    (tmp_path / "parsers.py").write_text(PARSERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "parsers", raising=False)
    yield arrange(collect(importlib.import_module("parsers")))
    sys.modules.pop("parsers")


async def _one(standin: Standin, start: Callable[..., Any], parsers: Any, content_type: str, body: bytes = b"x") -> Any:
    standin.add(body, content_type=content_type)
    start(parsers)
    (report,) = await standin.until_heard("result")
    return report


async def test_a_plain_function_reads_its_object_every_way(standin: Standin, start: Any, parsers: Any) -> None:
    report = await _one(standin, start, parsers, "text/plain; charset=utf-8", b"one\ntwo\nthree")
    assert report.outcome == "processed"
    expected = {"bytes": 13, "lines": 3, "range": "ne", "suffix": True, "epoch": 1, "case": "17"}
    assert msgspec.json.decode(report.result) == expected


async def test_a_process_has_no_key_no_lease_and_no_address(
    standin: Standin, start: Any, parsers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BROKER_CONSUMER_KEY", "AWS_SECRET_ACCESS_KEY", "REDIS_URL"):
        monkeypatch.setenv(name, KEY)
    report = await _one(standin, start, parsers, "x/look")
    seen = msgspec.json.decode(report.result)
    everything = str(seen)
    for secret in (KEY, "lease-00job", "X-Amz-Signature", standin.url):
        assert secret not in everything
    assert not {name for name in seen["environ"] if name.startswith(("BROKER_", "AWS_", "REDIS"))}
    assert "(deleted)" in str(seen["fds"]), "the object's file has no name"
    assert len([told for told in seen["fds"].values() if told.startswith("socket:")]) == 1
    assert (seen["dumpable"], seen["no_new_privs"]) == (0, 1)
    assert seen["session"] == seen["pid"], "the terminal's Ctrl-C is not for it"
    assert "aiohttp" not in seen["modules"]


def test_the_key_cannot_be_passed_on_by_option() -> None:
    own = {"BROKER_CONSUMER_KEY": KEY, "PATH": "/bin", "LC_ALL": "C", "OWN": "1", "OTHER": "2"}
    assert environment(own, ("OWN", "BROKER_CONSUMER_KEY")) == {"PATH": "/bin", "LC_ALL": "C", "OWN": "1"}


@pytest.mark.parametrize(
    ("kind", "outcome", "code", "message"),
    [
        ("segfault", "retry", "worker-died", "Segmentation fault"),
        ("exit", "retry", "worker-died", "exit code 7"),
        ("sysexit", "retry", "processor-error", "SystemExit"),
        ("raise", "retry", "processor-error", "ValueError: no column in ***"),
        ("retry", "retry", "processor-retry", "busy"),
        ("reject", "rejected", "bad-table", "not a table"),
        ("large", "failed", "result-too-large", ""),
        ("memory", "failed", "too-large-for-memory", ""),
        ("object", "failed", "result-not-json", ""),
        ("forge", "retry", "worker-died", ""),
    ],
)
async def test_what_happens_in_a_process_becomes_its_job_s_outcome(
    standin: Standin, start: Any, parsers: Any, tmp_path: Path, kind: str, outcome: str, code: str, message: str
) -> None:
    report = await _one(standin, start, parsers, f"x/{kind}", b"xy")
    assert (report.outcome, report.reason.code) == (outcome, code)
    assert message in report.reason.message
    assert report.retry_after_seconds == (12 if kind == "retry" else None)
    assert "owned" not in _names(tmp_path), "an answer is never unpickled"


async def test_the_death_of_one_process_leaves_the_other_jobs_alone(standin: Standin, start: Any, parsers: Any) -> None:
    kinds = ["x/segfault", "text/plain"] * 4
    for kind in kinds:
        standin.add(b"xyz", content_type=kind)
    start(parsers, concurrency=8)
    reports = await standin.until_heard("result", 8)
    assert sorted(report.outcome for report in reports) == ["processed"] * 4 + ["retry"] * 4


async def test_a_timeout_ends_the_process_and_all_that_it_started(
    standin: Standin, start: Any, parsers: Any, tmp_path: Path
) -> None:
    report = await _one(standin, start, parsers, "x/hang")
    assert (report.outcome, report.reason.code) == ("retry", "timeout")
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    assert await asyncio.to_thread(_are_gone, pids)


async def test_bytes_are_proved_before_a_parser_sees_them(
    standin: Standin, start: Any, parsers: Any, tmp_path: Path, digests: Any
) -> None:
    standin.add(b"other", content_type="x/hang", prove=["sha256"], checksum=digests(b"bytes"))
    standin.add(b"x", content_type="x/hang", faults=[Fault(kind="status", status=412)])
    start(parsers)
    reports = await standin.until_heard("result", 2)
    assert sorted(report.reason.code for report in reports) == ["checksum-mismatch", "object-changed"]
    assert not (tmp_path / "pids").exists()


async def test_no_file_is_left_behind(standin: Standin, start: Any, parsers: Any, tmp_path: Path) -> None:
    await _one(standin, start, parsers, "text/plain", b"xyz")
    assert _names(tmp_path) <= {"parsers.py", "__pycache__"}


@pytest.mark.parametrize(("jobs_per_process", "processes"), [(1, 3), (2, 2), (10, 1)])
async def test_a_process_serves_as_many_jobs_as_it_was_told_to(
    standin: Standin, start: Any, parsers: Any, pool: Pool, jobs_per_process: int, processes: int
) -> None:
    pool.jobs_per_process = jobs_per_process
    for _ in range(3):
        standin.add(b"x", content_type="x/look")
    start(parsers, concurrency=1)
    reports = await standin.until_heard("result", 3)
    assert len({msgspec.json.decode(report.result)["pid"] for report in reports}) == processes


def test_a_process_serves_one_job_unless_told_otherwise(pool: Pool) -> None:
    assert pool.jobs_per_process == 1


async def test_an_application_that_cannot_be_imported_is_found_out_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("raise RuntimeError('https://x.test/secret')\n")
    pool = Pool(module="broken", app_dir=tmp_path, environ=environment(os.environ, ()))
    with pytest.raises(errors.WorkerDied, match=r"RuntimeError: \*\*\*"):
        await pool.warm()
    await pool.aclose()


async def test_closing_ends_every_process(parsers: Any, tmp_path: Path, pool: Pool) -> None:
    assert isinstance(parsers.match("x/look"), Processor)
    await pool.warm()
    before = [child for child in psutil.Process().children() if str(tmp_path) in child.cmdline()]
    assert len(before) == 1
    await pool.aclose()
    assert not before[0].is_running()


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (frames.Reply(kind="result", result=b'null,"outcome":"processed"'), errors.ResultNotJson),
        (frames.Reply(kind="result", result=b"[" * 60_000), errors.ResultNotJson),
        (frames.Reply(kind="reject", code='bad"code\n', message="m"), errors.Reject),
        (frames.Reply(kind="error", code="object-missing", message="m"), errors.ProcessorError),
        (frames.Reply(kind="error", code="lease-lost", message="m"), errors.ProcessorError),
        (frames.Reply(kind="error", code="store-trouble", message="m"), errors.ProcessorError),
    ],
)
def test_a_hostile_answer_is_taken_apart(reply: frames.Reply, error: type[Exception]) -> None:
    with pytest.raises(error):
        _outcome(reply)


def test_an_answer_s_bound_is_above_every_result() -> None:
    whole = frames.framed(frames.Reply(kind="result", result=b"x" * contract.MAX_RESULT_BYTES))
    assert len(whole) < frames.MAX_BYTES


def _names(directory: Path) -> set[str]:
    return {path.name for path in directory.iterdir()}


def _are_gone(pids: list[int]) -> bool:
    left = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    alive = [each for each in left if each.status() != psutil.STATUS_ZOMBIE]
    return not psutil.wait_procs(alive, timeout=PATIENT_SECONDS)[1]
