"""One trace from the mint to the job, by the W3C header and the session's record; nothing of it when nobody follows."""

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from broker.domain.errors import StoreUnavailable
from broker.telemetry.tracing import Tracing
from tests.api.world import DOOR_TOKEN, WISH, World, bearer, build, event
from tests.clock import FrozenClock

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SENT = f"00-{TRACE}-{PARENT}-01"
HOLD = timedelta(seconds=30)


class Spans:
    """What was recorded so far."""

    def __init__(self) -> None:
        self._kept = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._kept))

    def all(self) -> list[ReadableSpan]:
        return list(self._kept.get_finished_spans())

    def one(self, name: str) -> ReadableSpan:
        (span,) = (span for span in self.all() if span.name == name)
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def traced(clock: FrozenClock, spans: Spans) -> AsyncIterator[World]:
    world = build(clock, tracing=Tracing(spans.provider.get_tracer("test")))
    async with world.client:
        yield world


async def mint(world: World, **headers: str) -> dict[str, Any]:
    answer = await world.client.post("/upload-sessions", json=WISH, headers={**world.as_("app"), **headers})
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def looked_at(world: World) -> None:
    """As a looker does it: by itself, in no request."""
    for due in await world.ledger.claim(10, now=world.clock.now(), hold=HOLD):
        await world.use_cases.complete.look(due)


def trace_id(span: ReadableSpan) -> str:
    assert span.context is not None
    return f"{span.context.trace_id:032x}"


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    assert parent.context is not None
    return span.parent is not None and span.parent.span_id == parent.context.span_id


async def test_the_trace_of_a_client_goes_on_through_mint_look_and_job(traced: World, spans: Spans) -> None:
    session = await mint(traced, traceparent=SENT)
    traced.upload(session)
    await traced.client.post("/notifications/bucket", params={"token": DOOR_TOKEN}, json=event(session))
    await looked_at(traced)
    job = await traced.lease()
    minted, look = spans.one("POST /upload-sessions"), spans.one("look")
    assert minted.parent is not None
    assert (trace_id(minted), f"{minted.parent.span_id:016x}") == (TRACE, PARENT)
    assert minted.kind is SpanKind.SERVER
    assert is_child(look, minted)
    assert is_child(spans.one("store head"), look)
    assert is_child(spans.one("settle"), look)
    assert {trace_id(span) for span in spans.all() if span.name != "POST /notifications/{source}"} == {TRACE}
    assert minted.context is not None
    assert job["traceparent"] == f"00-{TRACE}-{minted.context.span_id:016x}-01"


async def test_without_a_client_that_traces_the_mint_begins_one(traced: World, spans: Spans) -> None:
    session = await mint(traced)
    traced.upload(session)
    await traced.client.post("/notifications/bucket", params={"token": DOOR_TOKEN}, json=event(session))
    await looked_at(traced)
    minted = spans.one("POST /upload-sessions")
    assert minted.parent is None
    assert is_child(spans.one("look"), minted)


async def test_a_look_on_demand_belongs_to_its_request_and_names_the_mint(traced: World, spans: Spans) -> None:
    session = await mint(traced, traceparent=SENT)
    traced.upload(session)
    await traced.client.post(f"/upload-sessions/{session['id']}/completion", headers=traced.as_("app"))
    look = spans.one("look")
    assert is_child(look, spans.one("POST /upload-sessions/{session_id}/completion"))
    assert trace_id(look) != TRACE
    assert [f"{link.context.trace_id:032x}" for link in look.links] == [TRACE]


async def test_what_a_report_says_is_in_the_trace_of_who_reports(traced: World, spans: Spans) -> None:
    await traced.verified()
    job = await traced.lease()
    words = {"lease": job["lease"]["token"], "epoch": 1, "outcome": "processed", "result": 1}
    await traced.client.post(
        f"/jobs/{job['id']}/result", json=words, headers={**traced.as_("worker"), "traceparent": SENT}
    )
    report = spans.one("POST /jobs/{job_id}/result")
    assert trace_id(report) == TRACE
    settled = [span for span in spans.all() if span.name == "settle" and is_child(span, report)]
    assert [dict(span.attributes or {})["upload.state"] for span in settled] == ["processed"]


@pytest.mark.parametrize(
    "sent",
    [
        "",
        "junk",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{TRACE.upper()}-{PARENT}-01",
        f"{SENT}-more",
        f"{SENT}\x00",
        "é" * 55,
        f"00-{TRACE}-{PARENT}-01" * 1_000,
    ],
)
async def test_a_header_that_is_not_the_standard_s_begins_anew(traced: World, spans: Spans, sent: str) -> None:
    headers: dict[Any, Any] = {**traced.as_("app"), "traceparent": sent.encode("latin-1")}
    answer = await traced.client.post("/upload-sessions", json=WISH, headers=headers)
    assert answer.status_code == 201
    assert spans.one("POST /upload-sessions").parent is None


async def test_what_a_client_does_not_record_is_not_recorded_and_still_carried(traced: World, spans: Spans) -> None:
    session = await mint(traced, traceparent=f"00-{TRACE}-{PARENT}-00")
    traced.upload(session)
    await traced.client.post("/notifications/bucket", params={"token": DOOR_TOKEN}, json=event(session))
    await looked_at(traced)
    assert (await traced.lease())["traceparent"] == f"00-{TRACE}-{PARENT}-00"
    assert [span.name for span in spans.all() if trace_id(span) == TRACE] == []


async def test_trouble_with_the_store_is_an_error_by_its_code(traced: World, spans: Spans) -> None:
    session = await mint(traced)
    traced.bucket.trouble = StoreUnavailable("http://secret.example/?X-Amz-Signature=abc")
    await traced.client.post(f"/upload-sessions/{session['id']}/completion", headers=traced.as_("app"))
    head = spans.one("store head")
    assert (head.status.status_code, head.status.description) == (StatusCode.ERROR, "store-unavailable")
    assert "secret.example" not in "".join(span.to_json() for span in spans.all())


async def test_no_span_holds_a_secret(traced: World, spans: Spans) -> None:
    session = await mint(traced, traceparent=SENT)
    traced.upload(session)
    params = {"token": DOOR_TOKEN}
    await traced.client.post("/notifications/bucket", params=params, json=event(session))
    await looked_at(traced)
    job = await traced.lease()
    await traced.client.get(f"/upload-sessions/{session['id']}", headers=bearer(session["token"]))
    told = json.dumps([json.loads(span.to_json()) for span in spans.all()])
    untold = [*traced.secrets.values(), DOOR_TOKEN, session["token"], session["upload"]["request"]["url"]]
    assert [word for word in [*untold, job["lease"]["token"], job["read"]["url"]] if word in told] == []


async def test_health_scrapes_and_long_polls_are_no_spans(traced: World, spans: Spans) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/"):
        await traced.client.get(path, headers=traced.as_("prometheus"))
    await traced.client.post("/jobs/lease", headers=traced.as_("worker"))
    assert spans.all() == []


# --- nobody follows


async def test_without_an_exporter_what_a_client_sent_is_carried(world: World) -> None:
    session = await mint(world, traceparent=SENT)
    world.upload(session)
    await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))
    assert (await world.lease())["traceparent"] == SENT


async def test_without_either_a_record_holds_nothing(world: World) -> None:
    await mint(world, traceparent=SENT)
    session = await mint(world)  # what the request before sent is not this one's
    stored = await world.ledger.get(session["id"])
    assert stored is not None
    assert stored.facts.traceparent == ""
    await world.verified()
    assert (await world.lease())["traceparent"] is None
