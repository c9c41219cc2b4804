"""One trace through four processes – broker, looker, consumer and the processor's own – as a collector receives it."""

import json
import threading
import time
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from broker.dev.stack import Stack, StackOptions, start_stack

SECONDS = 30
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SENT = f"00-{TRACE}-00f067aa0ba902b7-01"
PROCESSORS = """
from consumer import Job, processor

@processor("text/plain")
def handle(job, reader):
    return {"traceparent": job.traceparent}
"""


class Received(NamedTuple):
    service: str
    pid: int
    trace: str
    id: str
    parent: str
    name: str


class Collector:
    """An OTLP/HTTP receiver on loopback (OpenTelemetry Protocol specification, "OTLP/HTTP")."""

    def __init__(self) -> None:
        self.spans: list[Received] = []
        self.raw = b""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                assert self.path == "/v1/traces"
                outer.take(body)
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, body: bytes) -> None:
        self.raw += body
        for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            told = {each.key: each.value for each in of_resource.resource.attributes}
            service, pid = told["service.name"].string_value, told["process.pid"].int_value
            self.spans += [
                Received(service, pid, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(), span.name)
                for of_scope in of_resource.scope_spans
                for span in of_scope.spans
            ]

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture
def stack(tmp_path: Path, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stack]:
    (tmp_path / "traced_processors.py").write_text(PROCESSORS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
    running = start_stack(
        StackOptions(
            directory=tmp_path / "dev", lookers=1, consumer_module="traced_processors", policy={"first_look": "1s"}
        )
    )
    yield running
    running.stop()


def call(url: str, key: str, body: Any = None, **headers: str) -> Any:
    data = None if body is None else json.dumps(body).encode()
    words = {"authorization": f"Bearer {key}", "content-type": "application/json", **headers}
    with urllib.request.urlopen(urllib.request.Request(url, data=data, headers=words), timeout=SECONDS) as answer:
        return json.load(answer)


def upload(stack: Stack) -> Any:
    """The session, processed."""
    about = stack.about
    wish = {"filename": "a.txt", "size_bytes": 5, "content_type": "text/plain"}
    session = call(f"{about.broker}/upload-sessions", about.api_key, wish, traceparent=SENT)
    put = session["upload"]["request"]
    request = urllib.request.Request(put["url"], data=b"hello", headers=put["headers"], method="PUT")
    with urllib.request.urlopen(request, timeout=SECONDS):
        pass
    ends = time.monotonic() + SECONDS
    while (seen := call(f"{about.broker}/upload-sessions/{session['id']}", about.api_key))["state"] != "processed":
        assert time.monotonic() < ends, seen
        time.sleep(0.05)
    return {**seen, "token": session["token"], "url": put["url"]}


def test_a_collector_sees_one_trace_from_the_client_to_the_processor(stack: Stack, collector: Collector) -> None:
    session = upload(stack)
    stack.stop()  # each process sends what it still has
    spans = [span for span in collector.spans if span.trace == TRACE]
    by_name = {span.name: span for span in spans}
    minted, look = by_name["POST /upload-sessions"], by_name["look"]
    tried, told = by_name["process upload"], by_name["POST /jobs/{job_id}/result"]
    assert minted.parent == "00f067aa0ba902b7"
    assert look.parent == minted.id
    assert by_name["store head"].parent == look.id
    assert tried.parent == minted.id
    assert told.parent == tried.id
    assert session["result"] == {"traceparent": f"00-{TRACE}-{tried.id}-01"}
    assert (minted.service, look.service, tried.service) == ("upload-broker", "upload-broker", "upload-consumer")
    assert len({minted.pid, look.pid, tried.pid}) == 3
    for secret in (session["token"], stack.about.api_key, stack.about.consumer_key, "X-Amz-Signature", session["url"]):
        assert secret.encode() not in collector.raw


def test_a_collector_that_is_away_keeps_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    stack = start_stack(StackOptions(directory=tmp_path / "dev", policy={"first_look": "1s"}))
    try:
        assert upload(stack)["state"] == "processed"
        began = time.monotonic()
    finally:
        stack.stop()
    assert time.monotonic() - began < SECONDS
    assert "X-Amz-Signature" not in stack.broker.log.read_text()
