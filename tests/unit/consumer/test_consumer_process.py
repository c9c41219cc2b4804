"""The real command: what it loads, how it starts, and how it ends."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import psutil
import pytest
from click.testing import CliRunner
from consumer_standin import KEY, PATIENT_SECONDS, Standin, served

import consumer.__main__ as command
from consumer.__main__ import main

ROOT = Path(__file__).parents[3]

WAITING = """
import asyncio, ctypes, os
from consumer import processor

@processor("text/plain")
async def wait(job, reader):
    async with asyncio.timeout(60):
        while not os.path.exists(os.environ["GO"]):
            await asyncio.sleep(0.01)
    return {"key": os.environ.get("BROKER_CONSUMER_KEY")}

@processor("x/hang")
async def hang(job, reader):
    await asyncio.Event().wait()

@processor("x/dumpable")
async def dumpable(job, reader):
    return ctypes.CDLL(None).prctl(3, 0, 0, 0, 0)  # PR_GET_DUMPABLE

@processor("x/plain")
def plain(job, reader):
    return {"environ": dict(os.environ)}
"""


@asynccontextmanager
async def _running(standin: Standin, *arguments: str, **environ: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "consumer",
        "run",
        *arguments,
        cwd=ROOT,
        env=os.environ | {"BROKER_URL": standin.url, "BROKER_CONSUMER_KEY": KEY} | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _ended(process: asyncio.subprocess.Process) -> tuple[str, str]:
    async with asyncio.timeout(PATIENT_SECONDS):
        out, err = await process.communicate()
    return out.decode(), err.decode()


async def _told(process: asyncio.subprocess.Process, text: bytes) -> None:
    assert process.stderr is not None
    async with asyncio.timeout(PATIENT_SECONDS):
        while text not in (line := await process.stderr.readline()):
            assert line, "it ended without saying so"


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "waiting.py").write_text(WAITING)
    return tmp_path


@pytest.mark.parametrize("module", ["consumer", "consumer.__main__", "consumer.child"])
def test_importing_the_worker_loads_nothing_of_the_server(module: str) -> None:
    code = f"import sys, {module}; print(*sorted(sys.modules))"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=30
    )
    names = set(found.stdout.split())
    forbidden = {"litestar", "redis", "boto3", "botocore", "cryptography", "google.auth", "uvicorn", "uploader"}
    assert not names & forbidden
    assert {name for name in names if name.split(".")[0] == "broker"} == {"broker", "broker.contract"}
    if module != "consumer.__main__":
        assert "aiohttp" not in names, "a parser's process starts quickly"


async def test_the_builtin_worker_measures_and_ends_on_sigterm(standin: Standin) -> None:
    standin.add(b"x" * 1_048_576 * 3, filename="report.csv")
    async with _running(standin, "--log-format", "json") as process:
        (report,) = await standin.until_heard("result")
        await standin.until(lambda: len(standin.asked) >= 2)
        process.terminate()
        out, err = await _ended(process)
    assert process.returncode == 0
    assert out == "File: report.csv\nFile size: 3.00 MiB\n"
    assert report.outcome == "processed"
    told = [msgspec.json.decode(line) for line in err.splitlines()]
    expected = ["worker.started", "job.leased", "job.processed", "worker.draining", "worker.stopped"]
    assert [line["event"] for line in told] == expected
    assert told[2].pop("at").startswith("20")
    assert told[2] == {"event": "job.processed", "session_id": "00job0", "epoch": 1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_lets_the_running_job_finish(
    standin: Standin, application: Path, number: signal.Signals
) -> None:
    go = application / "go"
    standin.add(b"x")
    async with _running(standin, "waiting", "--app-dir", str(application), GO=str(go)) as process:
        await standin.until(lambda: standin.held["00job0"].is_leased)
        await standin.until(lambda: len(standin.asked) >= 2)
        process.send_signal(number)
        await _told(process, b"event=worker.draining")
        _touch(go)
        (report,) = await standin.until_heard("result")
        _, err = await _ended(process)
    assert process.returncode == 0
    assert report.outcome == "processed"
    assert msgspec.json.decode(report.result) == {"key": None}, "the key left the environment"
    assert "given_back=0" in err


@pytest.mark.parametrize("signals", [1, 2])
async def test_a_job_that_does_not_finish_is_given_back(standin: Standin, application: Path, signals: int) -> None:
    standin.add(b"x", content_type="x/hang")
    drain = "0.2" if signals == 1 else "600"
    async with _running(standin, "waiting", "--app-dir", str(application), "--drain-seconds", drain) as process:
        await standin.until(lambda: len(standin.asked) >= 2)
        process.terminate()
        if signals == 2:
            await _told(process, b"event=worker.draining")
            process.terminate()
        _, err = await _ended(process)
    assert process.returncode == 0
    assert [ask.cause for ask in standin.verbs("release")] == ["drain"]
    assert "event=job.drained session_id=00job0 epoch=1" in err


async def test_a_plain_function_sees_only_what_is_passed_on(standin: Standin, application: Path) -> None:
    standin.add(b"x", content_type="x/plain")
    options = ("waiting", "--app-dir", str(application), "--pass-env", "OWN")
    async with _running(standin, *options, OWN="1", AWS_SECRET_ACCESS_KEY="s3cret") as process:
        (report,) = await standin.until_heard("result")
        process.terminate()
        await _ended(process)
    environ = msgspec.json.decode(report.result)["environ"]
    assert environ["OWN"] == "1"
    assert not {"BROKER_CONSUMER_KEY", "BROKER_URL", "AWS_SECRET_ACCESS_KEY"} & set(environ)


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux")
async def test_the_memory_of_a_worker_that_runs_an_application_is_closed(standin: Standin, application: Path) -> None:
    """What a parser owns runs as the same user; /proc would show it our first environment."""
    standin.add(b"x", content_type="x/dumpable")
    async with _running(standin, "waiting", "--app-dir", str(application)) as process:
        (report,) = await standin.until_heard("result")
        argv = _argv(process.pid)
        process.terminate()
        await _ended(process)
    assert msgspec.json.decode(report.result) == 0
    assert KEY not in argv


def _argv(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="prctl(2) is Linux")
async def test_a_killed_worker_takes_its_processes_along(standin: Standin, application: Path) -> None:
    async with _running(standin, "waiting", "--app-dir", str(application)) as process:
        await standin.until(lambda: len(standin.asked) >= 1)
        children = psutil.Process(process.pid).children()
        assert len(children) == 1
        process.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, children, timeout=PATIENT_SECONDS)
    assert not alive


async def test_a_broker_that_starts_later_is_found(unused_tcp_port: int) -> None:
    late = Standin(url=f"http://127.0.0.1:{unused_tcp_port}")
    late.add(b"x")
    async with _running(late) as process:
        await _told(process, b"event=broker.away")
        async with served(late, unused_tcp_port):
            await late.until_heard("result")
            process.terminate()
            await _ended(process)
    assert process.returncode == 0


async def test_a_refused_key_is_one_sentence_and_an_exit_code(standin: Standin) -> None:
    async with _running(standin, BROKER_CONSUMER_KEY="ub_wrong_key") as process:
        _, err = await _ended(process)
    assert process.returncode == 1
    assert err.splitlines()[-1] == "Error: cannot lease jobs: the broker answered 401 unauthenticated"
    assert "ub_wrong_key" not in err


@pytest.mark.parametrize(
    ("arguments", "environ", "sentence"),
    [
        ([], {"BROKER_CONSUMER_KEY": ""}, "the key of role consume is missing"),
        (["no.such.module"], {}, "there is no module no.such.module"),
        (["json"], {}, "json has no function marked with @processor"),
        (["--broker", "ftp://x"], {}, "the broker's URL starts with http:// or https://"),
    ],
)
def test_what_cannot_start_says_why_in_one_sentence(
    arguments: list[str], environ: dict[str, str], sentence: str
) -> None:
    environ = {"BROKER_URL": "http://127.0.0.1:9", "BROKER_CONSUMER_KEY": KEY} | environ
    result = CliRunner().invoke(main, ["run", *arguments], env=environ)
    assert result.exit_code == 1
    assert sentence in result.output
    assert KEY not in result.output


def test_the_key_can_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(command.KEY_VARIABLE, "ub_other")
    path = tmp_path / "key"
    path.write_text(f"{KEY}\n")
    assert command._key(path) == KEY
    assert command.KEY_VARIABLE not in os.environ


def test_help_shows_an_example() -> None:
    assert "upload-consumer run myapp.processors" in CliRunner().invoke(main, ["run", "--help"]).output


def _touch(path: Path) -> None:
    path.touch()


async def test_the_alive_file_is_as_old_as_the_last_good_answer(standin: Standin, tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    alive.touch()
    os.utime(alive, (0, 0))
    standin.refuse["lease"] = [503] * 1_000
    async with _running(standin, "--alive-file", str(alive), "--wait-seconds", "0.1") as process:
        await _told(process, b"event=broker.away")
        assert not alive.exists(), "neither an earlier worker's file nor a refusal is a sign of life"
        standin.refuse.clear()
        await _told(process, b"event=broker.back")
        first = alive.stat().st_mtime_ns
        asked = len(standin.asked)
        await standin.until(lambda: len(standin.asked) >= asked + 2)
        assert alive.stat().st_mtime_ns > first
        process.terminate()
        await _ended(process)
    assert process.returncode == 0


async def test_an_alive_file_that_cannot_be_written_is_one_sentence(standin: Standin, tmp_path: Path) -> None:
    async with _running(standin, "--alive-file", str(tmp_path / "absent" / "alive")) as process:
        _, err = await _ended(process)
    assert process.returncode == 1
    assert err.startswith("Error: the alive file ")
    assert len(err.splitlines()) == 1
