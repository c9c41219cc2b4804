"""What can be made to go wrong here; `emulators/faults.py` decides when, `emulators/control.py` listens to tests."""

import asyncio
from collections.abc import AsyncIterator

from emulators.faults import BodyFaults, BodyFaultSettings, Fraction, Seconds


class FaultSettings(BodyFaultSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All harmless unless said otherwise. A write is what makes or removes an object, or opens or ends a session."""

    unavailable: Fraction = 0
    """of the requests are answered 503, and nothing is done"""
    rate_limited: Fraction = 0
    """of the requests are answered 429, and nothing is done"""
    unavailable_after_commit: Fraction = 0
    """of the writes are committed, then answered 503"""
    response_lost: Fraction = 0
    """of the writes are committed, then the connection closes unanswered"""
    truncated_answer: Fraction = 0
    """of the writes are committed, then their 200 breaks off half-way, short of its Content-Length"""
    answer_stalled: Fraction = 0
    """of the writes are committed, then answered only after `stall_seconds`"""
    stalled: Fraction = 0
    """of the upload bodies are not read on for `stall_seconds`, half-way"""
    stall_seconds: Seconds = 5.0
    kept_fewer: Fraction = 0
    """of the chunks of resumable uploads are answered 308 with about half of their bytes kept"""
    events_lost: Fraction = 0
    """of the events are never published"""
    events_doubled: Fraction = 0
    """of the events are published twice"""
    events_reordered: Fraction = 0
    """of the events wait a random time up to `reorder_seconds`, so that later ones overtake them"""
    reorder_seconds: Seconds = 1.0
    late_seconds: Seconds = 0
    """every event waits so long before its first attempt"""


class Faults(BodyFaults[FaultSettings]):
    """Also stalls."""

    def incoming(self, body: AsyncIterator[bytes], size_bytes: int) -> AsyncIterator[bytes]:
        mangled = super().incoming(body, size_bytes)
        return self._stalling(mangled, size_bytes // 2) if size_bytes and self.hits("stalled") else mangled

    async def _stalling(self, body: AsyncIterator[bytes], where: int) -> AsyncIterator[bytes]:
        passed, has_stalled = 0, False
        async for data in body:
            passed += len(data)
            if passed >= where and not has_stalled:
                has_stalled = True
                await self.stall()
            yield data

    async def stall(self) -> None:
        await asyncio.sleep(self.settings.stall_seconds)
