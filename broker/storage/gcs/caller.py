"""Sends the broker's own calls to Cloud Storage, each with a token of the service account that has the right.

What a status means is told here once ("HTTP status and error codes for JSON" of the Cloud Storage documentation); what
a call expects of its own, it looks at before. Of an error's text only Google's own words leave this room: its reason,
and the permission that is missing.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from typing import Final

import aiohttp
import msgspec
import yarl
from msgspec import Struct
from multidict import CIMultiDictProxy

from broker.domain.errors import StoreRefused, StoreUnavailable, Unavailable
from broker.ports import Clock
from broker.storage.answers import whole
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.tokens import AccessToken, AccessTokens
from broker.storage.signing import encode

_log = logging.getLogger(__name__)

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})
# Ours. The longest answer we ask for is a page of 1,000 objects, whose names have up to 1,024 bytes, as JSON escapes.
MAX_ANSWER_BYTES: Final = 16 * 2**20
LONGEST_WAIT: Final = timedelta(minutes=5)  # ours: for as long do we believe a Retry-After

_REFUSALS: Final[Mapping[int, str]] = MappingProxyType(
    {
        301: "it has moved: correct the endpoint",
        302: "it has moved: correct the endpoint",
        400: "it does not take our requests",
        401: "it does not know our token",
        403: "the service account lacks a permission",
        404: "the bucket is not there",
        405: "it does not take this method here",
        411: "it wants a length",
        501: "it lacks what Cloud Storage has",
    }
)
# "403 rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded": again later, whatever the status.
_PATIENCE: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "resourceExhausted"})
_WORD: Final = re.compile(r"[A-Za-z]{1,64}")
# As Google spells it, and not as a client may name his file.
_PERMISSION: Final = re.compile(r"(?:\bdoes not have |\bPermission ')(storage\.[a-z]{1,32}\.[A-Za-z]{1,32})\b")
_NO_BUCKET: Final = "bucket does not exist"
_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)

Query = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsAnswer:
    """Its headers may hold a session URI."""

    status: int
    headers: CIMultiDictProxy[str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsCaller:
    """Sends one request and gives back the whole answer.

    `http` is shared and stays open; `endpoint` is the internal one.
    """

    http: aiohttp.ClientSession
    endpoint: Endpoint
    clock: Clock
    timeout: timedelta

    async def call(
        self,
        method: str,
        path: str,
        tokens: AccessTokens,
        *,
        query: Query = (),
        headers: Mapping[str, str] = NO_HEADERS,
        body: bytes = b"",
    ) -> GcsAnswer:
        """With a token; once more with a fresh one, if that is not taken: it may have been revoked before its time.

        :param path: encoded.
        :raises StoreUnavailable: nothing came back in time, or more than we read.
        :raises CredentialsUnavailable:
        """
        target = f"{path}{_encoded(query)}"
        token = await tokens.current(self.clock.now())
        answer = await self.send(method, target, headers={**headers, **_bearing(token)}, body=body)
        if answer.status != 401:
            return answer
        tokens.distrust(token)
        fresh = await tokens.current(self.clock.now())
        if fresh.text == token.text:
            return answer
        return await self.send(method, target, headers={**headers, **_bearing(fresh)}, body=body)

    async def send(
        self, method: str, target: str, *, headers: Mapping[str, str] = NO_HEADERS, body: bytes = b""
    ) -> GcsAnswer:
        """Without a token: for a URL that is a secret by itself.

        :param target: path and query, encoded.
        :raises StoreUnavailable: nothing came back in time, or more than we read.
        """
        url = f"{self.endpoint.origin}{target}"
        try:
            return await self._send(method, url, headers, body)
        except _NO_ANSWER as exc:
            # The class alone: the message may hold the URL.
            raise StoreUnavailable(f"the store does not answer ({type(exc).__name__})") from exc

    async def _send(self, method: str, url: str, headers: Mapping[str, str], body: bytes) -> GcsAnswer:
        async with self.http.request(
            method,
            yarl.URL(url, encoded=True),  # encoded: yarl must not make two segments of a name
            # A compressed answer would be decompressed to more than we read.
            headers={**headers, "accept-encoding": "identity"},
            data=body or None,
            allow_redirects=False,  # a token must not travel
            skip_auto_headers=("content-type",),
            timeout=aiohttp.ClientTimeout(total=self.timeout.total_seconds()),
        ) as response:
            body = await whole(response, at_most_bytes=MAX_ANSWER_BYTES)
            return GcsAnswer(status=response.status, headers=response.headers, body=body)


class _Detail(Struct, frozen=True, kw_only=True):
    reason: str = ""


class _Error(Struct, frozen=True, kw_only=True):
    message: str = ""
    errors: tuple[_Detail, ...] = ()


class _ErrorBody(Struct, frozen=True, kw_only=True):
    error: _Error = _Error()


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsError:
    """What an error's body says, in words that may be repeated."""

    reason: str
    permission: str
    is_of_bucket: bool


def error_of(answer: GcsAnswer) -> GcsError:
    """Read "JSON error response"; of a body in another shape – upload servers answer in plain text, too – the text."""
    try:
        error = msgspec.json.decode(answer.body, type=_ErrorBody).error
    except (msgspec.MsgspecError, UnicodeDecodeError):
        error = _Error(message=answer.body[:4_096].decode(errors="replace"))
    reason = error.errors[0].reason if error.errors else ""
    permission = _PERMISSION.search(error.message)
    return GcsError(
        reason=reason if _WORD.fullmatch(reason) else "",
        permission=permission[1] if permission else "",
        is_of_bucket=_NO_BUCKET in error.message,
    )


def trouble(answer: GcsAnswer) -> Unavailable:
    """Return the error that an answer means which the call did not expect."""
    status, error = answer.status, error_of(answer)
    said = f"{status} {error.reason}".strip()
    if status not in _REFUSALS or error.reason in _PATIENCE:
        return patient(StoreUnavailable(f"the store answers {said}"), answer)
    why = _REFUSALS[status]
    if status == 403 and error.permission:
        why = f"the service account lacks {error.permission}"
    # Said here, since whoever puts a look off knows no more than the error's code.
    _log.warning("store.refused", extra={"status": status, "code": error.reason, "reason": why})
    return StoreRefused(f"the store answers {said}: {why}")


def patient(trouble: StoreUnavailable, answer: GcsAnswer) -> StoreUnavailable:
    """Return `trouble` with the patience that the answer asks for."""
    wished = answer.headers.get("retry-after", "")
    if wished.isdecimal() and len(wished) < 9:
        trouble.retry_after = min(max(timedelta(seconds=int(wished)), trouble.retry_after), LONGEST_WAIT)
    return trouble


def _bearing(token: AccessToken) -> dict[str, str]:
    return {"authorization": f"Bearer {token.text}"}


def _encoded(query: Query) -> str:
    return "?" + "&".join(f"{name}={encode(value)}" for name, value in query) if query else ""
