"""The broker's HTTP, one method a call. Everything is repeated until it is answered or the retries are used up: a mint
carries an Idempotency-Key, and every other call may safely happen twice."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import aiohttp
import msgspec
from yarl import URL

from broker.contract import (
    BatchItem,
    CompleteUpload,
    CreateUploadSession,
    CreateUploadSessions,
    PartRequest,
    PartsGrant,
    PartsRequest,
    Problem,
    RemintUpload,
    SessionPage,
    SignedRequest,
    UploadSession,
)
from uploader.errors import BrokerAway, BrokerRefused, Unreachable
from uploader.retry import RetryPolicy, parse_retry_after
from uploader.sender import describe, read_body
from uploader.standings import Told, told_of

T = TypeVar("T")

MAX_ANSWER_BYTES = 4 << 20  # 1,000 part requests, each of a long URL and its headers, are some 2 MiB

Notify = Callable[[str, str, timedelta, int], None]
"""what, why, the pause, the attempt"""


@dataclass(frozen=True, slots=True)
class Reply:
    """A 2xx of the broker."""

    body: bytes
    status: int
    retry_after: timedelta | None
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerClient:
    """:ivar headers: the authorization; secret."""

    session: aiohttp.ClientSession
    url: URL
    headers: dict[str, str]
    retry: RetryPolicy
    timeout: timedelta = timedelta(seconds=30)

    def __repr__(self) -> str:
        return f"BrokerClient(url={str(self.url)!r}, headers=***)"

    async def mint(
        self, wanted: CreateUploadSession, idempotency_key: str, notify: Notify
    ) -> tuple[UploadSession, bool]:
        """A session, and whether it is the answer to an earlier, lost request.

        :raises BrokerRefused: this request will never be granted.
        :raises Unreachable: no answer within the retries.
        """
        reply = await self._call(
            "POST", "upload-sessions", msgspec.json.encode(wanted), notify, {"Idempotency-Key": idempotency_key}
        )
        return _decode(reply, UploadSession), reply.is_replay

    async def mint_many(self, items: Sequence[BatchItem], notify: Notify, answers: type[T]) -> T:
        """A session or a problem for each item, at most 1,000, in order.

        :param answers: as what the answer is decoded: `SessionsOrProblems`, or less of it.
        """
        body = msgspec.json.encode(CreateUploadSessions(sessions=list(items)))
        return _decode(await self._call("POST", "upload-sessions/batch", body, notify), answers)

    async def remint(self, session_id: str, notify: Notify, destination: str | None = None) -> UploadSession:
        """The same session with fresh signed requests, of a fan-out for the copy there."""
        return await self._session("POST", session_id, "upload", notify, RemintUpload(destination=destination))

    async def parts(
        self, session_id: str, numbers: Sequence[int], notify: Notify, destination: str | None = None
    ) -> list[PartRequest]:
        """Fresh signed requests for these parts, at most 1,000, in the order asked for."""
        body = msgspec.json.encode(PartsRequest(numbers=list(numbers), destination=destination))
        reply = await self._call("POST", f"upload-sessions/{session_id}/parts", body, notify)
        return _decode(reply, PartsGrant).parts

    async def complete(
        self, session_id: str, notify: Notify, destination: str | None = None
    ) -> tuple[UploadSession, timedelta | None]:
        """Tell the broker that the bytes may be there; its state now, and when to ask again."""
        body = msgspec.json.encode(CompleteUpload(destination=destination))
        reply = await self._call("POST", f"upload-sessions/{session_id}/completion", body, notify)
        return _decode(reply, UploadSession), reply.retry_after

    async def complete_many(self, ids: Sequence[str], notify: Notify) -> list[Told]:
        """Tell the broker that the bytes of these, at most 1,000, may be there; in order, what each has come to."""
        return await self._many("completion", ids, notify)

    async def statuses(self, ids: Sequence[str], notify: Notify) -> list[Told]:
        """Where these stand, at most 1,000, in order, without a look at any store."""
        return await self._many("status", ids, notify)

    async def _many(self, what: str, ids: Sequence[str], notify: Notify) -> list[Told]:
        reply = await self._call("POST", f"upload-sessions/{what}", msgspec.json.encode({"ids": ids}), notify)
        return told_of(ids, reply.body)

    async def get(self, session_id: str, notify: Notify) -> UploadSession:
        return await self._session("GET", session_id, "", notify)

    async def content(self, session_id: str, notify: Notify, destination: str | None = None) -> SignedRequest:
        """Permission to read what was verified, of a fan-out the copy there."""
        query = {} if destination is None else {"destination": destination}
        reply = await self._call("GET", f"upload-sessions/{session_id}/content", None, notify, query=query)
        return _decode(reply, SignedRequest)

    async def abort(self, session_id: str, notify: Notify) -> None:
        """End a pending session.

        :raises BrokerRefused: it is settled already.
        """
        await self._call("DELETE", f"upload-sessions/{session_id}", None, notify)

    async def erase(self, session_id: str, notify: Notify) -> tuple[UploadSession, bool]:
        """Have the object of a settled session removed; and whether it is gone, or will be soon.

        :raises BrokerRefused: it is pending, has no object of its own, or this key may not.
        """
        reply = await self._call("DELETE", f"upload-sessions/{session_id}/object", None, notify)
        return _decode(reply, UploadSession), reply.status == 200

    async def page(self, query: dict[str, str], notify: Notify) -> SessionPage:
        """One's own sessions, newest first."""
        return _decode(await self._call("GET", "upload-sessions", None, notify, query=query), SessionPage)

    async def _session(
        self, method: str, session_id: str, tail: str, notify: Notify, body: msgspec.Struct | None = None
    ) -> UploadSession:
        path = f"upload-sessions/{session_id}/{tail}".rstrip("/")
        content = None if body is None else msgspec.json.encode(body)
        return _decode(await self._call(method, path, content, notify), UploadSession)

    async def _call(
        self,
        method: str,
        path: str,
        body: bytes | None,
        notify: Notify,
        extra: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> Reply:
        url = (self.url / path).with_query(query)
        attempt = 0
        while True:
            attempt += 1
            answer = await self._attempt(method, url, body, extra or {})
            if isinstance(answer, Reply):
                return answer
            if self.retry.is_last(attempt):
                raise BrokerAway(f"the broker at {self.url} does not answer: {answer.why}")
            pause = self.retry.delay(attempt, answer.retry_after)
            notify(_verb(method, path), answer.why, pause, attempt)
            await asyncio.sleep(pause.total_seconds())

    async def _attempt(self, method: str, url: URL, body: bytes | None, extra: dict[str, str]) -> "Reply | _Later":
        headers = self.headers | extra
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            async with self.session.request(
                method,
                url,
                data=body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=self.timeout.total_seconds()),
            ) as response:
                return _judge(response, await read_body(response, MAX_ANSWER_BYTES))
        except (aiohttp.ClientError, OSError) as exc:
            return _Later(describe(exc), None)


def _verb(method: str, path: str) -> str:
    """What a call does, in the words of the events."""
    tail = path.split("/", 2)[2:]
    return {"DELETE": "erase" if tail else "abort", "GET": "read" if tail else "ask"}.get(method) or {
        "upload": "re-mint",
        "completion": "complete",
        "parts": "mint parts",
        "status": "ask",
    }.get(path.rpartition("/")[2], "mint")


@dataclass(frozen=True, slots=True)
class _Later:
    why: str
    retry_after: timedelta | None


def _judge(response: aiohttp.ClientResponse, body: bytes) -> Reply | _Later:
    retry_after = parse_retry_after(response.headers.get("Retry-After"))
    if 200 <= response.status < 300:
        return Reply(body, response.status, retry_after, response.headers.get("Idempotency-Replayed") == "true")
    problem = _problem(response, body)
    if problem.is_retryable or response.status in {408, 425, 429} or response.status >= 500:
        return _Later(f"{response.status} {problem.code}", retry_after)
    raise BrokerRefused(problem)


def _problem(response: aiohttp.ClientResponse, body: bytes) -> Problem:
    try:
        return msgspec.json.decode(body, type=Problem)
    except msgspec.DecodeError:  # a proxy in between, or not a broker at all
        title = response.reason or "no problem document"
        return Problem(
            type="about:blank",
            title=title,
            status=response.status,
            code="not-a-problem",
            detail=title,
            request_id="",
            is_retryable=False,
        )


def _decode(reply: Reply, wanted: type[T]) -> T:
    try:
        return msgspec.json.decode(reply.body, type=wanted)
    except msgspec.DecodeError as exc:
        raise Unreachable(f"the broker's answer is not understood: {exc}") from exc
