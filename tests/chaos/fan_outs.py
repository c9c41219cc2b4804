"""The fan-outs of the chaos test: whole ones, and each way in which one copy fails and is minted again alone.

`sent`: the uploader sends it. `spoiled`: somebody else's bytes lie at the key of one copy before ours come; that one is
rejected. `brief`: one copy is not sent until its time is over. `half`: one copy is never sent, although events say so.
"""

import asyncio
import base64
import contextlib
import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from yarl import URL

from broker.contract import Checksum, Copy, CreateUploadSession, PutUpload, State, UploadSession
from broker.dev.stack import Stack, bucket_of
from tests.owners import owner_of
from uploader import RetryPolicy, Uploader
from uploader.checksums import Choice
from uploader.client import BrokerClient
from uploader.errors import BrokerRefused

Kind = Literal["sent", "spoiled", "brief", "half"]

EVERY = 12  # one upload in so many is a fan-out
MORE, AWAY = ("second",), ("away", "brief")
ZONES = (("default", "second", "brief"), ("default", "away"))
BRIEF = {"deadline": "3s", "grace": "1s"}
SPOILED = b"not what was declared"
PLACES: dict[Kind, tuple[tuple[str, ...], ...]] = {
    "sent": (("default", "second", "away"), ("second", "away")),
    "spoiled": (("away", "second"),),
    "brief": (("away", "brief"), ("default", "second", "brief")),
    "half": (("second", "away"),),
}
_KINDS: tuple[Kind, ...] = ("sent", "spoiled", "brief", "half", "sent")


@dataclass(frozen=True, slots=True, kw_only=True)
class FanOut:
    kind: Kind
    session_id: str
    places: tuple[str, ...]
    body: bytes = field(repr=False)


@dataclass(slots=True)
class FanOuts:
    """What was sent, and what somebody else put there."""

    made: list[FanOut] = field(default_factory=list)
    foreign: set[tuple[str, str]] = field(default_factory=set)  # destination, key
    keys: list[tuple[str, str]] = field(default_factory=list)  # destination, key: what events may lie about


def plan_of(number: int) -> tuple[Kind, tuple[str, ...]] | None:
    """Whether this upload is a fan-out, and which."""
    if number % EVERY != 5:
        return None
    turn = number // EVERY
    kind = _KINDS[turn % len(_KINDS)]
    return kind, PLACES[kind][turn // len(_KINDS) % len(PLACES[kind])]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sender:
    """Sends fan-outs, however long it takes. `client` is the uploader's own, one call a method."""

    stack: Stack
    uploader: Uploader
    client: BrokerClient
    http: aiohttp.ClientSession
    done: FanOuts
    digest: Choice

    async def send(self, number: int, plan: tuple[Kind, tuple[str, ...]], body: bytes) -> str:
        """Its session."""
        kind, places = plan
        wish = _wish(number, places, body, self.digest)
        if kind == "sent":
            result = await self.uploader.put(
                body,
                filename=wish.filename,
                destinations=places,
                wait="none",
                keep_session=True,
                checksum=self.digest,
            )
            session_id = result.session_id
        else:
            session, _ = await self.client.mint(wish, f"chaos-{number}", unheard)
            session_id = session.id
            self.done.keys += [(copy.destination, copy.object.key) for copy in session.copies or []]
            await self._send_by_hand(kind, session, body)
        self.done.made.append(FanOut(kind=kind, session_id=session_id, places=places, body=body))
        return session_id

    async def _send_by_hand(self, kind: Kind, session: UploadSession, body: bytes) -> None:
        copies = list(session.copies or [])
        if kind == "spoiled":
            with closing(await asyncio.to_thread(owner_of, self.stack, copies[-1].destination)) as owner:
                await owner.put(copies[-1].object.bucket, copies[-1].object.key, SPOILED)
            self.done.foreign.add((copies[-1].destination, copies[-1].object.key))
        await asyncio.gather(*(self._bring(session.id, copy.destination, body) for copy in copies[:-1]))
        if kind == "brief":
            await self._over(session.id, copies[-1].destination)
        if kind != "half":
            await self._bring(session.id, copies[-1].destination, body)

    async def _bring(self, session_id: str, destination: str, body: bytes) -> None:
        """Mint it again and send it, until it is there: whatever became of the last request."""
        while (copy := await self._copy(session_id, destination)).state is not State.VERIFIED:
            with contextlib.suppress(aiohttp.ClientError, TimeoutError, BrokerRefused):
                session = await self.client.remint(session_id, unheard, destination)
                (copy,) = [copy for copy in session.copies or [] if copy.destination == destination]
                self.done.keys.append((destination, copy.object.key))
                assert isinstance(copy.upload, PutUpload)
                request = copy.upload.request
                async with self.http.put(URL(request.url, encoded=True), data=body, headers=request.headers):
                    pass
                await self.client.complete(session_id, unheard, destination)
            await asyncio.sleep(0.3)

    async def _over(self, session_id: str, destination: str) -> None:
        """Until nobody waits for that copy any more."""
        while True:
            if (await self._copy(session_id, destination)).state is not State.PENDING:
                return
            await asyncio.sleep(0.2)  # polling is what a client of this API does

    async def _copy(self, session_id: str, destination: str) -> Copy:
        session = await self.client.get(session_id, unheard)
        (copy,) = [copy for copy in session.copies or [] if copy.destination == destination]
        return copy


@asynccontextmanager
async def sending(
    stack: Stack, uploader: Uploader, retry: RetryPolicy, done: FanOuts, digest: Choice
) -> AsyncIterator[Sender]:
    async with AsyncExitStack() as opened:
        timeout = aiohttp.ClientTimeout(total=10)
        http = await opened.enter_async_context(aiohttp.ClientSession(timeout=timeout))
        headers = {"Authorization": f"Bearer {stack.about.api_key}"}
        client = BrokerClient(session=http, url=URL(stack.about.broker), headers=headers, retry=retry)
        yield Sender(stack=stack, uploader=uploader, client=client, http=http, done=done, digest=digest)


def lie(done: FanOuts, dice: random.Random) -> tuple[str, str]:
    """A bucket and a key: of a copy that may not be there yet, in its own bucket or in another's."""
    destination, key = dice.choice(done.keys)
    return bucket_of(dice.choice([destination, "default", *MORE, *AWAY])), key


def _wish(number: int, places: tuple[str, ...], body: bytes, digest: Choice) -> CreateUploadSession:
    value = base64.b64encode(hashlib.new(digest, body, usedforsecurity=False).digest()).decode()
    return CreateUploadSession(
        filename=f"{number}.bin",
        size_bytes=len(body),
        destinations=list(places),
        checksum=Checksum(**{digest: value}),
    )


def unheard(*_: object) -> None:
    pass
