"""The life of uploads in parts as a state machine: whoever does what in whatever order, it ends well."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from broker.contract import Level, PartRequest, State
from broker.domain.errors import BrokerError, StoreUnavailable
from broker.services.admission import IDEMPOTENCY_AT_LEAST
from tests.clock import START
from tests.memory_bucket import ENFORCED
from tests.memory_uploads import PartRefused
from tests.unit.services.house import Crash, Fuse, House, parts_of
from tests.unit.services.parts import IN_PARTS, PART, minted_in_parts

T = TypeVar("T")
ENDS = {State.VERIFIED, State.EXPIRED, State.ABORTED, State.REJECTED}
waits = st.sampled_from([0, 1, 2, 14, 16, 61, 301, 3_600, 43_200, 86_400]).map(lambda s: timedelta(seconds=s))


class LifeInParts(RuleBasedStateMachine):
    """One session, its client, its thief, its bucket and its brokers, any of which dies at any call."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.house = House(fuse=Fuse(), guarantees=replace(ENFORCED, size=Level.AT_HEAD))
        self.session_id = ""
        self.parts: list[PartRequest] = []

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self._ends_well())
        finally:
            self.loop.close()

    def run(self, act: Awaitable[T]) -> T | None:
        """None where the process died, or said no."""

        async def surviving() -> T | None:
            with suppress(Crash, BrokerError, PartRefused):
                return await act
            return None

        return self.loop.run_until_complete(surviving())

    @initialize()
    def begin(self) -> None:
        self.mint()

    # --- the client

    @precondition(lambda self: self.house.clock.now() < START + IDEMPOTENCY_AT_LEAST)
    @rule()
    def mint(self) -> None:
        minted = self.run(minted_in_parts(self.house, "key"))
        if minted:
            assert self.session_id in {"", minted.session.id}
            self.session_id = minted.session.id
            if minted.upload:
                self.parts += parts_of(minted.upload).parts

    @precondition(lambda self: self.session_id)
    @rule(numbers=st.lists(st.integers(1, 3), min_size=1, max_size=3))
    def ask_for_parts(self, numbers: list[int]) -> None:
        self.parts += self.run(self._parts(numbers)) or []

    async def _parts(self, numbers: list[int]) -> list[PartRequest]:
        return await self.house.remint.parts(await self.house.session(self.session_id), numbers)

    @precondition(lambda self: self.parts)
    @rule(data=st.data(), size=st.none() | st.integers(0, PART))
    def send_one(self, data: Any, size: int | None) -> None:
        part = data.draw(st.sampled_from(self.parts))
        with suppress(PartRefused):
            self.house.bucket.uploads.send(part.request, size)

    @precondition(lambda self: self.parts)
    @rule()
    def send_all(self) -> None:
        for part in self.parts:
            with suppress(PartRefused):
                self.house.bucket.uploads.send(part.request)

    @precondition(lambda self: self.session_id)
    @rule()
    def say_that_it_is_done(self) -> None:
        self.run(self._complete())

    async def _complete(self) -> None:
        await self.house.complete(await self.house.session(self.session_id))

    @precondition(lambda self: self.session_id)
    @rule()
    def give_up(self) -> None:
        self.run(self._abort())

    async def _abort(self) -> None:
        await self.house.abort(await self.house.session(self.session_id))

    # --- the bucket

    @precondition(lambda self: self.session_id)
    @rule()
    def tell_or_forge(self) -> None:
        self.run(self._event())

    async def _event(self) -> None:
        await self.house.event((await self.house.session(self.session_id)).facts.key)

    @precondition(lambda self: self.session_id)
    @rule()
    def take_by_lifecycle(self) -> None:
        session = self.run(self.house.session(self.session_id))
        assert session is not None
        self.house.bucket.uploads.forget(session.facts.key)

    @rule(aborts=st.integers(1, 3))
    def hold_parts_in_flight(self, aborts: int) -> None:
        self.house.bucket.uploads.aborts_needed = aborts

    @rule(times=st.integers(0, 2))
    def answer_200_with_an_error(self, times: int) -> None:
        self.house.bucket.uploads.errors_in_200 = times

    @rule(is_away=st.booleans())
    def go_away_or_come_back(self, is_away: bool) -> None:
        self.house.bucket.trouble = StoreUnavailable() if is_away else None

    # --- the brokers

    @rule()
    def look(self) -> None:
        self.run(self.house.looks())

    @rule(wait=waits)
    def wait(self, wait: timedelta) -> None:
        self.house.clock.advance(wait)

    @rule(calls=st.integers(1, 8), is_answer_lost=st.booleans())
    def die_soon(self, calls: int, is_answer_lost: bool) -> None:
        fuse = self.house.fuse
        fuse.burns_at, fuse.is_answer_lost = fuse.calls + calls, is_answer_lost

    # --- what holds

    @invariant()
    def it_is_settled_once_and_only_as_declared(self) -> None:
        self.loop.run_until_complete(self._is_sound())

    async def _is_sound(self) -> None:
        states = await self.house.states()
        assert states.count(State.PENDING) <= 1
        assert sum(state in ENDS for state in states) <= 1
        if states and states[-1] is State.VERIFIED:
            [info] = self.house.bucket.stored.values()
            assert info.size_bytes == IN_PARTS.size_bytes

    async def _ends_well(self) -> None:
        """With a store that answers and processes that live, every session settles and leaves nothing behind."""
        house = self.house
        house.fuse.burns_at, house.bucket.trouble = None, None
        house.bucket.uploads.errors_in_200 = 0
        await house.pass_time(timedelta(days=4))
        await self._is_sound()
        states = await house.states()
        assert not states or states[-1] in ENDS
        assert house.bucket.uploads.unfinished == {}
        assert await house.ledger.next_due() is None
        assert bool(house.bucket.stored) == (State.VERIFIED in states)


LifeInParts.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLifeInParts = LifeInParts.TestCase
