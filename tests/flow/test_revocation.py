"""The kill switch over two broker processes: what one operator types, both obey at the next request."""

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from broker.dev.children import Child
from broker.dev.stack import Stack, StackOptions, start_stack

WITHIN = 30
WISH = {"filename": "report.csv", "size_bytes": 3, "strategy": "multipart"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    running = start_stack(StackOptions(directory=tmp_path_factory.mktemp("stack") / "dev", consumers=0))
    yield running
    running.stop()


@pytest.fixture(scope="module")
def brokers(stack: Stack) -> Iterator[tuple[str, str]]:
    argv = [*stack.broker.argv, "--no-look", "--port", "0"]
    second: Child = replace(stack.broker, name="second", argv=argv, process=None)
    try:
        yield stack.about.broker, second.start()["broker"]
    finally:
        second.stop()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(timeout=WITHIN) as client:
        yield client


def keys(stack: Stack, verb: str, *argv: str) -> str:
    config: Path = stack.options.directory / "broker.toml"
    command = [sys.executable, "-m", "broker", "keys", verb, *argv, "--config", str(config)]
    env = dict(stack.broker.env)
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=WITHIN, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def calls(session_id: str) -> list[tuple[str, str, Any]]:
    path = f"/upload-sessions/{session_id}"
    return [
        ("GET", path, None),
        ("GET", f"{path}/events", None),
        ("POST", f"{path}/upload", {}),
        ("POST", f"{path}/parts", {"numbers": [1]}),
        ("POST", f"{path}/completion", None),
        ("DELETE", path, None),
    ]


def mint(client: httpx.Client, broker: str, key: str) -> httpx.Response:
    return client.post(f"{broker}/upload-sessions", json=WISH, headers={"authorization": f"Bearer {key}"})


def status(client: httpx.Client, broker: str, session_id: str, by: str) -> int:
    headers = {"authorization": f"Bearer {by}"}
    return client.get(f"{broker}/upload-sessions/{session_id}", headers=headers).status_code


def codes(client: httpx.Client, broker: str, session_id: str, by: str) -> set[int]:
    headers = {"authorization": f"Bearer {by}"}
    answers = [
        client.request(method, f"{broker}{path}", json=body, headers=headers)
        for method, path, body in calls(session_id)
    ]
    return {answer.status_code for answer in answers}


def test_a_key_of_the_configuration(stack: Stack, brokers: tuple[str, str], client: httpx.Client) -> None:
    one, other = brokers
    key = stack.about.api_key
    session = mint(client, one, key).json()
    token = {"authorization": f"Bearer {session['token']}"}
    with client.stream("GET", f"{other}/upload-sessions/{session['id']}/events", headers=token) as stream:
        lines = stream.iter_lines()
        assert next(lines).startswith("retry: ")
        said = keys(stack, "revoke", "app")
        until = re.search(r"may work until (\S+ \S+) UTC", said)
        assert until is not None
        left = datetime.fromisoformat(until[1]).replace(tzinfo=UTC) - datetime.now(UTC)
        assert timedelta(minutes=14) < left <= timedelta(minutes=15)  # the longest signed request
        for broker in brokers:
            assert mint(client, broker, key).status_code == 401
            assert codes(client, broker, session["id"], key) == {401}
            assert codes(client, broker, session["id"], session["token"]) == {401}
        assert [line for line in lines if line.startswith("event")] == ["event: state"]  # and then it ended
    assert "configuration, revoked" in keys(stack, "list")
    keys(stack, "restore", "app")
    fresh = mint(client, other, key).json()
    assert status(client, one, fresh["id"], fresh["token"]) == 200
    assert codes(client, one, session["id"], session["token"]) == {401}
    assert status(client, one, session["id"], key) == 200


def test_a_key_of_the_ledger_and_one_that_takes_its_id(
    stack: Stack, brokers: tuple[str, str], client: httpx.Client
) -> None:
    one, other = brokers
    first = keys(stack, "add", "guest", "--role", "mint")
    session = mint(client, one, first).json()
    assert re.search(r"guest .* 1 pending, 3 bytes", keys(stack, "list"))
    keys(stack, "revoke", "guest")
    second = keys(stack, "add", "guest", "--role", "mint")
    assert mint(client, other, first).status_code == 401
    assert codes(client, other, session["id"], session["token"]) == {401}
    assert mint(client, other, second).status_code == 201
