"""What an earlier process left: files that have a session.

A file that was claimed but not minted was never sent, and is pending again when the manifest is opened. All others are
asked about before anything new is sent: what is there is verified, what is not is sent again for the same session.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from broker.contract import State
from uploader.client import BrokerClient
from uploader.standings import Told
from uploader.together import together
from uploader.transfer.collector import Collector
from uploader.transfer.granting import Refusal, refusal_of
from uploader.transfer.register import Register
from uploader.transfer.watch import Watch
from uploader.tree.manifest import Manifest
from uploader.tree.rows import Row
from uploader.tree.states import FileState

PAGE_FILES = 1_000
BATCH_FILES = 50  # ours: what is known is written down soon, should this process be killed as well
ASKED_AT_ONCE = 3  # calls
ROUNDS = 8  # ours: of asking about those that the broker did not reach; the collector goes on with them
PAUSE_SECONDS = 0.5


@dataclass(slots=True, kw_only=True)
class Recovery:
    manifest: Manifest
    broker: BrokerClient
    register: Register
    collector: Collector
    watch: Watch
    is_fan_out: bool
    notify: Callable[[str, str, timedelta, int], None]

    async def run(self) -> None:
        """:raises UploaderError: the broker does not answer, or refuses."""
        after = 0
        while rows := await asyncio.wrap_future(self.manifest.unsettled(PAGE_FILES, after)):
            after = rows[-1].id
            self.watch.took(len(rows))
            await self._settle([row for row in rows if not self._is_begun(row)])
            await asyncio.shield(self.register.flush())

    def _is_begun(self, row: Row) -> bool:
        """Not all of its copies were sent, although enough may be there for its session: those who send see to it."""
        is_begun = self.is_fan_out and row.state is FileState.MINTED
        if is_begun:
            self.register.released(row)
        return is_begun

    async def _settle(self, rows: Sequence[Row]) -> None:
        for _ in range(ROUNDS if rows else 0):
            batches = [rows[begin : begin + BATCH_FILES] for begin in range(0, len(rows), BATCH_FILES)]
            some = asyncio.Semaphore(ASKED_AT_ONCE)
            rows = [row for left in await together([self._ask(batch, some) for batch in batches]) for row in left]
            if not rows:
                return
            await asyncio.sleep(PAUSE_SECONDS)
        for row in rows:
            self.collector.sent(row, row.session_id or "", is_sure=False)

    async def _ask(self, rows: Sequence[Row], some: asyncio.Semaphore) -> list[Row]:
        """Those of which nobody knows yet."""
        async with some:
            told = await self.broker.complete_many([row.session_id or "" for row in rows], self.notify)
        return [row for row, answer in zip(rows, told, strict=True) if not self._is_clear(row, answer)]

    def _is_clear(self, row: Row, told: Told) -> bool:
        session = told.session
        if session is None:
            is_unknown = told.problem is None or refusal_of(told.problem) is Refusal.LATER
            if not is_unknown:
                self.register.lost(row, "session-lost", "the broker does not know its session any more")
            return not is_unknown
        if session.state is State.PENDING:
            if told.is_looked_at:
                self.register.released(row)
            return told.is_looked_at
        self.collector.judge(row, session.id, told)
        return True
