"""The guard's requests, as a stand-in hears them. Whether a real gateway obeys was never tried."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.deploy.local import BIN, ROOT

SECRETS = {
    "STORE_ACCESS_KEY": "ROOTKEY",
    "STORE_SECRET_KEY": "root-secret",
    "STORE_WRITER_ACCESS_KEY": "WRITERKEY",
    "STORE_WRITER_SECRET_KEY": "writer-secret",
    "CAPSULE_KEY": "x" * 32,
    "EVENT_TOKEN": "t",
}


class Gateway(ThreadingHTTPServer):
    heard: list[tuple[str, str, str, bytes]]
    create_status = 200


class Handler(BaseHTTPRequestHandler):
    server: Gateway

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.heard.append((self.command, self.path, self.headers.get("authorization", ""), body))
        self.send_response(self.server.create_status if self.command == "PATCH" else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_PATCH = do_PUT = _answer  # noqa: N815 - the names that BaseHTTPRequestHandler calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Says nothing."""


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with Gateway(("127.0.0.1", 0), Handler) as server:
        server.heard = []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(10)


def run(gateway: Gateway, config: str = "broker.versitygw.toml") -> int:
    keys = {f"BROKER_KEYS__{name}__HASH": "0" * 63 + "a" for name in ("APP", "WORKER")}
    env = SECRETS | keys | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    env["BROKER_CONFIG"] = str(ROOT / "deploy" / config)
    env["GATEWAY_URL"] = f"http://127.0.0.1:{gateway.server_port}"
    script: Path = ROOT / "deploy/versitygw_guard.py"
    done = subprocess.run([sys.executable, script], env=env, timeout=60, capture_output=True, text=True, check=False)
    assert not [secret for secret in ("root-secret", "writer-secret") if secret in done.stdout + done.stderr]
    return done.returncode


@pytest.mark.parametrize("status", [200, 409])
def test_a_writer_is_made_that_is_denied_to_read(gateway: Gateway, status: int) -> None:
    gateway.create_status = status
    assert run(gateway) == 0
    (create, policy) = gateway.heard
    assert create[:2] == ("PATCH", "/create-user")
    assert all("Credential=ROOTKEY/" in authorization for _, _, authorization, _ in gateway.heard)
    assert b"<Access>WRITERKEY</Access><Secret>writer-secret</Secret><Role>user</Role>" in create[3]
    assert policy[:2] == ("PUT", "/uploads?policy")
    statements = json.loads(policy[3])["Statement"]
    assert {tuple(each["Principal"]["AWS"]) for each in statements} == {("WRITERKEY",)}
    denied = {action for each in statements if each["Effect"] == "Deny" for action in each["Action"]}
    allowed = {action for each in statements if each["Effect"] == "Allow" for action in each["Action"]}
    assert "s3:GetObject" in denied
    assert "s3:PutObject" in allowed
    assert not allowed & denied


def test_a_gateway_that_refuses_the_account_is_an_error_and_no_policy_is_set(gateway: Gateway) -> None:
    gateway.create_status = 403
    assert run(gateway) != 0
    assert len(gateway.heard) == 1


def test_it_does_nothing_while_the_brokers_claim_more_than_the_gateway_is_known_to_keep(gateway: Gateway) -> None:
    assert run(gateway, "broker.toml") == 1
    assert gateway.heard == []
