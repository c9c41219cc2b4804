"""Sessions that nobody will finish, because their file has changed, or what arrived is not what was sent: aborted, so
that nobody takes what is there for the file. The manifest has them until that is done."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from itertools import compress

from uploader.client import BrokerClient
from uploader.errors import BrokerRefused, Unreachable
from uploader.together import together
from uploader.transfer.granting import Refusal, refusal_of
from uploader.tree.manifest import Manifest

AT_ONCE = 16
PAUSE_SECONDS = 1.0  # ours: nobody waits for it


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    manifest: Manifest
    broker: BrokerClient
    is_due: asyncio.Event
    notify: Callable[[str, str, timedelta, int], None]

    async def work(self) -> None:
        """Until the run stops."""
        while True:
            await self.is_due.wait()
            await self.abort()
            await asyncio.sleep(PAUSE_SECONDS)

    async def abort(self) -> None:
        """All of them; best effort: a session that nobody aborts expires."""
        self.is_due.clear()
        with suppress(Unreachable):
            while ids := await asyncio.wrap_future(self.manifest.abandoned(AT_ONCE)):
                ended = await together([self._abort(each) for each in ids])
                await asyncio.wrap_future(self.manifest.forget(list(compress(ids, ended))))
                if not all(ended):  # somebody else's turn, with another key
                    return

    async def _abort(self, session_id: str) -> bool:
        """Whether it has ended, by this or before."""
        try:
            await self.broker.abort(session_id, self.notify)
        except BrokerRefused as exc:
            is_of_the_key = refusal_of(exc.problem) is Refusal.RUN and exc.problem.code != "session-not-found"
            return not is_of_the_key  # else it is settled, or gone
        return True
