"""Many completions by one call: each as a call of its own, at most a look a second, and none spoils another."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from broker.contract import State
from broker.domain.errors import (
    CredentialsUnavailable,
    LedgerUnavailable,
    SessionNotFound,
    StoreRefused,
    StoreUnavailable,
)
from broker.domain.keys import new_session_id
from broker.domain.policy import Destination
from broker.domain.principals import ApiKey, Role
from broker.domain.sessions import Session
from broker.services.complete import HOLD
from broker.services.complete_many import Answer, Completed, CompleteMany
from broker.services.look_at_many import LookAtMany
from broker.services.settle import Settle
from broker.services.survey_many import SurveyMany
from broker.wiring.looking import look_of
from tests.unit.services.house import APP, House
from tests.unit.services.parts import begun
from tests.unit.services.test_fan_out import NAMES, a_house, minted, send

SECOND = timedelta(seconds=1)
SHORT = timedelta(milliseconds=20)  # of real time: for calls that are meant to run into it
STRANGER = ApiKey(id="stranger", hashes=(), roles=frozenset({Role.MINT}))
ROOT = ApiKey(id="root", hashes=(), roles=frozenset({Role.ADMIN}))
EU = Destination(name="eu", bucket="acme-eu", prefix="uploads")


class Death(BaseException):
    """The process dies here: nothing catches it."""


@dataclass(slots=True)
class Ledger:
    """The real one; before each call it does what a test wants."""

    real: Any
    before: Callable[[str], Awaitable[None]]

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            await self.before(name)
            return await getattr(self.real, name)(*args, **kwargs)

        return call


def completing(house: House, ledger: Any = None, **changes: Any) -> CompleteMany:
    """As in the house, but for `changes` of `LookAtMany`."""
    ledger = ledger or house.ledger
    wired: dict[str, Any] = {"looks": ledger, "look": house.look, "clock": house.clock, "due": house.due}
    look_at_many = LookAtMany(**wired | changes)
    return CompleteMany(survey_many=SurveyMany(sessions=ledger), sessions=ledger, look_at_many=look_at_many)


async def some(house: House, count: int, sent: int | None = None, **changes: Any) -> list[str]:
    """Ids of minted sessions, of which the first `sent` were sent; without it all."""
    made = [await house.minted(**changes) for _ in range(count)]
    for each in made[:sent]:
        house.stores[each.session.facts.destination].send(each.upload.request)  # type: ignore[union-attr]
    return [each.session.id for each in made]


def told(answers: list[Answer]) -> list[tuple[State, bool] | str]:
    return [(a.session.state, a.is_looked_at) if isinstance(a, Completed) else a.code for a in answers]


VERIFIED, NOTHING, UNKNOWN = (State.VERIFIED, True), (State.PENDING, True), (State.PENDING, False)


# --- what a look says


async def test_what_was_sent_is_verified_and_the_rest_is_known_not_to_be_there() -> None:
    house = House()
    ids = await some(house, 200, 150)
    assert told(await house.complete_many(APP, ids)) == [VERIFIED] * 150 + [NOTHING] * 50
    assert len(house.bucket.heads) == 200


async def test_a_session_that_stands_twice_is_looked_at_once() -> None:
    house = House()
    (one,) = await some(house, 1)
    assert told(await house.complete_many(APP, [one] * 3)) == [VERIFIED] * 3
    assert len(house.bucket.heads) == 1


async def test_a_settled_session_is_told_without_a_look() -> None:
    house = House()
    ids = [(await house.uploaded()).id for _ in range(3)]
    house.bucket.heads.clear()
    assert told(await house.complete_many(APP, ids)) == [VERIFIED] * 3
    assert not house.bucket.heads


async def test_no_session_is_looked_at_more_than_once_a_second_whichever_way_is_asked() -> None:
    house = House()
    ids = await some(house, 5, 0)
    session = await house.session(ids[0])
    await house.complete(session)
    first = await house.complete_many(APP, ids)
    again = await asyncio.gather(*(house.complete_many(APP, ids) for _ in range(5)), house.complete(session))
    assert told(first) == [UNKNOWN] + [NOTHING] * 4
    assert all(told(each) == [UNKNOWN] * 5 for each in again if isinstance(each, list))
    assert len(house.bucket.heads) == 5
    house.clock.advance(SECOND)
    assert told(await house.complete_many(APP, ids)) == [NOTHING] * 5


async def test_other_peoples_and_impossible_sessions_are_not_there_and_not_touched() -> None:
    house = House()
    (one,) = await some(house, 1)
    before = await house.ledger.next_due()
    answers = await house.complete_many(STRANGER, [one, new_session_id(0), "", "\u202e", one.upper()])
    assert told(answers) == [SessionNotFound.code] * 5
    assert (house.bucket.heads, await house.ledger.next_due()) == ([], before)
    assert told(await house.complete_many(ROOT, [one])) == [VERIFIED]


async def test_what_an_event_verified_meanwhile_is_told_as_it_stands() -> None:
    house = House()
    ids = await some(house, 3)

    async def before(call: str) -> None:
        if call == "claim_one" and not house.bucket.heads:
            for each in ids:
                await house.event((await house.session(each)).facts.key)
            await house.looks()

    answers = await completing(house, Ledger(house.ledger, before))(APP, ids)
    assert told(answers) == [VERIFIED] * 3
    assert (await house.states()).count(State.VERIFIED) == 3


async def test_an_answer_that_was_lost_is_given_again() -> None:
    house = House()
    ids = await some(house, 4, 3)
    await house.complete_many(APP, ids)  # nobody heard it
    assert told(await house.complete_many(APP, ids)) == [VERIFIED] * 3 + [UNKNOWN]


async def test_a_forgotten_session_is_a_problem_of_its_own() -> None:
    house = House()
    ids = await some(house, 3)
    await house.forget(await house.session(ids[1]))
    assert told(await house.complete_many(APP, ids)) == [VERIFIED, SessionNotFound.code, VERIFIED]


async def test_one_that_is_forgotten_while_it_is_looked_at_spoils_no_other() -> None:
    house = House()
    ids = await some(house, 3)

    async def before(call: str) -> None:
        if call == "claim_one" and (session := await house.ledger.get(ids[1])):
            await house.forget(session)

    answers = await completing(house, Ledger(house.ledger, before))(APP, ids)
    assert told(answers) == [VERIFIED, UNKNOWN, VERIFIED]


# --- other kinds


async def test_parts_are_put_together_when_they_are_all_there() -> None:
    house = House()
    whole, half = await begun(house), await begun(house, 1)
    answers = await house.complete_many(APP, [whole.id, half.id])
    assert told(answers) == [VERIFIED, NOTHING]
    assert isinstance(answers[0], Completed)
    assert answers[0].session.facts.stored is not None


async def test_a_fan_out_is_told_by_its_copies() -> None:
    house = a_house()
    whole, half = await minted(house), await minted(house)
    send(house, whole, *NAMES)
    send(house, half, "eu")
    ids = [whole.session.id, half.session.id]
    answers = await house.complete_many(APP, [*ids, whole.copies[0].destination, *(await some(house, 1))])
    assert told(answers) == [VERIFIED, NOTHING, SessionNotFound.code, VERIFIED]
    assert isinstance(answers[1], Completed)
    assert [copy.state.value for copy in answers[1].session.facts.copies] == ["pending", "verified", "pending"]


async def test_a_fan_out_of_which_one_store_is_silent_was_not_looked_at() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "default", "eu")
    house.stores["us"].trouble = StoreUnavailable()
    answers = await house.complete_many(APP, [made.session.id])
    assert told(answers) == [UNKNOWN]
    assert isinstance(answers[0], Completed)
    assert [copy.state.value for copy in answers[0].session.facts.copies] == ["verified", "verified", "pending"]


async def test_a_copy_is_nobodys_session_here_either() -> None:
    house = a_house()
    made = await minted(house)
    copies = [copy.id for copy in made.session.facts.copies]
    assert told(await house.complete_many(APP, copies)) == [SessionNotFound.code] * 3


async def test_an_upload_by_one_url_is_found_when_it_is_whole() -> None:
    house = House(is_resumable=True)
    made = await house.minted(strategy="resumable", size_bytes=100)
    house.store_anyhow(await house.session(made.session.id))
    open_one = await house.minted(strategy="resumable", size_bytes=100)
    assert told(await house.complete_many(APP, [made.session.id, open_one.session.id])) == [VERIFIED, NOTHING]


# --- trouble


@pytest.mark.parametrize("trouble", [StoreUnavailable(), StoreRefused(), CredentialsUnavailable()])
async def test_a_store_that_is_away_says_nothing_of_its_own_sessions_and_all_of_others(trouble: Any) -> None:
    house = House(more=(EU,))
    here, there = await some(house, 3), await some(house, 3, destination="eu")
    house.bucket.trouble = trouble
    assert told(await house.complete_many(APP, [*here, *there])) == [UNKNOWN] * 3 + [VERIFIED] * 3
    house.bucket.trouble = None
    house.clock.advance(SECOND)
    assert told(await house.complete_many(APP, here)) == [VERIFIED] * 3


async def test_a_ledger_that_fails_at_one_session_is_that_sessions_problem() -> None:
    house = House()
    ids = await some(house, 3)
    left = [None, LedgerUnavailable(), None]

    async def before(call: str) -> None:
        if call == "claim_one" and (trouble := left.pop()):
            raise trouble

    answers = await completing(house, Ledger(house.ledger, before))(APP, ids)
    assert told(answers) == [VERIFIED, LedgerUnavailable.code, VERIFIED]


async def test_a_ledger_that_goes_away_meanwhile_leaves_what_is_known() -> None:
    house = House()
    ids = await some(house, 2, 0)
    await house.complete(await house.session(ids[0]))
    asked = list[str]()

    async def before(call: str) -> None:
        asked.append(call)
        if call == "get_many" and asked.count(call) == 2:
            raise LedgerUnavailable

    assert told(await completing(house, Ledger(house.ledger, before))(APP, ids)) == [UNKNOWN, NOTHING]
    assert asked.count("get_many") == 2


async def test_a_ledger_that_is_away_is_said_once() -> None:
    house = House()

    async def before(_: str) -> None:
        raise LedgerUnavailable

    with pytest.raises(LedgerUnavailable):
        await completing(house, Ledger(house.ledger, before))(APP, await some(house, 2))


async def test_a_mistake_of_ours_at_one_session_spoils_no_other(caplog: pytest.LogCaptureFixture) -> None:
    house = House()
    ids = await some(house, 3)
    key = (await house.session(ids[1])).facts.key

    async def stumble() -> None:
        if house.bucket.heads[-1] == key:
            raise ZeroDivisionError

    house.bucket.after_head = stumble
    with caplog.at_level(logging.ERROR, "broker.look"):
        answers = await house.complete_many(APP, ids)
    assert told(answers) == [VERIFIED, UNKNOWN, VERIFIED]
    assert [(r.message, r.session_id) for r in caplog.records] == [("look.stumbled", ids[1])]  # type: ignore[attr-defined]
    house.clock.advance(HOLD)  # its claim runs out, and the look comes back
    house.bucket.after_head = _nothing
    assert await house.looks() > 0
    assert (await house.session(ids[1])).state is State.VERIFIED


@pytest.mark.parametrize("burns_at", range(1, 40))
async def test_whoever_takes_over_from_a_broker_that_dies_finds_everything(burns_at: int) -> None:
    """It dies before each of its calls to the ledger."""
    house = House()
    ids = [*(await some(house, 4)), (await begun(house)).id]
    calls = 0

    async def before(_: str) -> None:
        nonlocal calls
        calls += 1
        if calls >= burns_at:
            raise Death

    ledger = Ledger(house.ledger, before)
    try:
        answers = await completing(house, ledger, look=_over(house, ledger))(APP, ids)
    except Death:
        assert calls >= burns_at
    else:
        assert calls < burns_at
        assert told(answers) == [VERIFIED] * 5
    house.clock.advance(timedelta(minutes=5))  # parts that were being put together are waited for
    await house.looks()
    assert told(await house.complete_many(APP, ids)) == [VERIFIED] * 5
    assert (await house.states()).count(State.VERIFIED) == 5


# --- not for ever, and not too many at a time


async def test_a_slow_store_is_not_waited_for_and_what_was_not_reached_is_due_at_once() -> None:
    house = House()
    ids = await some(house, 6)
    is_open = asyncio.Event()
    house.bucket.before_head = is_open.wait  # type: ignore[assignment]
    answers = await completing(house, within=SHORT, most_at_once=2)(APP, ids)
    assert told(answers) == [UNKNOWN] * 6
    due = await house.ledger.claim(10, now=house.clock.now(), hold=HOLD)
    assert {each.id for each in due} == set(ids[2:])
    assert not any(each.session.progress.is_heard for each in due if each.session)  # nobody said that the bucket told
    await asyncio.wait_for(house.due.wait(timedelta(seconds=5)), 1)  # it rang
    is_open.set()
    await _until(lambda: _is_verified(house, ids[:2]))  # what was on its way goes on
    for each in due:
        await house.look(each)
    assert told(await house.complete_many(APP, ids)) == [VERIFIED] * 6


async def test_what_was_put_in_front_is_not_put_there_again_within_a_second() -> None:
    house = House()
    ids = await some(house, 3, 0)
    is_open = asyncio.Event()
    house.bucket.before_head = is_open.wait  # type: ignore[assignment]
    complete_many = completing(house, within=SHORT, most_at_once=1)
    await complete_many(APP, ids)
    due = await house.ledger.claim(10, now=house.clock.now(), hold=HOLD)
    await complete_many(APP, ids)
    assert await house.ledger.claim(10, now=house.clock.now(), hold=HOLD) == []
    assert len(due) == 2
    is_open.set()


async def test_so_many_looks_at_a_time_at_one_store_whoever_asks() -> None:
    house = House(more=(EU,))
    under_way, most = 0, 0

    async def before() -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1

    house.bucket.before_head = before
    complete_many = completing(house, most_at_once=4)
    calls = [await some(house, 20) for _ in range(5)]
    answers = await asyncio.gather(*(complete_many(APP, ids) for ids in calls))
    assert all(told(each) == [VERIFIED] * 20 for each in answers)
    assert most == 4


async def test_a_store_that_hangs_takes_no_places_of_another() -> None:
    house = House(more=(EU,))
    here, there = await some(house, 5), await some(house, 5, destination="eu")
    is_open = asyncio.Event()
    house.bucket.before_head = is_open.wait  # type: ignore[assignment]
    answers = await completing(house, within=SHORT, most_at_once=2)(APP, [*here, *there])
    assert told(answers) == [UNKNOWN] * 5 + [VERIFIED] * 5
    is_open.set()


async def test_a_caller_who_goes_away_leaves_no_look_half_done() -> None:
    """A look that is cut off while parts are put together would hold them for minutes."""
    house = House()
    session = await begun(house)
    started, is_open = asyncio.Event(), asyncio.Event()

    async def before() -> None:
        started.set()
        await is_open.wait()

    house.bucket.uploads.before_complete = before
    call = asyncio.create_task(completing(house)(APP, [session.id]))
    await asyncio.wait_for(started.wait(), 5)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    is_open.set()
    await _until(lambda: _is_verified(house, [session.id]))


async def _nothing() -> None:
    return


def _over(house: House, ledger: Any) -> Any:
    """The house's look, whose every call to the ledger goes by `ledger`."""
    return look_of(
        buckets=house.buckets,
        sessions=ledger,
        looks=ledger,
        adopt=house.adopt,
        settle=Settle(sessions=ledger, clock=house.clock, work=house.work),
        sealer=house.sealer,
        uris=house.uris,
        clock=house.clock,
    )


async def _is_verified(house: House, ids: list[str]) -> bool:
    sessions: list[Session] = [await house.session(each) for each in ids]
    return all(session.state is State.VERIFIED for session in sessions)


async def _until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(5):
        while not await is_so():  # noqa: ASYNC110 - a ledger tells nobody
            await asyncio.sleep(0)
