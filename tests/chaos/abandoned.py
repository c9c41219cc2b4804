"""Resumable uploads whose client goes away half-way: at the deadline, or told to, the broker ends each, for good."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import aiohttp
from yarl import URL

from broker.contract import CreateUploadSession, ResumableUpload, State
from tests.chaos.fan_outs import unheard
from uploader.client import BrokerClient
from uploader.errors import BrokerRefused

PIECE = 262_144
SIZE = 2 * PIECE + 1
ENDED_WITHIN = 40.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Abandoned:
    """`client` is the uploader's own, one call a method; `uris` are what was begun, by session."""

    client: BrokerClient
    http: aiohttp.ClientSession
    uris: dict[str, str]

    async def begin(self, number: int, *, is_aborted: bool) -> None:
        wish = CreateUploadSession(
            filename=f"abandoned-{number}.bin", size_bytes=SIZE, destination="brief", strategy="resumable"
        )
        session, _ = await self.client.mint(wish, f"abandoned-{number}", unheard)
        if not isinstance(session.upload, ResumableUpload):  # answered so late that its time is over
            self.uris[session.id] = ""
            return
        uri = self.uris[session.id] = session.upload.request.url
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            await self._put(uri, b"x" * PIECE, f"bytes 0-{PIECE - 1}/{SIZE}")
        if is_aborted:
            with contextlib.suppress(BrokerRefused):  # its time was over before the broker was back
                await self.client.abort(session.id, unheard)

    async def ended(self) -> None:
        """Until the broker waits for none of them, nor can anything come by a URI; or the time is over."""
        end = time.monotonic() + ENDED_WITHIN
        for session_id, uri in self.uris.items():
            while (await self.client.get(session_id, unheard)).state is State.PENDING or not await self._is_dead(uri):
                assert time.monotonic() < end, session_id
                await asyncio.sleep(0.2)  # polling is what a client of this API does

    async def _is_dead(self, uri: str) -> bool:
        """Asked as somebody who still has the URI, if anybody ever had it."""
        if not uri:
            return True
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            return await self._put(uri, b"", f"bytes */{SIZE}") in {404, 410, 499}
        return False

    async def _put(self, uri: str, piece: bytes, span: str) -> int:
        headers = {"content-range": span}
        async with self.http.put(URL(uri, encoded=True), data=piece, headers=headers, allow_redirects=False) as answer:
            await answer.read()
            return answer.status


def prove_abandoned(abandoned: Collection[str], events: Counter[tuple[str, str]]) -> None:
    """Each ended once; that it left nothing, `prove_stored` proves of all."""
    for session_id in abandoned:
        ends = {state: events[session_id, state] for state in ("expired", "aborted", "verified", "rejected")}
        assert sorted(ends.values()) == [0, 0, 0, 1], (session_id, ends)
        assert ends["expired"] + ends["aborted"] == 1, (session_id, ends)
