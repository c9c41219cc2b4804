"""A consumer in a trace: what a job brought goes on, with OpenTelemetry and without."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from broker import contract
from consumer.tracing import Tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
SENT = f"00-{TRACE}-b7ad6b7169203331-01"
MOMENT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def a_job(traceparent: str | None) -> contract.Job:
    return contract.Job(
        id="00aaaaaaaaaaaaaaaaaaaaaaaaaa",
        filename="report.csv",
        size_bytes=5,
        content_type="text/csv",
        destination="default",
        etag="e",
        version=None,
        checksum=contract.Checksum(),
        prove=[],
        metadata={},
        owner=None,
        batch=None,
        attempts=contract.Attempts(leases=1, failures=0, lost_leases=0, infrastructure=0),
        lease=contract.Lease(token="ul_secret", epoch=1, expires_at=MOMENT),
        read=contract.SignedRequest(method="GET", url="https://store/?sig=secret", headers={}, expires_at=MOMENT),
        traceparent=traceparent,
    )


def test_a_bare_install_needs_no_opentelemetry() -> None:
    code = "import sys; sys.modules['opentelemetry'] = None; import consumer.__main__, consumer.child"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("sent", "carried"),
    [(SENT, SENT), (None, ""), ("", ""), ("junk\r\nx: y", ""), (f"{SENT}-more", ""), (SENT.upper(), "")],
)
def test_nobody_follows_and_what_the_job_brought_goes_on(sent: str | None, carried: str) -> None:
    with Tracing().of(a_job(sent)) as traced:
        assert traced.traceparent == carried
        traced.tell("processed", None)
    assert traced.trace_id == (TRACE if carried else None)


@pytest.fixture
def kept() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(kept: InMemorySpanExporter) -> Tracing:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(kept))
    return Tracing(tracer=provider.get_tracer("test"))


def test_a_try_is_a_span_of_the_job_s_trace_and_hands_itself_on(tracing: Tracing, kept: InMemorySpanExporter) -> None:
    with tracing.of(a_job(SENT)) as traced:
        traced.tell("failed", "no-processor")
    (span,) = kept.get_finished_spans()
    assert span.context is not None
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert traced.traceparent == f"00-{TRACE}-{span.context.span_id:016x}-01"
    told: dict[str, Any] = dict(span.attributes or {})
    assert (told["job.outcome"], told["job.code"], told["job.epoch"]) == ("failed", "no-processor", 1)
    assert "secret" not in span.to_json()


def test_a_job_without_a_trace_begins_one(tracing: Tracing, kept: InMemorySpanExporter) -> None:
    with tracing.of(a_job(None)) as traced:
        assert traced.traceparent
    (span,) = kept.get_finished_spans()
    assert span.parent is None


def test_what_the_client_does_not_record_is_carried_as_it_came(tracing: Tracing, kept: InMemorySpanExporter) -> None:
    unsampled = f"{SENT[:-2]}00"
    with tracing.of(a_job(unsampled)) as traced:
        assert traced.traceparent == unsampled
    assert kept.get_finished_spans() == ()
