"""Misbehaviour on demand, for tests of clients that must survive it.

    class FaultSettings(BodyFaultSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
        slow_down: Fraction = 0

    faults = BodyFaults(settings, counters.faults)      # or Faults, where bodies are small
    if faults.hits("slow_down"): …

`control.py` lets tests read and replace the settings. A fraction is between 0 and 1. With the same seed each kind of
fault makes the same sequence of decisions, whatever the other kinds do.
"""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from emulators.refusing import Disconnect, Reset

Fraction = Annotated[float, msgspec.Meta(ge=0, le=1)]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=3600)]
TICK_SECONDS: Final = 0.05
STEP_BYTES: Final = 1 << 19


class SeededSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each emulator's settings of faults begin with. All harmless unless said otherwise."""

    seed: int = 0


class BodyFaultSettings(SeededSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What can befall long bodies, both ways."""

    slow_bytes_per_second: Annotated[int, msgspec.Meta(ge=0)] = 0
    """bodies, both ways, go no faster; 0 is unlimited"""
    reset_uploads: Fraction = 0
    """of the request bodies are cut by a TCP reset half-way; nothing is stored"""
    reset_downloads: Fraction = 0
    """of the GET bodies are cut by a TCP reset half-way"""
    truncated: Fraction = 0
    """of the GET bodies end half-way with an orderly close, short of their Content-Length"""


Settings = TypeVar("Settings", bound=SeededSettings)
BodySettings = TypeVar("BodySettings", bound=BodyFaultSettings)


class Faults(Generic[Settings]):
    """Decides. `counted` takes down what went wrong, by kind."""

    def __init__(self, settings: Settings, counted: Counter[str]) -> None:
        self._counted = counted
        self.set(settings)

    def set(self, settings: Settings) -> None:
        """Replace all settings; the sequences of decisions start anew."""
        self.settings = settings
        self._random: dict[str, random.Random] = {}

    def hits(self, kind: str) -> bool:
        """Decide whether the next one of this kind goes wrong."""
        fraction: float = getattr(self.settings, kind)
        if fraction == 0 or self._draw(kind) >= fraction:
            return False
        self._counted[kind] += 1
        return True

    def amount(self, kind: str) -> float:
        """A random share of a setting that is a time."""
        most: float = getattr(self.settings, kind)
        return most * self._draw(kind)

    def _draw(self, kind: str) -> float:
        if kind not in self._random:
            self._random[kind] = random.Random(f"{self.settings.seed}:{kind}")  # noqa: S311 - repeatable on purpose
        return self._random[kind].random()


class BodyFaults(Faults[BodySettings]):
    """Decides, and does to a body what was decided."""

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


def _cut(body: Iterator[bytes], size_bytes: int, end: Exception) -> Iterator[bytes]:
    for data in body:
        if len(data) >= size_bytes:
            yield data[:size_bytes]
            raise end
        size_bytes -= len(data)
        yield data
