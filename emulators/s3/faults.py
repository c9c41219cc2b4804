"""Misbehaviour on demand, for tests of clients that must survive it.

`GET /_emulator/faults` answers the settings, `PUT` replaces them (what is left out goes back to harmless); they apply
from then on. `_emulator` can be no bucket – bucket names have no underscore – so no S3 client gets here by accident,
and nothing here is signed. A fraction is between 0 and 1. With the same seed each kind of fault makes the same sequence
of decisions, whatever the other kinds do.
"""

import asyncio
import random
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Final

import msgspec

from emulators.s3.counters import Counters
from emulators.s3.errors import Disconnect

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
TICK_SECONDS: Final = 0.05
STEP_BYTES: Final = 1 << 19


class FaultSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All harmless unless said otherwise."""

    seed: int = 0
    events_lost: Fraction = 0
    """of the events are never sent"""
    events_doubled: Fraction = 0
    """of the events are sent twice"""
    events_reordered: Fraction = 0
    """of the events wait a random time up to `reorder_seconds`, so that later ones overtake them"""
    reorder_seconds: Seconds = 1.0
    late_seconds: Seconds = 0
    """every event waits so long before its first attempt"""
    response_lost: Fraction = 0
    """of the writes (put, copy, part, complete, delete) are committed, then the connection closes unanswered"""
    slow_down: Fraction = 0
    """of the requests are answered 503 SlowDown"""
    conflict: Fraction = 0
    """of the create-only writes that would succeed are answered 409 ConditionalRequestConflict; nothing is stored"""
    slow_bytes_per_second: Annotated[int, msgspec.Meta(ge=0)] = 0
    """bodies, both ways, go no faster; 0 is unlimited"""
    reset_uploads: Fraction = 0
    """of the request bodies are cut by a TCP reset half-way; nothing is stored"""
    reset_downloads: Fraction = 0
    """of the GET bodies are cut by a TCP reset half-way"""
    truncated: Fraction = 0
    """of the GET bodies end half-way with an orderly close, short of their Content-Length"""
    complete_error: Fraction = 0
    """of the CompleteMultipartUpload calls answer 200 with an Error in the body, and complete nothing"""


class Faults:
    """Decides, and does to a body what was decided."""

    def __init__(self, settings: FaultSettings, counters: Counters) -> None:
        self._counters = counters
        self.set(settings)

    def set(self, settings: FaultSettings) -> None:
        """Replace all settings; the sequences of decisions start anew."""
        self.settings = settings
        self._random: dict[str, random.Random] = {}

    def hits(self, kind: str) -> bool:
        """Decide whether the next one of this kind goes wrong."""
        fraction: float = getattr(self.settings, kind)
        if fraction == 0 or self._draw(kind) >= fraction:
            return False
        self._counters.faults[kind] += 1
        return True

    def amount(self, kind: str) -> float:
        """A random share of a setting that is a time."""
        most: float = getattr(self.settings, kind)
        return most * self._draw(kind)

    def _draw(self, kind: str) -> float:
        if kind not in self._random:
            self._random[kind] = random.Random(f"{self.settings.seed}:{kind}")  # noqa: S311 - repeatable on purpose
        return self._random[kind].random()

    def incoming(self, body: AsyncIterator[bytes], size_bytes: int) -> AsyncIterator[bytes]:
        """The body of an upload, as the network of today delivers it."""
        cut = size_bytes // 2 if size_bytes and self.hits("reset_uploads") else None
        return self._mangled(body, cut) if cut is not None or self.settings.slow_bytes_per_second else body

    async def _mangled(self, body: AsyncIterator[bytes], cut: int | None) -> AsyncIterator[bytes]:
        passed = 0
        async for data in body:
            passed += len(data)
            if cut is not None and passed >= cut:
                raise Reset
            await self.brake(len(data))
            yield data

    def outgoing(self, body: Iterator[bytes], size_bytes: int) -> Iterator[bytes]:
        """The body of a download: it may end early (`Disconnect`), or with a bang (`Reset`)."""
        if self.hits("reset_downloads"):
            return _cut(body, size_bytes // 2, Reset())
        if self.hits("truncated"):
            return _cut(body, size_bytes // 2, Disconnect())
        return body

    @property
    def step_bytes(self) -> int:
        """How much of a download is read at a time: small enough for the brake to be smooth."""
        rate = self.settings.slow_bytes_per_second
        return max(1, min(STEP_BYTES, int(rate * TICK_SECONDS))) if rate else STEP_BYTES

    async def brake(self, size_bytes: int) -> None:
        """Wait as long as so many bytes take."""
        if rate := self.settings.slow_bytes_per_second:
            await asyncio.sleep(size_bytes / rate)


class Reset(Disconnect):
    """The connection ends with a TCP reset."""


def _cut(body: Iterator[bytes], size_bytes: int, end: Exception) -> Iterator[bytes]:
    for data in body:
        if len(data) >= size_bytes:
            yield data[:size_bytes]
            raise end
        size_bytes -= len(data)
        yield data


def reset(transport: asyncio.Transport | asyncio.WriteTransport) -> None:
    """Close so that the other side gets RST instead of FIN: lingering for zero seconds does that."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    transport.abort()
