"""A server on loopback that knows a few answers by heart, and what it was asked."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Had:
    """A request that came. `token`: its authorization, or that of instance metadata."""

    method: str
    path: str
    token: str | None
    body: bytes


@contextmanager
def answering(answers: Mapping[tuple[str, str], tuple[int, bytes]]) -> Iterator[tuple[str, list[Had]]]:
    """The address of a server that has an answer to each method and path, as they are at that moment, and else 404; and
    what it was asked so far."""
    had: list[Had] = []

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            token = self.headers.get("Authorization") or self.headers.get("x-aws-ec2-metadata-token")
            had.append(Had(method=self.command, path=self.path, token=token, body=body))
            status, answer = answers.get((self.command, self.path), (404, b""))
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_GET = do_PUT = do_POST = _answer  # noqa: N815 - the names of http.server

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", had
    finally:
        server.shutdown()
        serving.join(5)
        server.server_close()
