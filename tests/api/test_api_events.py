"""Server-sent events over a socket: each step once, in order, to whoever comes when; and nobody stays for ever."""

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace as with_port
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from broker.api import session_events
from broker.api.app import create_app
from broker.api.openapi import openapi_document
from broker.domain.errors import LedgerUnavailable
from broker.domain.jobs import release, retry
from broker.domain.policy import Policy
from broker.ports import Sessions
from tests.api.test_api_transport import serving
from tests.api.world import World, bearer, build
from tests.clock import FrozenClock

DOCUMENT = json.loads(openapi_document())
SOON = 10  # seconds that no step here takes


@dataclass(slots=True)
class Stream:
    """What one listener was told."""

    answer: httpx.Response
    comments: int = 0
    retry_ms: int = 0

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """Parsed as section 9.2.6 has it, as far as we use it."""
        fields: dict[str, str] = {}
        async for line in self.answer.aiter_lines():
            name, _, value = line.partition(": ")
            if line.startswith(":"):
                self.comments += 1
            elif name == "retry":
                self.retry_ms = int(value)
            elif line:
                assert name not in fields, line
                fields[name] = value
            elif fields:
                assert fields["event"] == "state"
                yield {"event_id": fields["id"], **json.loads(fields["data"])}
                fields = {}

    async def rest(self) -> list[dict[str, Any]]:
        return [event async for event in self.events()]


@dataclass(slots=True)
class Place:
    world: World
    url: str
    client: httpx.AsyncClient

    @asynccontextmanager
    async def listen(self, session: dict[str, Any], **headers: str) -> AsyncIterator[Stream]:
        path, headers = f"{self.url}/upload-sessions/{session['id']}/events", headers or self.world.as_("app")
        async with asyncio.timeout(SOON), self.client.stream("GET", path, headers=headers) as answer:
            yield Stream(answer)

    async def states(self, session: dict[str, Any], **headers: str) -> list[str]:
        async with self.listen(session, **headers) as stream:
            return [event["state"] for event in await stream.rest()]


@asynccontextmanager
async def serving_events(world: World, **changes: Any) -> AsyncIterator[Place]:
    app = create_app(with_port(world.use_cases, **changes)) if changes else world.app
    following = asyncio.create_task(world.tail.run())
    limits = httpx.Limits(max_connections=None)
    try:
        async with serving(app) as port, httpx.AsyncClient(limits=limits) as client:
            yield Place(world, f"http://127.0.0.1:{port}", client)
            world.tail.close()
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)


@pytest.fixture
async def world(clock: FrozenClock) -> AsyncIterator[World]:
    world = build(clock, listeners=100)
    async with world.client:
        yield world


@pytest.fixture
async def place(world: World) -> AsyncIterator[Place]:
    async with serving_events(world) as place:
        yield place


async def complete(world: World, session: dict[str, Any]) -> None:
    world.upload(session)
    await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))


async def report(world: World, job: dict[str, Any], **said: Any) -> None:
    body = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"], **said}
    answer = await world.client.post(f"/jobs/{job['id']}/result", json=body, headers=world.as_("worker"))
    assert answer.status_code == 200, answer.text


async def test_the_timeline_so_far_then_each_step_as_it_happens_then_the_end(world: World, place: Place) -> None:
    session = await world.mint()
    async with place.listen(session, **bearer(session["token"])) as stream, aclosing(stream.events()) as events:
        told = [await anext(events)]
        await complete(world, session)
        told.append(await anext(events))
        job = await world.lease()
        told.append(await anext(events))
        await report(world, job, outcome="processed", result={"rows": 3})
        told += [event async for event in events]
    assert [(event["state"], event["epoch"]) for event in told] == [
        ("pending", 0),
        ("verified", 0),
        ("processing", 1),
        ("processed", 1),
    ]
    assert [event["is_final"] for event in told] == [False, False, False, True]
    assert told[-1]["result"] == {"rows": 3}
    assert not any("result" in event or "reason" in event for event in told[:-1])
    ids = [int(event["event_id"]) for event in told]
    assert ids == sorted(set(ids))
    assert {event["id"] for event in told} == {session["id"]}
    assert 1_000 <= stream.retry_ms <= 4_000
    assert stream.answer.headers["content-type"] == "text/event-stream"
    assert stream.answer.headers["cache-control"] == "no-store"
    assert stream.answer.headers["x-accel-buffering"] == "no"
    assert stream.answer.headers["x-request-id"]
    assert session["token"] not in stream.answer.headers.values()


async def test_who_comes_back_is_told_what_is_new_and_after_the_end_not_to_come_back(
    world: World, place: Place
) -> None:
    session = await world.verified()
    await report(world, await world.lease(), outcome="failed", reason={"code": "broken", "message": "no rows"})
    async with place.listen(session) as stream:
        told = await stream.rest()
    assert told[-1]["reason"] == {"code": "broken", "message": "no rows"}
    for number, event in enumerate(told[:-1]):
        later = await place.states(session, **world.as_("app"), **{"last-event-id": event["event_id"]})
        assert later == [event["state"] for event in told[number + 1 :]]
    last = {"last-event-id": told[-1]["event_id"]}
    async with place.listen(session, **world.as_("app"), **last) as stream:
        assert (stream.answer.status_code, await stream.answer.aread()) == (204, b"")
        assert "content-length" not in stream.answer.headers


async def test_whoever_comes_when_is_told_each_step_once_and_in_order(world: World, place: Place) -> None:
    """Many come and go at any moment while one session moves; together their visits make the timeline."""
    session = await world.verified()
    dice = random.Random(7)

    async def work() -> None:
        for _ in range(7):
            job = await world.ledger.lease(
                1, worker="w", now=world.clock.now(), until=world.clock.now() + timedelta(hours=1)
            )
            await asyncio.sleep(dice.random() / 50)
            assert await world.ledger.apply(release(job[0], world.clock.now(), Policy(), is_infrastructure=False))
            await asyncio.sleep(dice.random() / 5)
        job = await world.ledger.lease(1, worker="w", now=world.clock.now(), until=world.clock.now())
        assert await world.ledger.apply(retry(job[0], None, world.clock.now(), Policy(max_failures=1), None))

    async def listen() -> list[str]:
        told: list[str] = []
        await asyncio.sleep(dice.random())
        while True:
            seen = {"last-event-id": told[-1]} if told else {}
            async with place.listen(session, **world.as_("app"), **seen) as stream, aclosing(stream.events()) as events:
                visit = dice.randrange(1, 5)
                async for event in events:
                    told.append(event["event_id"])
                    visit -= 1
                    if event["is_final"]:
                        return told
                    if not visit:
                        break

    _, *all_told = await asyncio.gather(work(), *(listen() for _ in range(30)))
    record = await world.ledger.get(session["id"])
    assert record is not None
    expected = [str(round(step.at.timestamp() * 1_000)) for step in record.timeline]
    assert len(expected) == 18
    assert all_told == [expected] * 30


class Meddled:
    """A ledger in which a session moves on just after its record was read, and which is away when told so."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self.is_away = False
        self.afterwards: list[Any] = []

    def come_back(self) -> None:
        self.is_away = False

    async def get(self, session_id: str) -> Any:
        if self.is_away:
            raise LedgerUnavailable
        found = await self._sessions.get(session_id)
        if self.afterwards:
            await self.afterwards.pop()()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sessions, name)


async def test_a_step_between_the_first_reading_and_the_first_wait_is_not_lost(world: World) -> None:
    session = await world.mint()
    meddled = Meddled(world.ledger)
    watch = with_port(world.use_cases.watch, sessions=meddled)
    async with serving_events(world, watch=watch) as place, place.listen(session) as stream:
        async with aclosing(stream.events()) as events:
            assert (await anext(events))["state"] == "pending"  # the tail follows by now
        path = f"/upload-sessions/{session['id']}"
        meddled.afterwards.append(lambda: world.client.delete(path, headers=world.as_("app")))
        assert await place.states(session) == ["pending", "aborted"]


async def test_a_ledger_that_is_away_for_a_moment_sends_nobody_home(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.services.watch.AGAIN", timedelta(milliseconds=20))
    session = await world.mint()
    meddled = Meddled(world.ledger)
    watch = with_port(world.use_cases.watch, sessions=meddled)
    async with serving_events(world, watch=watch) as place, place.listen(session) as stream:  # noqa: SIM117 - too long
        async with aclosing(stream.events()) as events:
            assert (await anext(events))["state"] == "pending"
            meddled.is_away = True
            await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
            asyncio.get_running_loop().call_later(0.5, meddled.come_back)
            assert (await anext(events))["state"] == "aborted"
            assert stream.comments >= 2  # it asked again, and showed that it lives


async def test_a_ledger_that_is_away_from_the_start_is_a_problem(world: World) -> None:
    session = await world.mint()
    meddled = Meddled(world.ledger)
    meddled.is_away = True
    watch = with_port(world.use_cases.watch, sessions=meddled)
    async with serving_events(world, watch=watch) as place, place.listen(session) as stream:
        assert stream.answer.status_code == 503
        assert json.loads(await stream.answer.aread())["code"] == "ledger-unavailable"


async def test_a_comment_now_and_then_shows_that_the_connection_lives(world: World) -> None:
    session = await world.mint()
    watch = with_port(world.use_cases.watch, heartbeat=timedelta(milliseconds=10))
    async with serving_events(world, watch=watch) as place, place.listen(session) as stream:
        lines = stream.answer.aiter_lines()
        async with aclosing(lines):
            assert [line async for line in _first(lines, 10)].count(":") >= 2


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    async for line in lines:
        yield line
        count -= 1
        if not count:
            return


async def test_one_listener_too_many_is_told_to_come_later_and_a_place_is_free_when_one_hangs_up(
    clock: FrozenClock,
) -> None:
    world = build(clock, listeners=1)
    session = await world.mint()
    async with serving_events(world) as place:
        async with place.listen(session) as stream, aclosing(stream.events()) as events:
            await anext(events)
            async with place.listen(session) as refused:
                assert refused.answer.status_code == 503
                assert json.loads(await refused.answer.aread())["code"] == "overloaded"
                assert refused.answer.headers["retry-after"] == "1"
        async with asyncio.timeout(SOON):
            while (await _status(place, session)) == 503:  # noqa: ASYNC110 - each turn asks anew
                await asyncio.sleep(0.01)


async def _status(place: Place, session: dict[str, Any]) -> int:
    async with place.listen(session) as stream:
        return stream.answer.status_code


async def test_a_stopping_process_ends_its_streams_whole_and_takes_no_new_ones(world: World, place: Place) -> None:
    session = await world.mint()
    async with place.listen(session) as stream, aclosing(stream.events()) as events:
        assert (await anext(events))["state"] == "pending"
        world.tail.close()
        assert [event async for event in events] == []
    assert await place.states(session) == ["pending"]


async def test_a_stream_ends_with_the_token_that_opened_it(world: World, place: Place, clock: FrozenClock) -> None:
    session = await world.mint()
    clock.advance(timedelta(hours=24) - timedelta(milliseconds=300))
    async with place.listen(session, **bearer(session["token"])) as stream, aclosing(stream.events()) as events:
        assert (await anext(events))["state"] == "pending"
        clock.advance(timedelta(milliseconds=300))
        assert [event async for event in events] == []


async def test_a_stream_of_a_key_ends_after_an_hour(
    world: World, place: Place, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_events, "LONGEST", timedelta(milliseconds=300))
    async with place.listen(await world.mint()) as stream, aclosing(stream.events()) as events:
        assert (await anext(events))["state"] == "pending"
        clock.advance(timedelta(milliseconds=300))
        assert [event async for event in events] == []


async def test_a_result_with_line_ends_is_still_one_event(world: World, place: Place) -> None:
    session = await world.verified()
    job = await world.lease()
    lease = json.dumps({"lease": job["lease"]["token"], "epoch": 1, "outcome": "processed"})[:-1]
    forged = '{\r\n"a": "b\\n\\nevent: state\\nid: 1",\n\n"c":\r3}'
    headers = {**world.as_("worker"), "content-type": "application/json"}
    body = f'{lease}, "result": {forged}}}'
    answer = await world.client.post(f"/jobs/{job['id']}/result", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    async with place.listen(session) as stream:
        told = await stream.rest()
    assert [event["state"] for event in told] == ["pending", "verified", "processing", "processed"]
    assert told[-1]["result"] == {"a": "b\n\nevent: state\nid: 1", "c": 3}


async def test_a_reader_that_takes_nothing_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "SLOW", timedelta(milliseconds=100))
    monkeypatch.setattr(session_events, "_HEARTBEAT", b":" + b" " * 100_000 + b"\n\n")
    monkeypatch.setattr("broker.one_write.LINGER_SECONDS", 0.1)
    session = await world.mint()
    watch = with_port(world.use_cases.watch, heartbeat=timedelta(milliseconds=1))
    async with serving_events(world, watch=watch) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(place.url.rpartition(":")[2]), limit=1_000)
        head = f"GET /upload-sessions/{session['id']}/events HTTP/1.1\r\nhost: x\r\n"
        writer.write(f"{head}authorization: Bearer {world.secrets['app']}\r\n\r\n".encode())
        await reader.readuntil(b"\r\n\r\n")
        async with asyncio.timeout(SOON):
            while world.tail._count:  # noqa: ASYNC110 - nobody would set an event
                await asyncio.sleep(0.01)
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(2**40)  # what lies in the buffers between us, and then no proper end
        writer.close()


async def test_head_says_what_get_would_and_ends(world: World, place: Place) -> None:
    session = await world.mint()
    answer = await place.client.head(
        f"{place.url}/upload-sessions/{session['id']}/events", headers=world.as_("app"), timeout=SOON
    )
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream")


@pytest.mark.parametrize("seen", ["", "-1", "1e3", "x", "9" * 14, "١"])
async def test_an_id_that_is_not_ours_is_refused(world: World, seen: str) -> None:
    session = await world.mint()
    headers = {**world.as_("app"), b"last-event-id": seen.encode()}
    answer = await world.client.get(f"/upload-sessions/{session['id']}/events", headers=headers)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


async def test_an_event_is_written_as_the_document_shows_it(world: World, place: Place) -> None:
    answers = DOCUMENT["paths"]["/upload-sessions/{session_id}/events"]["get"]["responses"]
    shown = answers["200"]["content"]["text/event-stream"]["example"]
    session = await world.mint()
    async with place.listen(session) as stream, aclosing(stream.answer.aiter_lines()) as lines:
        first = [line async for line in _first(lines, 6)]
    assert [line.partition(": ")[0] for line in first] == ["retry", "", "event", "id", "data", ""]
    data, told = json.loads(shown["data"]), json.loads(first[4].removeprefix("data: "))
    assert told == data | {"id": session["id"], "state": "pending", "at": told["at"]}
    moment = datetime.fromisoformat(data["at"])
    assert int(shown["id"]) == moment.timestamp() * 1_000
