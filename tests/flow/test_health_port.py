"""A looker without the API: an orchestrator asks its own port whether it lives and whether it can work."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from broker.dev.redis_server import RedisServer, start_redis
from broker.domain.principals import hash_of, new_key_text

SECONDS = 20
OBSERVER, ADMIN = new_key_text("prometheus"), new_key_text("root")


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = start_redis(tmp_path / "redis")
    yield server
    server.stop()


@contextmanager
def looking(directory: Path, redis: RedisServer, *argv: str) -> Iterator[tuple[subprocess.Popen[bytes], Any]]:
    config = directory / "broker.toml"
    config.write_text(
        f'[ledger]\nurl = "{redis.url}"\n[secrets]\ncapsule_keys = [{{env = "CAPSULE_KEY"}}]\n'
        f'[keys.root]\nhash = "{hash_of(ADMIN)}"\nroles = ["admin", "observe"]\n'
        f'[keys.prometheus]\nhash = "{hash_of(OBSERVER)}"\nroles = ["observe"]\n'
    )
    command = [sys.executable, "-m", "broker", "look", "--config", str(config), "--json", *argv]
    env = {**os.environ, "CAPSULE_KEY": "k" * 40}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as looker:
        assert looker.stdout is not None
        try:
            yield looker, json.loads(looker.stdout.readline())
        finally:
            looker.kill()


def ask(url: str, **headers: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=SECONDS) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as refused:
        return refused.code, refused.read()


def test_it_says_that_it_lives_and_works_until_it_is_told_to_stop(tmp_path: Path, redis: RedisServer) -> None:
    with looking(tmp_path, redis, "--health-port", "0") as (looker, said):
        assert said.keys() == {"looker", "health"}
        assert ask(f"{said['health']}/healthz") == (200, b"ok\n")
        assert ask(f"{said['health']}/readyz")[0] == 200
        looker.send_signal(signal.SIGTERM)
        assert looker.wait(SECONDS) == 0


def test_it_serves_nothing_else_there(tmp_path: Path, redis: RedisServer) -> None:
    with looking(tmp_path, redis, "--health-port", "0") as (_, said):
        for path in ("/upload-sessions/00aaaaaaaaaaaaaaaaaaaaaaaaaa", "/jobs/lease", "/notifications/x"):
            status, problem = ask(said["health"] + path)
            assert (status, json.loads(problem)["code"]) == (404, "route-not-found")


def test_without_its_ledger_it_lives_and_is_not_ready(tmp_path: Path, redis: RedisServer) -> None:
    with looking(tmp_path, redis, "--health-port", "0") as (looker, said):
        redis.kill()
        ends = time.monotonic() + SECONDS
        while (answer := ask(f"{said['health']}/readyz"))[0] == 200:
            assert time.monotonic() < ends
        assert answer[0] == 503
        assert json.loads(answer[1])["problems"]
        assert ask(f"{said['health']}/healthz")[0] == 200
        assert looker.poll() is None


def test_it_is_scraped_there_also_while_the_ledger_is_away(tmp_path: Path, redis: RedisServer) -> None:
    observer = {"authorization": f"Bearer {OBSERVER}"}
    with looking(tmp_path, redis, "--health-port", "0") as (_, said):
        url = f"{said['health']}/metrics"
        assert ask(url)[0] == 401
        status, text = ask(url, **observer)
        assert status == 200
        assert b"\nbroker_ledger_up 1.0\n" in text
        assert b"\nbroker_looks_due 0.0\n" in text
        assert b"\nprocess_resident_memory_bytes " in text
        redis.kill()
        ends = time.monotonic() + SECONDS
        while b"\nbroker_ledger_up 0.0\n" not in (answer := ask(url, **observer))[1]:
            assert time.monotonic() < ends
            assert answer[0] == 200
        assert answer[0] == 200
        assert ask(url, authorization=f"Bearer {new_key_text('prometheus')}")[0] == 401
        assert ask(url, authorization=f"Bearer {ADMIN}")[0] == 503  # it may have been revoked, and may do more


def test_without_a_port_it_listens_nowhere(tmp_path: Path, redis: RedisServer) -> None:
    with looking(tmp_path, redis) as (looker, said):
        assert said == {"looker": "ready"}
        looker.send_signal(signal.SIGTERM)
        assert looker.wait(SECONDS) == 0


def test_a_taken_health_port_is_one_sentence(tmp_path: Path, redis: RedisServer) -> None:
    with looking(tmp_path, redis, "--health-port", "0") as (_, said):
        port = said["health"].rpartition(":")[2]
        config = tmp_path / "broker.toml"
        argv = [sys.executable, "-m", "broker", "look", "--config", str(config), "--health-port", port]
        env = {**os.environ, "CAPSULE_KEY": "k" * 40}
        done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
