"""GET /metrics: true counts, bounded labels, no secret – and an answer while the ledger is away."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from broker.api.operations import OPERATIONS
from broker.api.problems import ROWS
from broker.contract import State
from broker.domain.errors import CredentialsUnavailable, LedgerUnavailable
from broker.domain.objects import ObjectInfo
from broker.domain.principals import new_key_text
from broker.ledger.memory import MemoryLedger
from broker.logs import EventFormatter
from broker.ports import Backlog, Clock
from broker.telemetry.metrics import ENDINGS, RESULTS
from tests.api.world import DOOR_TOKEN, PLACES, WISH, World, bearer, build, event
from tests.clock import FrozenClock

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def scraped(world: World, **headers: str) -> str:
    answer = await world.client.get("/metrics", headers={**world.as_("prometheus"), **headers})
    assert answer.status_code == 200, answer.text
    return answer.text


async def samples(world: World) -> Samples:
    text = await scraped(world)
    found = (sample for family in parse_text(text) for sample in family.samples)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


async def report(world: World, job: dict[str, Any], verb: str, **body: Any) -> None:
    words = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"], **body}
    answer = await world.client.post(f"/jobs/{job['id']}/{verb}", json=words, headers=world.as_("worker"))
    assert answer.status_code == 200, answer.text


async def notify(world: World, session: dict[str, Any], token: str = DOOR_TOKEN) -> int:
    answer = await world.client.post("/notifications/bucket", params={"token": token}, json=event(session))
    return answer.status_code


async def a_day_of_work(world: World, clock: FrozenClock) -> list[str]:
    """A bit of everything; what of it must never be told."""
    untold: list[str] = [DOOR_TOKEN, *world.secrets.values()]
    sessions = [await world.mint(), await world.mint(owner="user-17", batch="today"), await world.mint("neighbour")]
    heard, found, aborted = sessions
    world.upload(heard)
    assert await notify(world, heard) == 200
    assert await notify(world, heard, token="forged") == 401
    clock.advance(timedelta(seconds=3))
    world.upload(found)
    for session in (heard, found):
        await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))
    await world.client.delete(f"/upload-sessions/{aborted['id']}", headers=world.as_("neighbour"))
    lost = await world.lease()
    clock.advance(timedelta(seconds=61))
    first, second = await world.lease(), await world.lease()
    assert lost["id"] in {first["id"], second["id"]}
    await report(world, first, "result", outcome="processed", result={"rows": 3})
    await report(world, second, "result", outcome="retry", reason={"code": "made-up-code", "message": "later"})
    unfit = await world.mint()
    world.bucket.stored[unfit["object"]["key"]] = ObjectInfo(size_bytes=12, content_type="text/csv", etag="e")
    await world.client.post(f"/upload-sessions/{unfit['id']}/completion", headers=world.as_("app"))
    world.bucket.sign_trouble = CredentialsUnavailable()
    refused = await world.client.post("/upload-sessions", json=WISH, headers=world.as_("app"))
    assert refused.status_code == 503
    world.bucket.sign_trouble = None
    stream = await world.client.get(f"/upload-sessions/{aborted['id']}/events", headers=world.as_("neighbour"))
    assert stream.status_code == 200
    for path in ("/nowhere", "/upload-sessions/00aaaaaaaaaaaaaaaaaaaaaaaaaa"):
        await world.client.get(path, headers=world.as_("app"))
    for session in sessions:
        untold += [session["id"], session["token"], session["upload"]["request"]["url"], session["object"]["key"]]
    for job in (lost, first, second):
        untold += [job["lease"]["token"], job["read"]["url"]]
    return [*untold, "user-17", "today", "report.csv", "made-up-code", "w1", "app", "neighbour", "nowhere"]


async def test_it_counts_what_happened(world: World, clock: FrozenClock) -> None:
    await a_day_of_work(world, clock)
    told = await samples(world)
    here = {"destination": "default"}
    assert value(told, "broker_upload_sessions_total", **here, strategy="put") == 4
    assert value(told, "broker_uploads_total", **here, outcome="verified") == 2
    assert value(told, "broker_uploads_total", **here, outcome="aborted") == 1
    assert value(told, "broker_uploads_total", **here, outcome="rejected") == 1
    assert value(told, "broker_upload_rejections_total", **here, reason="foreign-object") == 1
    assert value(told, "broker_uploads_witnessed_total", **here, witness="event") == 1
    assert value(told, "broker_uploads_witnessed_total", **here, witness="look") == 1
    assert value(told, "broker_upload_bytes_total", **here) == 2 * WISH["size_bytes"]
    assert value(told, "broker_upload_verified_seconds_count", **here) == 2
    assert value(told, "broker_upload_verified_seconds_sum", **here) == pytest.approx(6, abs=0.1)
    assert value(told, "broker_leases_total", **here) == 3
    assert value(told, "broker_leases_lost_total", **here) == 1
    assert value(told, "broker_jobs_total", **here, outcome="processed") == 1
    assert value(told, "broker_jobs_total", **here, outcome="retried") == 1
    assert value(told, "broker_job_seconds_count", outcome="processed") == 1
    assert value(told, "broker_looks_total", **here, result="verified") == 2
    assert value(told, "broker_notification_records_total", source="bucket", result="accepted") == 1
    assert value(told, "broker_notifications_refused_total", source="bucket") == 1
    assert value(told, "broker_store_call_seconds_count", **here, call="head", outcome="ok") == 3
    assert value(told, "broker_http_request_seconds_count", operation="createUploadSession", status="201") == 4
    assert value(told, "broker_http_request_seconds_count", operation="notify", status="401") == 1
    assert value(told, "broker_http_request_seconds_count", operation="watchSession", status="200") == 1
    assert value(told, "broker_http_request_seconds_count", operation="none", status="404") == 1
    assert value(told, "broker_ledger_up") == 1
    assert value(told, "broker_jobs_hidden") == 1


async def test_what_waits_grows_old(world: World, clock: FrozenClock) -> None:
    session = await world.mint()
    await notify(world, session)
    await world.verified()
    clock.advance(timedelta(seconds=40))
    told = await samples(world)
    assert value(told, "broker_looks_due") == 1
    assert value(told, "broker_looks_due_oldest_seconds") == pytest.approx(40, abs=1)
    assert value(told, "broker_jobs_visible") == 1
    assert value(told, "broker_jobs_visible_oldest_seconds") == pytest.approx(40, abs=1)


async def test_nothing_that_names_a_request_a_file_or_a_secret_is_told(world: World, clock: FrozenClock) -> None:
    untold = await a_day_of_work(world, clock)
    for text in (await scraped(world), await scraped(world, accept="application/openmetrics-text")):
        values = set(re.findall(r'="([^"]*)"', text))
        assert [word for word in untold if word in values] == []
        assert [word for word in untold if len(word) > 12 and word in text] == []


LABELS = {
    "operation": {operation.id for operation in OPERATIONS} | {"none"},
    "status": {str(row.status) for row in ROWS.values()} | {"200", "201", "202", "204", "303", "0"},
    "destination": {*PLACES, "(gone)"},
    "source": {"bucket"},
    "outcome": {state.value for state in State}
    | {*ENDINGS, "ok", "cut-off", "delivered", "given-up", "dropped"}
    | {kind.code for kind in ROWS},
    "result": {state.value for state in State} | {*RESULTS, "waiting", "removed", "unknown"},
    "strategy": {"put", "multipart", "resumable"},
    "witness": {"event", "look"},
    "reason": {"size-mismatch", "content-type-mismatch", "checksum-mismatch", "foreign-object"},
    "webhook": {"hook"},
    "call": {"head", "remove", "open", "parts", "complete", "open_uploads", "abort"},
}


async def test_every_label_has_a_value_that_was_known_at_the_start(world: World, clock: FrozenClock) -> None:
    await a_day_of_work(world, clock)
    for source in ("made-up", "another"):
        await world.client.post(f"/notifications/{source}", json={})
    for method in ("PUT", "PATCH", "OPTIONS"):
        await world.client.request(method, "/upload-sessions")
    ours = [(name, labels) for name, labels in await samples(world) if name.startswith("broker_")]
    for name, labels in ours:
        for label, told in labels:
            assert label in {"le", "version"} or told in LABELS[label], (name, label, told)


async def test_more_work_makes_no_series_more(world: World, clock: FrozenClock) -> None:
    await a_day_of_work(world, clock)
    await scraped(world)
    before = (await samples(world)).keys()
    for _ in range(5):
        await world.verified()
        await world.lease()
    clock.advance(timedelta(seconds=3))
    assert (await samples(world)).keys() == before


# --- who may, and how it is told


@pytest.mark.parametrize("who", ["app", "worker", "small"])
async def test_only_a_key_of_role_observe_or_admin_may_read_it(world: World, who: str) -> None:
    assert (await world.client.get("/metrics")).status_code == 401
    assert (await world.client.get("/metrics", headers=world.as_(who))).status_code == 403
    assert (await world.client.get("/metrics", headers=bearer(new_key_text("prometheus")))).status_code == 401
    assert (await world.client.get("/metrics", headers=world.as_("root"))).status_code == 200


async def test_a_key_of_role_observe_may_nothing_else(world: World) -> None:
    session = await world.mint()
    for operation in OPERATIONS:
        if operation.access.schemes and operation.id != "metrics":
            path = operation.path.format(session_id=session["id"], job_id=session["id"])
            answer = await world.client.request(operation.method, path, headers=world.as_("prometheus"), json=WISH)
            assert answer.status_code == 403, operation.id


async def test_both_formats_can_be_read_by_their_own_parser(world: World) -> None:
    plain = await world.client.get("/metrics", headers=world.as_("prometheus"))
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert list(parse_text(plain.text))
    accept = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    other = await world.client.get("/metrics", headers={**world.as_("prometheus"), "accept": accept})
    assert other.headers["content-type"].startswith("application/openmetrics-text")
    assert list(parse_openmetrics(other.text))


@pytest.mark.parametrize(
    "accept", ["", "text/plain;version=x.y", "application/openmetrics-text;version=9.x.-1", "\xff"]
)
async def test_whatever_is_accepted_is_answered(world: World, accept: str) -> None:
    headers: dict[Any, Any] = {**world.as_("prometheus"), "accept": accept.encode("latin-1")}
    assert (await world.client.get("/metrics", headers=headers)).status_code == 200


# --- a ledger in trouble


class Away(MemoryLedger):
    """Breaks off, or never answers, when somebody asks how much waits."""

    def __init__(self, clock: Clock, trouble: Exception | None) -> None:
        super().__init__(clock)
        self.trouble = trouble
        self.asked = 0

    async def backlog(self, *, now: datetime) -> Backlog:
        self.asked += 1
        if self.trouble is None:
            await asyncio.Event().wait()
        elif isinstance(self.trouble, LedgerUnavailable):
            raise self.trouble
        return await super().backlog(now=now)


@pytest.mark.parametrize("trouble", [LedgerUnavailable(), None], ids=["refuses", "silent"])
async def test_a_ledger_that_is_away_is_told_in_time(
    clock: FrozenClock, trouble: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.telemetry.scrape.PATIENCE", timedelta(milliseconds=50))
    world = build(clock, ledger=Away(clock, trouble))
    async with asyncio.timeout(5), world.client:
        told = await samples(world)
    assert value(told, "broker_ledger_up") == 0
    assert not any(name.startswith(("broker_jobs_visible", "broker_looks_due")) for name, _ in told)


async def test_many_who_scrape_at_once_ask_the_ledger_once(clock: FrozenClock) -> None:
    ledger = Away(clock, RuntimeError("not raised"))
    world = build(clock, ledger=ledger)
    async with world.client:
        await asyncio.gather(*(scraped(world) for _ in range(20)))
        assert ledger.asked == 1
        clock.advance(timedelta(seconds=3))
        await scraped(world)
    assert ledger.asked == 2


# --- log lines


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What stderr would show, as JSON."""
    told: list[dict[str, Any]] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(json.loads(self.format(record)))

    keep, logger = Keep(), logging.getLogger("broker")
    keep.setFormatter(EventFormatter())
    level = logger.level
    logger.addHandler(keep)
    logger.setLevel(logging.DEBUG)
    yield told
    logger.removeHandler(keep)
    logger.setLevel(level)


async def test_each_line_of_a_request_carries_its_id_and_session(world: World, lines: list[dict[str, Any]]) -> None:
    session = await world.mint()
    world.upload(session)
    headers = {**world.as_("app"), "x-request-id": "seven"}
    await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=headers)
    assert [(line["event"], line["request_id"], line["session_id"]) for line in lines] == [
        ("upload.verified", "seven", session["id"])
    ]


async def test_a_refusal_is_told_with_its_session(world: World, lines: list[dict[str, Any]]) -> None:
    session = await world.mint()
    world.bucket.sign_trouble = CredentialsUnavailable()
    headers = {**world.as_("app"), "x-request-id": "eight"}
    await world.client.post(f"/upload-sessions/{session['id']}/upload", headers=headers)
    assert [(line["event"], line["request_id"], line["session_id"]) for line in lines] == [
        ("request.refused", "eight", session["id"])
    ]


async def test_lines_of_requests_at_once_keep_their_own_ids(world: World, lines: list[dict[str, Any]]) -> None:
    sessions = [await world.mint() for _ in range(10)]
    for session in sessions:
        world.upload(session)
    await asyncio.gather(
        *(
            world.client.post(
                f"/upload-sessions/{session['id']}/completion",
                headers={**world.as_("app"), "x-request-id": f"of-{session['id']}"},
            )
            for session in sessions
        )
    )
    assert {line["request_id"]: line["session_id"] for line in lines} == {f"of-{s['id']}": s["id"] for s in sessions}


async def test_no_line_holds_a_secret(world: World, clock: FrozenClock, lines: list[dict[str, Any]]) -> None:
    untold = await a_day_of_work(world, clock)
    written = json.dumps(lines)
    assert [word for word in untold if word.startswith(("ub_", "us_", "ul_", "http")) and word in written] == []
    assert DOOR_TOKEN not in written


async def test_what_its_owner_erased_did_not_fail(world: World) -> None:
    """Nobody is woken by it."""
    waiting, at_work = await world.verified(), await world.verified()
    leased = (await world.lease())["id"]
    for session in (waiting, at_work):
        await world.client.delete(f"/upload-sessions/{session['id']}/object", headers=world.as_("app"))
    found = await samples(world)
    assert leased in {waiting["id"], at_work["id"]}
    assert value(found, "broker_jobs_total", destination="default", outcome="erased") == 1
    assert value(found, "broker_jobs_total", destination="default", outcome="failed") == 0
    assert value(found, "broker_uploads_total", destination="default", outcome="erased") == 1
