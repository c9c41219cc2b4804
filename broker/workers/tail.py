"""The tail: one reader of the events of all shards for all of this process who wait, and none while nobody does.

It reads the streams from their ends on, all of them in one write, so what it asks of the ledger does not grow with the
listeners. It rings and does not tell: a listener reads the record, a consumer asks for jobs, and what is rung once too
often does no harm.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from broker.contract import State
from broker.domain.errors import BrokerError, Overloaded
from broker.ports import ApiKeys, Bell, Events

_log = logging.getLogger("broker.tail")

PERIOD = timedelta(milliseconds=100)  # between two reads: the most that a listener is late, beside the reading
TURNS_A_ROUND = 10  # reads between two looks at the keys by whose right they listen: a second
PAUSE = timedelta(seconds=1)  # before a ledger that did not answer is asked again


@dataclass(slots=True, kw_only=True, eq=False)
class _Place:
    """A `Listener`. Rings that come before it waits are one."""

    right: tuple[str, int]  # key and generation
    is_over: bool = False
    _rung: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        self._rung.set()

    def leave(self) -> None:
        self.is_over = True
        self._rung.set()

    async def wait(self, timeout: timedelta) -> bool:
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


@dataclass(slots=True, kw_only=True)
class Tail:
    """`Listeners`. `run` until cancelled; `close` sends everybody home.

    :param limit: how many may listen at once; each takes an open connection.
    """

    events: Events
    keys: ApiKeys
    shards: int
    limit: int
    _places: dict[str, set[_Place]] = field(default_factory=dict)
    _bells: Counter[Bell] = field(default_factory=Counter)
    _count: int = 0
    _is_closed: bool = False
    _is_wanted: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def count(self) -> int:
        """How many listen."""
        return self._count

    @contextmanager
    def listen(self, session_id: str, key_id: str, generation: int) -> Iterator[_Place]:
        if self._count >= self.limit:
            raise Overloaded
        place = _Place(right=(key_id, generation), is_over=self._is_closed)
        self._places.setdefault(session_id, set()).add(place)
        self._count += 1
        self._is_wanted.set()
        try:
            yield place
        finally:
            self._count -= 1
            places = self._places[session_id]
            places.discard(place)
            if not places:
                del self._places[session_id]

    @contextmanager
    def ringing(self, bell: Bell) -> Iterator[None]:
        """As long as the context lasts, `bell` rings whenever a job became visible, wherever that happened."""
        self._bells[bell] += 1
        self._is_wanted.set()
        try:
            yield
        finally:
            self._bells[bell] -= 1
            if not self._bells[bell]:
                del self._bells[bell]

    def close(self) -> None:
        """Whoever listens, or comes to, leaves at once: a process that stops would wait for them."""
        self._is_closed = True
        for place in self._all():
            place.leave()

    async def run(self) -> None:
        while True:
            await self._is_wanted.wait()
            try:
                await self._follow()
            except BrokerError as trouble:
                _log.warning("tail.waiting", extra={"code": trouble.code})
                await asyncio.sleep(PAUSE.total_seconds())
            except Exception:
                _log.exception("tail.stumbled")
                await asyncio.sleep(PAUSE.total_seconds())

    async def _follow(self) -> None:
        """As long as somebody waits. Who began before the ends were known looks again: nobody rang for that time."""
        cursors = await asyncio.gather(*(self.events.end(shard) for shard in range(self.shards)))
        waiting: list[_Place | Bell] = [*self._all(), *self._bells]
        for each in waiting:
            each.ring()
        for turn in count():
            if not self._count and not self._bells:
                break
            await asyncio.sleep(PERIOD.total_seconds())
            cursors = await asyncio.gather(*(self._hear(shard, cursor) for shard, cursor in enumerate(cursors)))
            if turn % TURNS_A_ROUND == 0:
                await self._go_round()
        self._is_wanted.clear()

    async def _hear(self, shard: int, after: str) -> str:
        has_work = False
        async for event in self.events.read(shard, after):
            after, has_work = event.cursor, has_work or event.state is State.VERIFIED
            for place in self._places.get(event.id, ()):
                place.ring()
        for bell in self._bells if has_work else ():
            bell.ring()
        return after

    async def _go_round(self) -> None:
        """Sends home whose key was revoked since. Asks as often as there are keys, not as there are listeners."""
        here = self._all()
        rights = [*{place.right for place in here}]
        held = dict(zip(rights, await asyncio.gather(*(self._is_held(*right) for right in rights)), strict=True))
        for place in here:
            if not held[place.right]:
                place.leave()

    async def _is_held(self, key_id: str, generation: int) -> bool:
        api_key = await self.keys.find(key_id)
        return api_key is not None and api_key.generation == generation

    def _all(self) -> list[_Place]:
        return [place for places in self._places.values() for place in places]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FarBell:
    """A `Bell` of this process that is rung for what others did, too, while somebody waits for it."""

    near: Bell
    tail: Tail

    def ring(self) -> None:
        self.near.ring()

    async def wait(self, timeout: timedelta) -> None:
        with self.tail.ringing(self.near):
            await self.near.wait(timeout)
