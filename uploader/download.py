"""One verified object back to a file: pinned to what was verified, resumed after a break, proved before it is named.

The bytes are collected in a part beside the target (`uploader.landing`). One that is there already is continued by
Range (RFC 9110 section 14); it is hashed first, so the proof covers every byte whichever run has fetched it.
Modification time and permissions come with the object, in the headers of the answer, before its bytes.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import FileIO
from pathlib import Path

import aiohttp

from uploader import events
from uploader.attributes import UNKNOWN, Attributes, restored
from uploader.client import BrokerClient
from uploader.errors import ContentMismatch, StoreRefused, Unreachable
from uploader.landing import Landing, Part
from uploader.retry import RetryPolicy
from uploader.sender import Answer, Next, describe, read_answer, signed_url
from uploader.threads import ends_by_itself, in_thread, opened
from uploader.verified import PIECE_BYTES, Proof, Verified
from uploader.voice import Voice

ATTEMPTS_PER_COPY = 3  # ours: while there is another copy to read


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """
    :ivar proved: the digest by which it turned out to be what was verified: a declared one, or the MD5 that the store
        names. None if there is none that we can compute.
    :ivar attributes: what the object says of the file that it was.
    """

    session_id: str
    path: Path
    size_bytes: int
    proved: str | None
    attempts: int
    attributes: Attributes = UNKNOWN


class NotNeeded(Exception):
    """What the object says of itself shows that it is there already."""


@dataclass(slots=True, kw_only=True)
class Download:
    """One run.

    :ivar restores: give the file the modification time and permissions that travelled with it.
    :ivar is_needed: asked once the object has told its attributes; False ends the run with `NotNeeded`.
    """

    verified: Verified
    landing: Landing
    meter: events.Meter
    broker: BrokerClient
    http: aiohttp.ClientSession
    executor: Executor
    retry: RetryPolicy
    voice: Voice
    stall: timedelta = timedelta(seconds=60)
    replaces: bool = False
    restores: bool = True
    is_needed: Callable[[Attributes], bool] = lambda _: True
    attributes: Attributes = field(init=False, default=UNKNOWN)
    attempts: int = field(init=False, default=0)

    @property
    def session_id(self) -> str:
        return self.verified.session_id

    async def run(self) -> DownloadResult:
        """Do it.

        :raises ContentMismatch: the store's bytes are not what was verified or declared; nothing gets the name.
        :raises FileUnusable: the target exists, or cannot be written.
        :raises NotNeeded: see `is_needed`.
        """
        part = await opened(self.executor, self.landing.open_part, self.session_id)
        try:
            return await self._to(part)
        except OSError as exc:
            raise self.landing.unusable(exc) from exc
        finally:
            part.close()

    async def _to(self, part: Part) -> DownloadResult:
        proof = Proof.of(self.verified)
        is_of_use = False
        try:
            if part.out.tell():
                await in_thread(self.executor, ends_by_itself, proof.prime, part.out)
            await self._fetch_from_any(part, proof)
            if not proof.is_right():
                raise ContentMismatch(
                    f"the {proof.algorithm} is not the {proof.source} one", session_id=self.session_id
                )
            await in_thread(self.executor, ends_by_itself, self._publish, part)
            is_of_use = True
        except (ContentMismatch, NotNeeded):
            raise
        except BaseException:
            is_of_use = part.out.tell() > 0
            raise
        finally:
            if not is_of_use:
                part.discard()
        return DownloadResult(
            session_id=self.session_id,
            path=Path(os.fsdecode(self.landing.path)),
            size_bytes=self.verified.size_bytes,
            proved=proof.proved,
            attempts=self.attempts,
            attributes=self.attributes,
        )

    def _publish(self, part: Part) -> None:
        if self.restores:
            self.attributes.apply(part.out.fileno())
        part.publish(replaces=self.replaces)

    async def _fetch_from_any(self, part: Part, proof: Proof) -> None:
        *others, last = self.verified.destinations
        few = replace(self.retry, attempts=min(self.retry.attempts, ATTEMPTS_PER_COPY))
        for destination in others:
            try:
                return await self._fetch(part, proof, destination, few)
            except (StoreRefused, Unreachable, ContentMismatch) as exc:
                self.voice.retrying(f"read the next copy, not {destination}", exc.message, timedelta(), self.attempts)
        return await self._fetch(part, proof, last, self.retry)

    async def _fetch(self, part: Part, proof: Proof, destination: str | None, retry: RetryPolicy) -> None:
        out, refusals = part.out, 0
        self.attempts = 0
        while True:
            before = out.tell()
            self.attempts += 1
            answer = await self._ask(part, proof, destination)
            if answer is None:
                if out.tell() == self.verified.size_bytes:
                    return
                answer = Answer(status=0, code="the answer was too short", message="")
            if answer.status == 412:
                raise ContentMismatch("the object is no longer the one that was verified", session_id=self.session_id)
            refusals += answer.next is Next.REMINT
            if answer.next is Next.GIVE_UP or refusals > 1:
                raise StoreRefused(f"the store refuses the download: {answer}", session_id=self.session_id)
            if out.tell() > before:
                self.attempts = 1  # it got on: the retries are for a store that does not answer
            elif retry.is_last(self.attempts):
                raise Unreachable(f"the store does not answer; last: {answer}", session_id=self.session_id)
            delay = retry.delay(self.attempts, answer.retry_after)
            self.voice.retrying("read", str(answer), delay, self.attempts)
            await asyncio.sleep(delay.total_seconds())

    async def _ask(self, part: Part, proof: Proof, destination: str | None) -> Answer | None:
        """One GET with a fresh grant, from where the part ends. None: the answer came to its end.

        Of a part that is whole the last byte is asked for once more: with it comes whether the object is still the one,
        and what travels with it.
        """
        request = await self.broker.content(self.session_id, self.voice.retrying, destination)
        if part.out.tell() > self.verified.size_bytes:  # somebody else's
            _restart(part, proof)
        here, last = part.out.tell(), max(0, self.verified.size_bytes - 1)
        offset = min(here, last)
        headers = dict(request.headers) | ({"Range": f"bytes={offset}-"} if offset else {})
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=15, sock_read=self.stall.total_seconds())
        try:
            async with self.http.request(
                request.method,
                signed_url(request),
                headers=headers,
                skip_auto_headers=("Accept-Encoding",),
                allow_redirects=False,
                auto_decompress=False,
                timeout=timeout,
            ) as response:
                if response.status not in {200, 206}:
                    return await read_answer(response)
                if response.status == 206 and not _begins_at(offset, response):
                    raise StoreRefused("the store sends other bytes than were asked for", session_id=self.session_id)
                self._learn(response, part)
                if response.status == 206 and here > last:
                    return None
                if response.status == 200 and here:
                    _restart(part, proof)
                await self._save(response, part.out, proof)
        except (aiohttp.ClientError, OSError) as exc:
            return Answer(status=0, code=describe(exc), message="")
        return None

    def _learn(self, response: aiohttp.ClientResponse, part: Part) -> None:
        self.attributes = restored(response.headers)
        if not self.is_needed(self.attributes):
            raise NotNeeded
        if self.restores and self.attributes.mode is not None:
            part.protect(self.attributes.mode)

    async def _save(self, response: aiohttp.ClientResponse, out: FileIO, proof: Proof) -> None:
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            if out.tell() + len(piece) > self.verified.size_bytes:
                raise ContentMismatch("the store sends more than was verified", session_id=self.session_id)
            await in_thread(self.executor, ends_by_itself, _keep, out, proof, piece, self.landing)
            self.meter.done_bytes = out.tell()


def _begins_at(offset: int, response: aiohttp.ClientResponse) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _restart(part: Part, proof: Proof) -> None:
    proof.restart()
    part.restart()


def _keep(out: FileIO, proof: Proof, piece: bytes, landing: Landing) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as exc:  # said apart from the network's errors: a full disk does not get better by asking again
        raise landing.unusable(exc) from exc
    proof.update(piece)
