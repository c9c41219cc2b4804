"""One verified object back to a file: pinned to what was verified, resumed after a break, proved before it is named.

The bytes are collected in `NAME.SESSION.part` beside the target. A part that is there already is continued by Range
(RFC 9110 section 14); it is hashed first, so the proof covers every byte whichever run has fetched it.
"""

import asyncio
import base64
import hashlib
import os
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from datetime import timedelta
from io import FileIO
from pathlib import Path

import aiohttp

from broker.contract import Checksum, State, UploadSession
from uploader import events
from uploader.client import BrokerClient
from uploader.errors import ContentMismatch, FileUnusable, StoreRefused, Unreachable
from uploader.retry import RetryPolicy
from uploader.sender import Answer, Next, describe, read_answer, signed_url
from uploader.threads import ends_by_itself, in_thread

PIECE_BYTES = 1 << 18
ATTEMPTS_PER_COPY = 3  # ours: while there is another copy to read


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """:ivar proved: the declared digest that was compared, or None if none was declared that we can compute."""

    session_id: str
    path: Path
    size_bytes: int
    proved: str | None
    attempts: int


@dataclass(slots=True, kw_only=True)
class Download:
    """One run. `target` None: the declared file name, in the working directory.

    :ivar destination: of a fan-out the copy to read. Without it all that are verified are tried in turn.
    """

    session_id: str
    destination: str | None
    target: Path | None
    replaces: bool
    broker: BrokerClient
    http: aiohttp.ClientSession
    executor: Executor
    retry: RetryPolicy
    observer: events.Observer
    stall: timedelta = timedelta(seconds=60)
    meter: events.Meter = field(init=False)
    attempts: int = field(init=False, default=0)

    async def run(self) -> DownloadResult:
        """Do it.

        :raises ContentMismatch: the store's bytes are not what was verified or declared; nothing gets the name.
        :raises FileUnusable: the target exists, or cannot be written.
        """
        session = await self.broker.get(self.session_id, self._notify)
        size = session.stored.size_bytes if session.stored else session.size_bytes
        target = self.target or Path(safe_name(session.filename))
        if target.exists() and not self.replaces:
            raise FileUnusable(f"{target}: exists already", session_id=session.id)
        self.meter = events.Meter(target.name, size, "reading")
        self.observer.on_meter(self.meter)
        part = target.with_name(f"{target.name}.{session.id}.part")
        proof = Proof.of(session)
        try:
            with part.open("ab", buffering=0) as out:
                await in_thread(self.executor, ends_by_itself, proof.prime, part)
                await self._fetch_from_any(session, size, out, proof)
        except OSError as exc:
            raise FileUnusable(f"{part}: {exc.strerror}", session_id=session.id) from exc
        if not proof.is_right():
            part.unlink()
            raise ContentMismatch(f"the {proof.algorithm} is not the declared one", session_id=session.id)
        part.replace(target)
        return DownloadResult(
            session_id=session.id, path=target, size_bytes=size, proved=proof.algorithm, attempts=self.attempts
        )

    def _copies(self, session: UploadSession) -> list[str | None]:
        """Where to read, the first choice first. None: the broker decides."""
        if self.destination is not None or not session.copies:
            return [self.destination]
        return [copy.destination for copy in session.copies if copy.state is State.VERIFIED] or [None]

    async def _fetch_from_any(self, session: UploadSession, size: int, out: FileIO, proof: "Proof") -> None:
        if out.tell() > size:
            raise ContentMismatch("the part on disk is longer than the object", session_id=session.id)
        *others, last = self._copies(session)
        few = replace(self.retry, attempts=min(self.retry.attempts, ATTEMPTS_PER_COPY))
        for destination in others:
            try:
                return await self._fetch(session, size, out, proof, destination, few)
            except (StoreRefused, Unreachable, ContentMismatch) as exc:
                self._notify(f"read the next copy, not {destination}", exc.message, timedelta(), self.attempts)
        return await self._fetch(session, size, out, proof, last, self.retry)

    async def _fetch(
        self,
        session: UploadSession,
        size: int,
        out: FileIO,
        proof: "Proof",
        destination: str | None,
        retry: RetryPolicy,
    ) -> None:
        refusals = 0
        self.attempts = 0
        while out.tell() < size or not self.attempts:
            before = out.tell()
            self.attempts += 1
            answer = await self._ask(size, out, proof, destination)
            if answer is None:
                continue
            if answer.status == 412:
                raise ContentMismatch("the object is no longer the one that was verified", session_id=session.id)
            refusals += answer.next is Next.REMINT
            if answer.next is Next.GIVE_UP or refusals > 1:
                raise StoreRefused(f"the store refuses the download: {answer}", session_id=session.id)
            if out.tell() > before:
                self.attempts = 1  # it got on: the retries are for a store that does not answer
            elif retry.is_last(self.attempts):
                raise Unreachable(f"the store does not answer; last: {answer}", session_id=session.id)
            delay = retry.delay(self.attempts, answer.retry_after)
            self._notify("read", str(answer), delay, self.attempts)
            await asyncio.sleep(delay.total_seconds())

    async def _ask(self, size: int, out: FileIO, proof: "Proof", destination: str | None) -> Answer | None:
        """One GET with a fresh grant, from where the part ends. None: the answer came to its end."""
        request = await self.broker.content(self.session_id, self._notify, destination)
        offset = out.tell()
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
                if response.status == 200 and offset:
                    proof.restart()
                    out.truncate(0)
                await self._save(response, size, out, proof)
        except (aiohttp.ClientError, OSError) as exc:
            return Answer(status=0, code=describe(exc), message="")
        return None

    async def _save(self, response: aiohttp.ClientResponse, size: int, out: FileIO, proof: "Proof") -> None:
        async for piece in response.content.iter_chunked(PIECE_BYTES):
            if out.tell() + len(piece) > size:
                raise ContentMismatch("the store sends more than was verified", session_id=self.session_id)
            await in_thread(self.executor, ends_by_itself, _keep, out, proof, piece)
            self.meter.done_bytes = out.tell()

    def _notify(self, what: str, why: str, pause: timedelta, attempt: int) -> None:
        self.observer.on_event(
            events.Retrying(
                file=self.session_id,
                what=what,
                why=why,
                delay_seconds=round(pause.total_seconds(), 3),
                attempt=attempt,
                session_id=self.session_id,
            )
        )


class Proof:
    """The declared digest, computed along the way."""

    def __init__(self, algorithm: str | None, declared: str) -> None:
        self.algorithm = algorithm
        self._declared = declared
        self.restart()

    @classmethod
    def of(cls, session: UploadSession) -> "Proof":
        checksum = session.checksum or Checksum()
        if checksum.sha256:
            return cls("sha256", checksum.sha256)
        return cls("md5", checksum.md5) if checksum.md5 else cls(None, "")

    def restart(self) -> None:
        self._digest = hashlib.new(self.algorithm, usedforsecurity=False) if self.algorithm else None

    def prime(self, part: Path) -> None:
        """Blocks while it reads what an earlier run has left."""
        with part.open("rb") as left:
            while piece := left.read(PIECE_BYTES):
                self.update(piece)

    def update(self, piece: bytes) -> None:
        if self._digest is not None:
            self._digest.update(piece)

    def is_right(self) -> bool:
        """True as well when there is nothing to compare."""
        return self._digest is None or base64.b64encode(self._digest.digest()).decode() == self._declared


def _keep(out: FileIO, proof: Proof, piece: bytes) -> None:
    rest = memoryview(piece)
    try:
        while rest:
            rest = rest[out.write(rest) :]
    except OSError as exc:  # said apart from the network's errors: a full disk does not get better by asking again
        raise FileUnusable(f"{out.name}: {exc.strerror}") from exc
    proof.update(piece)


def safe_name(filename: str) -> str:
    """The declared name as a name in the working directory: it may come from another client and never leads elsewhere.

    :raises FileUnusable: nothing is left of it.
    """
    name = filename.replace("\\", "/").rsplit("/", 1)[-1]
    name = "".join(c for c in name if c.isprintable()).strip()
    while len(os.fsencode(name)) > 200:  # ext4: 255 bytes, and the part's name is longer
        name = name[1:]
    if name.strip(".") == "":
        raise FileUnusable(f"{filename!r} is no file name; say --output")
    return name
