"""Digests of what arrives in many requests.

A session's bytes are hashed from disk, in a thread, behind the chunks as they are kept: nothing of it must be stored,
and after a restart, or a chunk that broke off, it just starts again from the first byte.
"""

import asyncio
import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from emulators import checksums
from emulators.blobs import Blobs, Segment

STEP_BYTES = 1 << 20


@dataclass(slots=True)
class _Hasher:
    crc32c: checksums.Digest = field(default_factory=lambda: checksums.new("crc32c"))
    md5: checksums.Digest = field(default_factory=lambda: checksums.new("md5"))
    segments: int = 0
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class Hashers:
    """One for each session that is under way in this process."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._hashers: dict[str, _Hasher] = {}

    async def follow(self, session_id: str, segments: Sequence[Segment]) -> None:
        """Hash what is new, so that little is left to do at the end."""
        with self._blobs.reading(segments):
            await self._catch_up(self._hashers.setdefault(session_id, _Hasher()), segments)

    async def digests(self, session_id: str, segments: Sequence[Segment]) -> tuple[str, str]:
        """CRC-32C and MD5 of these segments, in base64; those that were hashed before are not read again."""
        hasher = self._hashers.setdefault(session_id, _Hasher())
        with self._blobs.reading(segments):
            await self._catch_up(hasher, segments)
        return base64.b64encode(hasher.crc32c.digest()).decode(), base64.b64encode(hasher.md5.digest()).decode()

    async def _catch_up(self, hasher: _Hasher, segments: Sequence[Segment]) -> None:
        async with hasher.lock:
            for segment in segments[hasher.segments :]:
                await asyncio.get_running_loop().run_in_executor(None, self._feed, hasher, segment)
                hasher.segments += 1

    def forget(self, session_id: str) -> None:
        self._hashers.pop(session_id, None)

    def _feed(self, hasher: _Hasher, segment: Segment) -> None:
        for data in self._blobs.read((segment,), 0, segment.size_bytes, STEP_BYTES):
            hasher.crc32c.update(data)
            hasher.md5.update(data)
