"""A mailbox in memory, with the loans of a real one, and a say in what goes wrong."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count

from broker.ports import Deletion, Message

BATCH = 10


@dataclass(slots=True)
class _Kept:
    id: str
    body: str
    sent_at: datetime
    visible_at: float = 0.0
    deliveries: int = 0
    receipt: str = ""


@dataclass(slots=True, kw_only=True)
class MemoryMailbox:
    """`before` is called with the name of each call, and may raise or wait; `fail` says what cannot be deleted."""

    loan: timedelta = timedelta(seconds=30)
    long_poll: timedelta = timedelta(milliseconds=50)
    is_redriven: bool = False
    before: Callable[[str], Awaitable[None]] | None = None
    fail: Callable[[Sequence[Message]], Deletion] = lambda _: Deletion()
    calls: list[str] = field(default_factory=list)
    _kept: dict[str, _Kept] = field(default_factory=dict)
    _numbers: "count[int]" = field(default_factory=count)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def deliveries(self) -> dict[str, int]:
        return {kept.body: kept.deliveries for kept in self._kept.values()}

    def send(self, body: str) -> str:
        name = f"m{next(self._numbers)}"
        self._kept[name] = _Kept(name, body, datetime.now(UTC))
        self._news.set()
        return name

    async def receive(self) -> Sequence[Message]:
        await self._begin("receive")
        now = asyncio.get_running_loop().time()
        until = now + self.long_poll.total_seconds()
        while not (found := self._visible()) and (now := asyncio.get_running_loop().time()) < until:
            self._news.clear()
            soon = min([until, *(kept.visible_at for kept in self._kept.values())]) - now
            try:
                async with asyncio.timeout(max(soon, 0.001)):
                    await self._news.wait()
            except TimeoutError:
                continue
        return [self._lend(kept) for kept in found[:BATCH]]

    async def delete(self, messages: Sequence[Message]) -> Deletion:
        await self._begin("delete")
        deletion = self.fail(messages)
        spared = {message.receipt for message in (*deletion.again, *deletion.lost)}
        gone = {message.receipt for message in messages} - spared
        self._kept = {name: kept for name, kept in self._kept.items() if kept.receipt not in gone}
        return deletion

    async def release(self, messages: Sequence[Message]) -> None:
        await self._begin("release")
        for kept in self._kept.values():
            if kept.receipt in {message.receipt for message in messages}:
                kept.visible_at = 0.0
        self._news.set()

    async def has_redrive(self) -> bool:
        await self._begin("has_redrive")
        return self.is_redriven

    async def _begin(self, call: str) -> None:
        self.calls.append(call)
        if self.before is not None:
            await self.before(call)

    def _visible(self) -> list[_Kept]:
        now = asyncio.get_running_loop().time()
        return [kept for kept in self._kept.values() if kept.visible_at <= now]

    def _lend(self, kept: _Kept) -> Message:
        kept.visible_at = asyncio.get_running_loop().time() + self.loan.total_seconds()
        kept.deliveries += 1
        kept.receipt = f"{kept.id}/{kept.deliveries}"
        return Message(
            id=kept.id, receipt=kept.receipt, body=kept.body, sent_at=kept.sent_at, deliveries=kept.deliveries
        )
