"""The whole Compose file as local processes: everything becomes healthy, one upload is processed, everything ends."""

import hashlib
import json
import random
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import compose_file, dockerfile, local

ROOT = local.ROOT
SIZE_BYTES = 3 * 1_048_576
EVENT_SECONDS = 20.0


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What `make env` writes."""
    path: Path = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([sys.executable, ROOT / "deploy/env.py", path], check=True, timeout=30, capture_output=True)
    return compose_file.read_env(path)


@pytest.fixture(scope="module")
def stack(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[local.Stack]:
    if shutil.which("redis-server") is None or shutil.which("redis-cli") is None:
        pytest.skip("there is no redis-server with its redis-cli on the PATH to stand in for Valkey")
    document = compose_file.read(ROOT / "docker-compose.yml", env)
    stages = dockerfile.read(ROOT / "Dockerfile")
    profiles = set(env["COMPOSE_PROFILES"].split(","))
    with local.stack(document, profiles, stages, tmp_path_factory.mktemp("stack")) as built:
        built.up()
        yield built


def put(stack: local.Stack, path: Path, key: str, port: str) -> dict[str, Any]:
    """Uploads as anybody would, through one of the published brokers."""
    environment = {"PATH": str(local.BIN), "BROKER_URL": f"http://{stack.published(port)}", "BROKER_API_KEY": key}
    done = subprocess.run(
        [local.BIN / "uploader", "put", path, "--wait", "processed", "--timeout", "60", "--json"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def make(path: Path) -> Path:
    path.write_bytes(random.Random(SIZE_BYTES).randbytes(SIZE_BYTES))
    return path


@pytest.mark.timeout(240)
def test_every_service_becomes_healthy(stack: local.Stack) -> None:
    for replica in stack.all():
        replica.wait_healthy()


@pytest.mark.parametrize("port", ["8080", "8081"])
def test_an_upload_through_each_broker_is_processed(
    stack: local.Stack, env: dict[str, str], tmp_path: Path, port: str
) -> None:
    path = make(tmp_path / "sample.bin")
    told = put(stack, path, env["APP_KEY"], port)
    assert told["state"] == "processed"
    assert told["result"]["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_brokers_believe_every_event_of_the_store(stack: local.Stack) -> None:
    """Not only by schedule: without its token the store would be refused, and uploads processed all the same."""
    end = time.monotonic() + EVENT_SECONDS
    while True:
        with urllib.request.urlopen(f"http://{stack.published('9000')}/_emulator/counters", timeout=10) as answer:
            events = json.load(answer)["events"]
        if events["sent"] == events["created"] + 1 > 2:  # the test event, which S3 sends first, is not counted
            return
        assert time.monotonic() < end, events
        time.sleep(0.05)


def test_the_other_broker_goes_on_when_one_dies(stack: local.Stack, env: dict[str, str], tmp_path: Path) -> None:
    (first,) = stack.replicas["broker-1"]
    first.kill()
    told = put(stack, make(tmp_path / "sample.bin"), env["APP_KEY"], "8081")
    assert told["state"] == "processed"
    first.start()
    first.wait_healthy()


def test_no_secret_is_an_argument_or_a_line_of_a_log(stack: local.Stack, env: dict[str, str]) -> None:
    secrets = {value for name, value in env.items() if name != "COMPOSE_PROFILES" and "ACCESS_KEY" not in name}
    for replica in stack.all():
        told = " ".join(replica.argv) + replica.log.read_text(errors="replace")
        assert not [secret for secret in secrets if secret in told], replica.name


def test_every_service_ends_on_sigterm_within_its_grace(stack: local.Stack) -> None:
    """Last: nothing runs afterwards."""
    codes = stack.down()
    assert set(codes.values()) == {0}, codes
