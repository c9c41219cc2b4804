"""The life of fan-outs as a state machine: whoever does what in whatever order, and dies at whichever call."""

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace

from broker.contract import State, Upload
from broker.domain.capsule import capsule_of
from broker.domain.errors import BrokerError
from broker.domain.fan_out import note_of
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.sessions import Session
from tests.memory_bucket import PutRefused
from tests.unit.services.house import Crash, Fuse, House, report_of, request_of
from tests.unit.services.test_fan_out import NAMES, a_house, minted

T = TypeVar("T")
waits = st.sampled_from([0, 1, 2, 14, 61, 301, 3_600, 43_200, 86_400]).map(lambda s: timedelta(seconds=s))
places = st.sampled_from(NAMES)
numbers = st.integers(0, 63)  # ids are random, and with them who dies where: what is drawn must not depend on it


class LifeOfCopies(RuleBasedStateMachine):
    """One fan-out, its client, its three stores, its consumer and its brokers."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.uploads: list[tuple[str, Upload]] = []

    def teardown(self) -> None:
        try:
            if hasattr(self, "house"):
                self.loop.run_until_complete(self._ends_well())
        finally:
            self.loop.close()

    def run(self, act: Awaitable[T]) -> T | None:
        """None where the process died, or said no."""

        async def surviving() -> T | None:
            with suppress(Crash, BrokerError):
                return await act
            return None

        return self.loop.run_until_complete(surviving())

    @initialize(required=st.sampled_from(["all", 1, 2]))
    def begin(self, required: Any) -> None:
        self.house: House = a_house(required=required, fuse=Fuse())
        made = self.loop.run_until_complete(minted(self.house))
        self.session_id = made.session.id
        self.uploads = [(copy.destination, copy.upload) for copy in made.copies if copy.upload]

    async def session(self) -> Session:
        return await self.house.session(self.session_id)

    # --- the client

    @rule(which=numbers, is_right=st.booleans())
    def send(self, which: int, is_right: bool) -> None:
        destination, upload = self.uploads[which % len(self.uploads)]
        store = self.house.stores[destination]
        before = set(store.stored)
        with suppress(PutRefused):
            store.send(request_of(upload))
        if not is_right:  # a store that does not check what it should
            for key in set(store.stored) - before:
                store.stored[key] = replace(store.stored[key], size_bytes=1)

    @rule(wanted=st.sets(places, min_size=1))
    def deliver(self, wanted: set[str]) -> None:
        """All goes as it should, for once."""
        for destination, upload in self.uploads:
            if destination in wanted:
                with suppress(PutRefused):
                    self.house.stores[destination].send(request_of(upload))
        for destination in wanted:
            self.run(self._tell(destination))
        self.run(self.house.looks())

    @rule(which=numbers)
    def a_slow_put_lands(self, which: int) -> None:
        """One that began in time, on a session that may have been replaced since. Its bucket tells."""
        destination, upload = self.uploads[which % len(self.uploads)]
        key = request_of(upload).url.removeprefix("https://bucket.test/").partition("?")[0]
        self.run(self._land(destination, key))
        self.run(self.house.looks())

    async def _land(self, destination: str, key: str) -> None:
        copy = await self.house.ledger.get(key.split("/")[-2])
        store = self.house.stores[destination]
        if copy is not None and copy.state is not State.VERIFIED and key not in store.stored:
            capsule = capsule_of(copy.id, copy.facts)
            sealed = self.house.sealer.seal(capsule, bucket=copy.facts.bucket, key=key)
            store.store(key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: sealed})
            await self._tell(destination)

    @rule(destination=places)
    def mint_again(self, destination: str) -> None:
        made = self.run(self._mint_again(destination))
        if made is not None:
            self.uploads.append((destination, made))

    async def _mint_again(self, destination: str) -> Upload:
        return (await self.house.remint_copy(await self.session(), destination))[1]

    @rule(destination=st.none() | places)
    def say_that_it_is_done(self, destination: str | None) -> None:
        self.run(self._complete(destination))

    async def _complete(self, destination: str | None) -> Session:
        return await self.house.complete(await self.session(), destination)

    @rule()
    def abort(self) -> None:
        self.run(self._abort())

    async def _abort(self) -> Session:
        return await self.house.abort(await self.session())

    @rule()
    def erase(self) -> None:
        self.run(self._erase())

    async def _erase(self) -> Session:
        return await self.house.erase(await self.session())

    # --- stores, brokers, consumers

    @rule(destination=places)
    def tell(self, destination: str) -> None:
        self.run(self._tell(destination))

    async def _tell(self, destination: str) -> None:
        for key in self.house.stores[destination].stored:
            bucket = self.house.buckets[destination].destination.bucket
            await self.house.event(key, bucket=bucket)

    @rule()
    def look(self) -> None:
        self.run(self.house.looks())

    @rule(outcome=st.sampled_from(["processed", "rejected", "retry"]))
    def work(self, outcome: str) -> None:
        self.run(self._work(outcome))

    async def _work(self, outcome: str) -> None:
        for job in await self.house.lease(10, worker="w", wait=timedelta(0)):
            assert job.id == self.session_id
            await self.house.finish(job.id, report_of(job, outcome))

    @rule(by=waits)
    def time_passes(self, by: timedelta) -> None:
        self.house.clock.advance(by)

    @rule(calls=st.integers(1, 12), is_answer_lost=st.booleans())
    def somebody_will_die(self, calls: int, is_answer_lost: bool) -> None:
        fuse = self.house.fuse
        fuse.calls, fuse.burns_at, fuse.is_answer_lost = 0, calls, is_answer_lost

    # --- what always holds

    @precondition(lambda self: hasattr(self, "house"))
    @invariant()
    def the_fan_out_knows_how_its_copies_stand(self) -> None:
        self.loop.run_until_complete(self._is_consistent())

    async def _is_consistent(self) -> None:
        session = await self.session()
        for noted in session.facts.copies:
            copy = await self.house.ledger.get(noted.id)
            if copy is not None:
                assert noted == note_of(copy)
        there = sum(copy.state is State.VERIFIED for copy in session.facts.copies)
        if session.state in {State.PENDING, State.EXPIRED} and session.facts.erased_at is None:
            assert there < session.facts.required
        assert (await self.house.ledger.usage("app")).sessions == int(session.state is State.PENDING)
        events = [event for event in await self.house.events() if event.id != self.session_id]
        assert events == []

    async def _ends_well(self) -> None:
        """When everybody has gone home and time has passed, nothing waits, and nothing lies about that nobody wants."""
        self.house.fuse.burns_at = None
        for destination in NAMES:
            await self._tell(destination)
        await self.house.pass_time(timedelta(days=3))
        session = await self.session()
        await self._is_consistent()
        wanted = set()
        if session.facts.erased_at is None and session.state not in {State.ABORTED, State.REJECTED}:
            wanted = {copy.key for copy in session.facts.copies if copy.state is State.VERIFIED}
        stored = {key for store in self.house.stores.values() for key in store.stored}
        assert stored == wanted
        if session.state not in {State.VERIFIED, State.PROCESSING}:
            assert await self.house.is_at_rest()


LifeOfCopies.TestCase.settings = settings(
    max_examples=200, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestLifeOfCopies = LifeOfCopies.TestCase
