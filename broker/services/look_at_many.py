"""Look at many: one look at each session, now, but not more at a time than a store likes, and not for ever.

Whoever asks waits for a while. Looks that are on their way then go on without him, as one that is cut off could leave
parts that are being put together; of those that did not begin the next look is due at once, and the looker takes it.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TypeAlias

from broker.domain.errors import BrokerError
from broker.domain.sessions import Session
from broker.ports import Bell, Clock, Looked, Looking, Looks
from broker.services.at_once import at_once
from broker.services.complete import HOLD, ONE_LOOK_EVERY

_log = logging.getLogger("broker.look")

MOVED_AT_ONCE = 64  # ours: looks on their way to the ledger

Found: TypeAlias = dict[str, Looked | BrokerError]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAtMany:
    """One for each process.

    :ivar most_at_once: looks at one store, whoever asked for them.
    :ivar within: how long one call may take; far below what clients wait for an answer.
    """

    looks: Looks
    look: Looking
    clock: Clock
    due: Bell
    most_at_once: int = 64
    within: timedelta = timedelta(seconds=5)
    _places: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    _running: set[asyncio.Task[None]] = field(default_factory=set)  # else nobody would hold those that go on

    async def __call__(self, sessions: Iterable[Session]) -> Found:
        """What each look came to, by id. Missing are those that were not looked at, or a second ago for somebody else.

        :param sessions: of which a bucket can say something, each once.
        """
        found: Found = {}
        queues: dict[str, deque[Session]] = {}
        for session in sessions:
            queues.setdefault(session.facts.destination, deque()).append(session)
        await self._wait([task for name, queue in queues.items() for task in self._start(name, queue, found)])
        left = [session for queue in queues.values() for session in queue]
        for queue in queues.values():
            queue.clear()
        if left:
            await self._hasten(left)
        return dict(found)  # what goes on does not change what was answered

    def _start(self, name: str, queue: deque[Session], found: Found) -> list[asyncio.Task[None]]:
        places = self._places.setdefault(name, asyncio.Semaphore(self.most_at_once))
        count = min(self.most_at_once, len(queue))
        tasks = [asyncio.create_task(self._work(queue, places, found)) for _ in range(count)]
        self._running.update(tasks)
        for task in tasks:
            task.add_done_callback(self._running.discard)
        return tasks

    async def _wait(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        if not tasks:
            return
        done, _ = await asyncio.wait(tasks, timeout=self.within.total_seconds())
        for task in done:
            task.result()

    async def _work(self, queue: deque[Session], places: asyncio.Semaphore, found: Found) -> None:
        while queue:
            async with places:
                if not queue:
                    return
                session = queue.popleft()
                looked = await self._look_at(session)
                if looked is not None:
                    found[session.id] = looked

    async def _look_at(self, session: Session) -> Looked | BrokerError | None:
        """Whatever goes wrong with one: the claim runs out, its look comes back, and no other is spoiled."""
        try:
            due = await self.looks.claim_one(session.id, now=self.clock.now(), hold=HOLD, every=ONE_LOOK_EVERY)
            return None if due is None else await self.look(due)
        except BrokerError as trouble:
            return trouble
        except Exception:
            _log.exception("look.stumbled", extra={"session_id": session.id})
            return None

    async def _hasten(self, sessions: Sequence[Session]) -> None:
        """Not by a hint, which would say that the bucket told. Where the ledger is away, the schedule stands."""
        await at_once(MOVED_AT_ONCE, [partial(self._move, session.id) for session in sessions])
        self.due.ring()

    async def _move(self, session_id: str) -> None:
        """A claim that is given back at once, so that this, too, happens once a second at most."""
        now = self.clock.now()
        due = await self.looks.claim_one(session_id, now=now, hold=HOLD, every=ONE_LOOK_EVERY)
        if due is not None:
            await self.looks.postpone(due, now)
