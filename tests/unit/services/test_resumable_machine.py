"""The life of uploads by a URI as a state machine: whoever does what in whatever order, it ends well.

Whoever holds a URI sends by it – its client, or a thief, before the deadline or long after.
"""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from broker.contract import Level, State
from broker.domain.errors import BrokerError, StoreUnavailable
from broker.domain.sessions import Session
from broker.services.admission import IDEMPOTENCY_AT_LEAST
from tests.clock import START
from tests.memory_bucket import ENFORCED
from tests.memory_resumable import MULTIPLE, PieceRefused
from tests.unit.services.house import Crash, Fuse, House
from tests.unit.services.resumables import SIZE, minted_by_uri, uri_of

T = TypeVar("T")
ENDS = {State.VERIFIED, State.EXPIRED, State.ABORTED, State.REJECTED}
waits = st.sampled_from([0, 1, 2, 14, 16, 61, 3_600, 43_200, 86_400, 8 * 86_400]).map(lambda s: timedelta(seconds=s))


class LifeByUri(RuleBasedStateMachine):
    """One session, its client, its thief, its bucket and its brokers, any of which dies at any call."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.house = House(fuse=Fuse(), is_resumable=True)
        self.house.bucket.resumables.guarantees = replace(ENFORCED, size=Level.AT_HEAD)
        self.session_id = ""
        self.uris: list[str] = []  # that anybody was ever given

    def teardown(self) -> None:
        try:
            self.loop.run_until_complete(self._ends_well())
        finally:
            self.loop.close()

    def run(self, act: Awaitable[T]) -> T | None:
        """None where the process died, or said no."""

        async def surviving() -> T | None:
            with suppress(Crash, BrokerError, PieceRefused):
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
        minted = self.run(minted_by_uri(self.house, "key"))
        if minted:
            assert self.session_id in {"", minted.session.id}
            self.session_id = minted.session.id
            if minted.upload:
                self.uris.append(uri_of(minted.upload))

    @precondition(lambda self: self.session_id)
    @rule()
    def ask_again(self) -> None:
        uri = self.run(self._asked())
        if uri:
            assert self.house.bucket.resumables.lives(uri)
            self.uris.append(uri)

    async def _asked(self) -> str:
        _, upload = await self.house.remint(await self._session())
        return uri_of(upload)

    @precondition(lambda self: self.uris)
    @rule(data=st.data(), pieces=st.none() | st.integers(0, 3))
    def send(self, data: Any, pieces: int | None) -> None:
        uri = data.draw(st.sampled_from(self.uris))
        with suppress(PieceRefused):
            self.house.bucket.resumables.send_by(uri, None if pieces is None else pieces * MULTIPLE)

    @precondition(lambda self: self.uris)
    @rule(data=st.data(), size=st.integers(1, 2 * SIZE))
    def send_what_was_not_declared(self, data: Any, size: int) -> None:
        uri = data.draw(st.sampled_from(self.uris))
        if self.house.bucket.resumables.lives(uri):
            with suppress(PieceRefused):
                self.house.bucket.resumables.finish(uri, size)

    @precondition(lambda self: self.session_id)
    @rule()
    def say_that_it_is_done(self) -> None:
        self.run(self._complete())

    async def _complete(self) -> None:
        await self.house.complete(await self._session())

    @precondition(lambda self: self.session_id)
    @rule()
    def see_how_far_it_is(self) -> None:
        self.run(self._surveyed())

    async def _surveyed(self) -> None:
        offset = await self.house.survey.offset(await self._session())
        assert offset is None or 0 <= offset <= SIZE

    @precondition(lambda self: self.session_id)
    @rule()
    def give_up(self) -> None:
        self.run(self._abort())

    async def _abort(self) -> None:
        await self.house.abort(await self._session())

    @precondition(lambda self: self.session_id)
    @rule()
    def erase(self) -> None:
        self.run(self._erase())

    async def _erase(self) -> None:
        await self.house.erase(await self._session())

    async def _session(self) -> Session:
        return await self.house.session(self.session_id)

    # --- the bucket

    @precondition(lambda self: self.session_id)
    @rule()
    def tell_or_forge(self) -> None:
        self.run(self._event())

    async def _event(self) -> None:
        await self.house.event((await self._session()).facts.key)

    @precondition(lambda self: self.session_id)
    @rule()
    def lose_what_is_open(self) -> None:
        session = self.run(self._session())
        assert session is not None
        self.house.bucket.resumables.forget(session.facts.key)

    @rule(times=st.integers(1, 3))
    def be_slow_to_cancel(self, times: int) -> None:
        self.house.bucket.resumables.cancels_needed = times

    @rule(is_away=st.booleans())
    def go_away_or_come_back(self, is_away: bool) -> None:
        self.house.bucket.trouble = StoreUnavailable() if is_away else None

    # --- the brokers

    @rule()
    def look(self) -> None:
        self.run(self.house.looks())

    @precondition(lambda self: self.house.clock.now() < START + timedelta(days=12))  # records are kept for thirty
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

    async def _states(self) -> list[State]:
        """Of its record: events are kept for a week only."""
        return [step.state for step in (await self._session()).timeline] if self.session_id else []

    async def _is_sound(self) -> None:
        states = await self._states()
        assert states.count(State.PENDING) <= 1
        settled = [state for state in states if state in ENDS]
        assert len(settled) <= 1
        if states and states[-1] is State.VERIFIED:
            [info] = self.house.bucket.stored.values()
            assert info.size_bytes == SIZE
        if State.EXPIRED in states:  # at its deadline it was closed, so it stays what it became
            assert not any(self.house.bucket.resumables.lives(uri) for uri in self.uris)

    async def _ends_well(self) -> None:
        """With a store that answers and processes that live, every session settles and leaves nothing behind."""
        house = self.house
        house.fuse.burns_at, house.bucket.trouble = None, None
        await house.pass_time(timedelta(days=4))
        await self._is_sound()
        states = await self._states()
        assert not states or set(states) & ENDS
        for uri in self.uris:
            with suppress(PieceRefused):
                house.bucket.resumables.send_by(uri)
        await house.pass_time(timedelta(days=4))
        assert await house.ledger.next_due() is None
        is_kept = State.VERIFIED in states and State.FAILED not in states
        assert bool(house.bucket.stored) == is_kept
        assert await self._states() == states


LifeByUri.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLifeByUri = LifeByUri.TestCase
