"""`upload-broker jobs` against a real ledger and a real store."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from uploader import Uploader

HOSTILE = "parse\x1b[2Jerror"


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack whose only consumer is the test."""
    directory = tmp_path_factory.mktemp("idle") / "dev"
    running = start_stack(StackOptions(directory=directory, policy={"first_look": "1s"}, consumers=0))
    yield running
    running.stop()


def jobs(stack: Stack, *argv: str) -> subprocess.CompletedProcess[str]:
    directory = stack.options.directory
    command = [sys.executable, "-m", "broker", "jobs", *argv, "--config", str(directory / "broker.toml")]
    return subprocess.run(command, env=dict(stack.broker.env), capture_output=True, text=True, timeout=60, check=False)


async def fail(stack: Stack, name: str, code: str) -> str:
    async with Uploader(stack.about.broker, stack.about.api_key) as uploader:
        session_id = (await uploader.put(b"hello", filename=name, wait="verified", keep_session=True)).session_id
    headers = {"authorization": f"Bearer {stack.about.consumer_key}"}
    async with aiohttp.ClientSession(stack.about.broker, headers=headers) as http:
        async with http.post("/jobs/lease", json={"wait_seconds": 10}) as answer:
            (job,) = (await answer.json())["jobs"]
        assert job["id"] == session_id
        report = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"], "outcome": "failed"}
        report["reason"] = {"code": code, "message": "line 3"}
        async with http.post(f"/jobs/{session_id}/result", json=report) as answer:
            assert answer.status == 200
    return session_id


def test_failed_jobs_are_listed_and_retried(idle: Stack) -> None:
    nothing = jobs(idle, "dead")
    assert (nothing.returncode, nothing.stdout) == (0, ""), nothing.stderr
    first = asyncio.run(fail(idle, "größe.csv", HOSTILE))
    second = asyncio.run(fail(idle, "second.csv", "no-processor"))

    listed = jobs(idle, "dead").stdout
    assert [line.partition(" ")[0] for line in listed.splitlines()] == [second, first]
    assert "größe.csv" in listed
    assert "no-processor" in listed
    assert "\x1b" not in listed
    assert [json.loads(line)["id"] for line in jobs(idle, "dead", "--json").stdout.splitlines()] == [second, first]
    assert len(jobs(idle, "dead", "--limit", "1").stdout.splitlines()) == 1
    assert jobs(idle, "dead", "--destination", "elsewhere").stdout == ""

    planned = jobs(idle, "retry", "--all", "--dry-run")
    assert sorted(planned.stdout.splitlines()) == sorted(f"{each}  would be retried" for each in (first, second))
    assert len(jobs(idle, "dead").stdout.splitlines()) == 2

    chosen = jobs(idle, "retry", "--all", "--reason", "no-processor")
    assert chosen.stdout == f"{second}  retried\n", chosen.stderr
    named = jobs(idle, "retry", first, second, "nonsense")
    assert named.returncode == 1
    assert named.stdout.splitlines() == [
        f"{first}  retried",
        f"{second}  not retried: it has not failed",
        "nonsense  not retried: There is no such upload session, or it belongs to another principal.",
    ]
    assert jobs(idle, "dead").stdout == ""


@pytest.mark.parametrize("argv", [(), ("00", "--all"), ("00", "--reason", "x"), ("00", "--destination", "x")])
def test_what_to_retry_must_be_clear(idle: Stack, argv: tuple[str, ...]) -> None:
    done = jobs(idle, "retry", *argv)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_help_shows_an_example_each(tmp_path: Path) -> None:
    for command in ("dead", "retry"):
        done = subprocess.run(
            [sys.executable, "-m", "broker", "jobs", command, "--help"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert "Example: upload-broker jobs" in done.stdout
