"""`check` as a command beside a running broker: the bucket's event, what is skipped without one, and what is left."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from broker.dev.stack import BUCKET, REGION, Stack, StackOptions, start_stack
from broker.storage.s3.sigv4 import Credential
from tests.checks.world import LIFECYCLE
from tests.contracts.storage.s3.witness import S3Witness

SECONDS = 60.0


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp("stack") / "dev"
    running = start_stack(StackOptions(directory=directory, consumers=0, page_origins=("https://app.example",)))
    witness = witness_of(running)
    witness.client.put_bucket_lifecycle_configuration(Bucket=BUCKET, LifecycleConfiguration=LIFECYCLE)
    witness.close()
    yield running
    running.stop()


@pytest.fixture
def witness(stack: Stack) -> Iterator[S3Witness]:
    witness = witness_of(stack)
    yield witness
    witness.close()


def witness_of(stack: Stack) -> S3Witness:
    about = stack.about
    return S3Witness.of(about.store, REGION, Credential(access_key=about.access_key, secret_key=about.secret_key))


def environment(stack: Stack) -> dict[str, str]:
    known = json.loads((stack.options.directory / "credentials.json").read_text())
    secrets = {f"DEV_{name.upper()}": known[name] for name in ("capsule_key", "event_token", "secret_key")}
    return {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | secrets


def command(stack: Stack, *flags: str) -> list[str]:
    config = stack.options.directory / "broker.toml"
    return [sys.executable, "-m", "broker", "check", "--config", str(config), *flags]


def check(stack: Stack, *flags: str) -> subprocess.CompletedProcess[str]:
    run = command(stack, *flags)
    return subprocess.run(run, env=environment(stack), capture_output=True, text=True, timeout=SECONDS, check=False)


def document(stack: Stack, *flags: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """Exit code, and the only destination's steps by code."""
    done = check(stack, "--json", *flags)
    (report,) = json.loads(done.stdout)["destinations"]
    return done.returncode, {step["code"]: step for step in report["steps"]}


def keys(witness: S3Witness) -> set[str]:
    return asyncio.run(witness.keys(BUCKET, "uploads/"))


@pytest.fixture
def faults(stack: Stack) -> Iterator[Any]:
    def put(**settings: float) -> None:
        request = Request(f"{stack.about.store}/_emulator/faults", json.dumps(settings).encode(), method="PUT")
        urlopen(request, timeout=10).close()

    yield put
    put()


def test_the_event_is_heard_and_no_job_comes_of_it(stack: Stack, witness: S3Witness) -> None:
    code, steps = document(stack)

    assert code == 0, steps
    assert steps["event"]["outcome"] == "passed"
    assert steps["event"]["said"].endswith("by dev")
    assert keys(witness) <= {"uploads/.broker"}
    lease = Request(
        f"{stack.about.broker}/jobs/lease",
        b'{"max": 1, "wait_seconds": 1, "worker": "w"}',
        {"Authorization": f"Bearer {stack.about.consumer_key}", "Content-Type": "application/json"},
    )
    assert json.load(urlopen(lease, timeout=10))["jobs"] == []


def test_an_event_that_is_lost_fails_that_line_only(stack: Stack, faults: Any) -> None:
    faults(events_lost=1.0)

    code, steps = document(stack, "--event-timeout", "1s")

    assert code == 1
    assert [name for name, step in steps.items() if step["outcome"] == "failed"] == ["event"]
    assert "none within 1 s" in steps["event"]["said"]
    assert "setup s3 --print default" in steps["event"]["fix"]


def test_where_no_broker_answers_the_event_is_skipped_with_the_reason(stack: Stack) -> None:
    code, steps = document(stack, "--broker", "http://127.0.0.1:9")

    assert code == 0
    assert steps["event"]["outcome"] == "skipped"
    assert "no broker answers at http://127.0.0.1:9" in steps["event"]["said"]


def test_a_queue_is_waited_for_whether_or_not_serve_answers(stack: Stack, faults: Any) -> None:
    """`poll` may run anywhere: nobody can be asked whether it does."""
    faults(events_lost=1.0)
    queue = {"kind": "sqs", "queue_url": "https://sqs.us-east-1.amazonaws.com/1/q", "destinations": ["default"]}
    run = command(stack, "--json", "--broker", "http://127.0.0.1:9", "--event-timeout", "1s")
    env = environment(stack) | {"BROKER_SOURCES": json.dumps({"queue": queue})}
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)

    (report,) = json.loads(done.stdout)["destinations"]
    (step,) = [each for each in report["steps"] if each["code"] == "event"]
    assert (done.returncode, step["outcome"]) == (1, "failed")
    assert "what takes it (queue) runs with this ledger" in step["fix"]


def test_without_a_source_there_is_nothing_to_wait_for(stack: Stack) -> None:
    env = environment(stack) | {"BROKER_SOURCES": "{}"}
    run = command(stack, "--json")
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)

    (report,) = json.loads(done.stdout)["destinations"]
    assert done.returncode == 0
    assert report["steps"][-2]["said"] == "no source is configured: uploads are found by looking"


def test_without_the_brokers_secrets_the_store_can_be_checked_all_the_same(stack: Stack) -> None:
    env = {name: text for name, text in environment(stack).items() if name != "DEV_CAPSULE_KEY"}
    done = subprocess.run(
        command(stack, "--json"), env=env, capture_output=True, text=True, timeout=SECONDS, check=False
    )

    (report,) = json.loads(done.stdout)["destinations"]
    assert done.returncode == 0
    assert "DEV_CAPSULE_KEY is not set" in report["steps"][-2]["said"]


def test_without_events_nobody_waits(stack: Stack) -> None:
    assert document(stack, "--no-events")[1]["event"]["said"] == "not asked for (--no-events)"


def test_without_a_ledger_the_event_is_skipped_with_the_reason(stack: Stack) -> None:
    run = command(stack, "--json")
    env = environment(stack) | {"BROKER_LEDGER__URL": "redis://127.0.0.1:9/0"}
    done = subprocess.run(run, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)

    (report,) = json.loads(done.stdout)["destinations"]
    assert done.returncode == 0
    assert "the ledger cannot be asked" in report["steps"][-2]["said"]


def test_people_read_a_line_a_step_without_colours_when_it_is_piped(stack: Stack) -> None:
    done = check(stack, "default", "--no-events")

    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert "  ✓ put " in done.stdout
    assert "  – event " in done.stdout
    assert done.stdout.splitlines()[-1].startswith("default: ")
    assert "0 failed" in done.stdout
    assert "X-Amz" not in done.stdout + done.stderr


def test_what_cannot_be_configured_is_no_check(stack: Stack, tmp_path: Path) -> None:
    assert check(stack, "elsewhere").returncode == 2
    config = tmp_path / "broker.toml"
    config.write_text('[destinations.default]\ndialect = "ceph"\nbucket = "uploads"\nendpoint = "http://127.0.0.1:9"\n')
    run = [sys.executable, "-m", "broker", "check", "--config", str(config), "--json"]
    done = subprocess.run(
        run, env=environment(stack), capture_output=True, text=True, timeout=SECONDS, check=False, cwd=tmp_path
    )
    assert done.returncode == 2
    assert json.loads(done.stdout)["outcome"] == "untried"
    assert "accept_unsigned_headers" in json.loads(done.stdout)["destinations"][0]["problem"]


@contextmanager
def waiting_check(stack: Stack, witness: S3Witness) -> Iterator[subprocess.Popen[str]]:
    """One that has uploaded what the bucket shall tell of."""
    process = subprocess.Popen(
        command(stack, "--event-timeout", "50s"), env=environment(stack), stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    next(line for line in process.stdout if " ownership " in line)  # the one before the one that waits
    end = time.monotonic() + SECONDS
    while all("/.broker" in key for key in keys(witness)):  # until its upload is there
        assert time.monotonic() < end
    try:
        yield process
    finally:
        process.kill()
        process.wait(SECONDS)
        process.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_removes_what_it_made(
    stack: Stack, witness: S3Witness, faults: Any, number: signal.Signals
) -> None:
    faults(events_lost=1.0)
    with waiting_check(stack, witness) as process:
        process.send_signal(number)
        rest, _ = process.communicate(timeout=SECONDS)

    assert process.returncode == 1
    assert "– event" in rest
    assert "interrupted" in rest
    assert keys(witness) <= {"uploads/.broker"}


def test_killed_it_leaves_a_dead_sessions_object_that_the_sweeper_knows(
    stack: Stack, witness: S3Witness, faults: Any
) -> None:
    """Last: what else it left lies under a key that nobody takes for an upload."""
    faults(events_lost=1.0)
    with waiting_check(stack, witness) as process:
        process.kill()
    config = str(stack.options.directory / "broker.toml")
    run = [sys.executable, "-m", "broker", "sweep", "default", "--json", "--config", config]
    done = subprocess.run(run, env=environment(stack), capture_output=True, text=True, timeout=SECONDS, check=False)

    report = json.loads(done.stdout)
    assert report["kept"]["objects"] + report["removable"]["objects"] == 1
    assert report["unknown"]["objects"] == 0
    left = {key for key in keys(witness) if key != "uploads/.broker"}
    assert report["foreign"]["objects"] == len([key for key in left if key.startswith("uploads/.broker-check/")])
    for key in left:
        witness.client.delete_object(Bucket=BUCKET, Key=key)
