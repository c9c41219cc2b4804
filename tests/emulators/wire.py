"""HTTP with no opinion: exactly these header lines and bytes go out, whatever comes back is read."""

import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

TIMEOUT_SECONDS = 10.0


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        """The code of an S3 error."""
        match = re.search(rb"<Code>(.*?)</Code>", self.body)
        return match[1].decode() if match else None


class Wire:
    """One connection. Header lines are written in the order given, Host included only if it is among them."""

    def __init__(self, endpoint: str) -> None:
        parts = urlsplit(endpoint)
        self.host = parts.netloc
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_SECONDS)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def send_head(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.send(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode())

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """Say that no more will come."""
        self._socket.shutdown(socket.SHUT_WR)

    def read(self, method: str = "GET") -> Answer:
        """One answer; a 100 Continue is one too."""
        line = self._file.readline()
        if not line:
            raise ConnectionResetError("the connection ended without an answer")
        status = int(line.split()[1])
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in {b"\r\n", b""}:
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
        has_body = method != "HEAD" and status not in {100, 204, 304}
        body = self._file.read(int(headers.get("content-length", "0"))) if has_body else b""
        return Answer(status, headers, body)

    def is_ended(self) -> bool:
        """Whether the other side has closed."""
        try:
            return self._file.read(1) == b""
        except ConnectionResetError:
            return True


def exchange(
    endpoint: str, method: str, target: str, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request on a connection of its own. Host and Content-Length are added unless given."""
    with Wire(endpoint) as wire:
        given = {name.lower(): value for name, value in (headers or {}).items()}
        complete = {"host": wire.host, **given}
        if (body or method in {"PUT", "POST"}) and not {"content-length", "transfer-encoding"} & given.keys():
            complete["content-length"] = str(len(body))
        wire.send_head(method, target, complete.items())
        with suppress(BrokenPipeError, ConnectionResetError):  # refused early; the answer is there all the same
            wire.send(body)
        return wire.read(method)
