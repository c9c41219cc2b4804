"""Asks IAM to act for a service account: an access token of it, or a signature by its key.

Obeys the reference of the IAM Service Account Credentials API: `projects.serviceAccounts.generateAccessToken` and
`.signBlob`. Who asks is the source credential; it needs roles/iam.serviceAccountTokenCreator on the account, or on the
first of `delegates`, and each of those on the one after it.

Asked again, a little later each time: what 429, 5xx, a page that is no JSON or nothing answered; 403 twice, because a
permission that was just given is not known everywhere at once; 401 once, with another token.
"""

import asyncio
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeVar

import aiohttp
import msgspec
import yarl
from msgspec import Struct

from broker.domain.errors import CredentialsUnavailable, SigningQuotaExhausted
from broker.ports import Clock
from broker.storage.gcs.tokens import AccessToken, AccessTokens

GOOGLE: Final = "https://iamcredentials.googleapis.com"

_NO_ANSWER: Final = (aiohttp.ClientError, TimeoutError, OSError)
_MAX_ANSWER_BYTES: Final = 2**20  # ours: a token has a few KiB
_LIMITED: Final = 429
_NOT_HONOURED: Final = 401
_FORBIDDEN: Final = 403
_WORD: Final = re.compile(r"[A-Z][A-Z_]{1,40}")  # google.rpc.Code
_MEANINGS: Final = {
    _NOT_HONOURED: "the source credential is not honoured",
    _FORBIDDEN: "the source credential, or a delegate, lacks roles/iam.serviceAccountTokenCreator on what it acts for",
    404: "there is no such service account",
}

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How often something is asked again, and after how long: each pause is up to twice the one before.

    :param refusals: how often of these after a 403.
    :param whole: in all, pauses included.
    """

    again: int = 4
    refusals: int = 2
    first: timedelta = timedelta(milliseconds=100)
    longest: timedelta = timedelta(seconds=2)
    attempt: timedelta = timedelta(seconds=5)
    whole: timedelta = timedelta(seconds=12)

    def pause(self, times: int) -> float:
        """Before what is asked for the `times`-th time again (1, 2 …): spread over its second half."""
        most: float = min(self.first * 2 ** min(times - 1, 16), self.longest).total_seconds()
        return most * (0.5 + random.random() / 2)  # noqa: S311 - who comes when, not a secret


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """`key_id` names the account's key whose certificate proves it."""

    key_id: str
    value: bytes = field(repr=False)


class _TokenRequest(Struct, frozen=True, kw_only=True):
    scope: Sequence[str]
    lifetime: str
    delegates: Sequence[str]


class _Token(Struct, frozen=True, kw_only=True, rename="camel"):
    access_token: str
    expire_time: datetime

    def __repr__(self) -> str:
        return "_Token(***)"


class _BlobRequest(Struct, frozen=True, kw_only=True):
    payload: bytes  # base64, by msgspec, in both directions
    delegates: Sequence[str]


class _Blob(Struct, frozen=True, kw_only=True, rename="camel"):
    key_id: str
    signed_blob: bytes

    def __repr__(self) -> str:
        return "_Blob(***)"


class _Error(Struct, frozen=True, kw_only=True):
    status: str = ""


class _Trouble(Struct, frozen=True, kw_only=True):
    error: _Error = _Error()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """Its body may be a token."""

    status: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class IamCredentials:
    """`http` is shared and stays open. `source` proves who asks."""

    http: aiohttp.ClientSession
    source: AccessTokens
    clock: Clock
    endpoint: str = GOOGLE
    patience: Patience = Patience()

    async def generate_access_token(
        self, account: str, *, scopes: Sequence[str], lifetime: timedelta, delegates: Sequence[str] = ()
    ) -> AccessToken:
        """A token that is `account`, for `scopes` alone.

        :raises CredentialsUnavailable:
        """
        asked = _TokenRequest(
            scope=scopes, lifetime=f"{int(lifetime.total_seconds())}s", delegates=_resources(delegates)
        )
        said = await self._ask(account, "generateAccessToken", msgspec.json.encode(asked))
        given = _decoded(said, _Token, "generateAccessToken", account)
        return AccessToken(text=given.access_token, expires_at=given.expire_time)

    async def sign_blob(self, account: str, payload: bytes, *, delegates: Sequence[str] = ()) -> Signature:
        """RSA, PKCS #1 v1.5, SHA-256, by a key of `account` that Google keeps for 12 hours more at least.

        :raises SigningQuotaExhausted: Google says so, again and again.
        :raises CredentialsUnavailable:
        """
        asked = _BlobRequest(payload=payload, delegates=_resources(delegates))
        said = await self._ask(account, "signBlob", msgspec.json.encode(asked))
        if said.status == _LIMITED:
            raise SigningQuotaExhausted
        given = _decoded(said, _Blob, "signBlob", account)
        return Signature(key_id=given.key_id, value=given.signed_blob)

    async def _ask(self, account: str, verb: str, body: bytes) -> _Said:
        """The last answer, good or not.

        :raises CredentialsUnavailable: there was none, or nothing to ask with.
        """
        url = yarl.URL(f"{self.endpoint}/v1/projects/-/serviceAccounts/{account}:{verb}", encoded=True)
        try:
            async with asyncio.timeout(self.patience.whole.total_seconds()):
                return await self._asked_again(url, body)
        except _NO_ANSWER as exc:
            # The class alone: a message may hold the address, and who knows what else.
            raise CredentialsUnavailable(f"IAM does not answer {verb} of {account} ({type(exc).__name__})") from exc

    async def _asked_again(self, url: yarl.URL, body: bytes) -> _Said:
        left = {_FORBIDDEN: self.patience.refusals, _NOT_HONOURED: 1}
        times = 0
        while True:
            token = await self.source.current(self.clock.now())
            is_last = times == self.patience.again
            try:
                said = await self._send(url, token, body)
            except _NO_ANSWER:
                if is_last:
                    raise
            else:
                if is_last or not _is_passing(said, left):
                    return said
                if said.status == _NOT_HONOURED:
                    self.source.distrust(token)
            times += 1
            await asyncio.sleep(self.patience.pause(times))

    async def _send(self, url: yarl.URL, token: AccessToken, body: bytes) -> _Said:
        async with self.http.post(
            url,
            data=body,
            headers={"authorization": f"Bearer {token.text}", "content-type": "application/json"},
            allow_redirects=False,  # the token must not travel
            timeout=aiohttp.ClientTimeout(total=self.patience.attempt.total_seconds()),
        ) as response:
            return _Said(status=response.status, body=await _whole(response))


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    """To its end, so that the connection can be used again."""
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > _MAX_ANSWER_BYTES:
            raise CredentialsUnavailable("IAM answers more than anybody asked for")
    return bytes(body)


def _is_passing(said: _Said, left: dict[int, int]) -> bool:
    """Whether it may be different the next time."""
    if said.status == 200:
        return not said.body.startswith(b"{")  # a page of whoever stands in between
    if said.status in left:
        left[said.status] -= 1
        return left[said.status] >= 0
    return said.status == _LIMITED or said.status >= 500


def _resources(delegates: Sequence[str]) -> list[str]:
    return [f"projects/-/serviceAccounts/{account}" for account in delegates]


def _decoded(said: _Said, kind: type[_Answer], verb: str, account: str) -> _Answer:
    if said.status != 200:
        raise CredentialsUnavailable(_meaning(said, verb, account))
    try:
        return msgspec.json.decode(said.body, type=kind)
    except msgspec.MsgspecError as exc:
        raise CredentialsUnavailable(f"IAM answers {verb} of {account} with something else") from exc


def _meaning(said: _Said, verb: str, account: str) -> str:
    try:
        word = msgspec.json.decode(said.body, type=_Trouble).error.status
    except (msgspec.MsgspecError, UnicodeDecodeError):
        word = ""
    code = f"{said.status} {word}" if _WORD.fullmatch(word) else str(said.status)
    meaning = _MEANINGS.get(said.status)
    return f"IAM answers {code} to {verb} of {account}" + (f": {meaning}" if meaning else "")
