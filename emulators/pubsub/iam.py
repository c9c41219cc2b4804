"""Who is calling, and tokens to call with: asked of the emulated IAM, if there is one."""

import time
from typing import Final

import aiohttp
import msgspec
from aiohttp import web

from emulators.google import GoogleError, bearer
from emulators.google_tokens import Tokens

# "OAuth 2.0 scopes" of the Pub/Sub API: either will do.
SCOPES: Final = {"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/pubsub"}
KEPT_SECONDS: Final = 300.0  # of the hour that an ID token lives
TIMEOUT_SECONDS: Final = 10.0


class _IdToken(msgspec.Struct, frozen=True):
    token: str


class Iam:
    """:param endpoint: of the emulated IAM; without it nobody is asked who he is."""

    def __init__(self, endpoint: str | None, http: aiohttp.ClientSession) -> None:
        self._endpoint, self._http = endpoint, http
        self._tokens = None if endpoint is None else Tokens(endpoint, http)
        self._made: dict[tuple[str, str], tuple[str, float]] = {}

    async def check(self, call: web.BaseRequest, consumer: str) -> None:
        """:param consumer: the only account that may, or none.
        :raises GoogleError: this is not he.
        """
        if self._tokens is None:
            return
        info = await self._tokens.info(bearer(call))
        if not SCOPES & set(info.scope.split()):
            raise GoogleError("PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        if consumer and info.email != consumer:
            raise GoogleError("PERMISSION_DENIED", "User not authorized to perform this action.")

    async def id_token(self, email: str, audience: str) -> str:
        """Signed by Google's key, as far as it is known here.

        :raises aiohttp.ClientError: nobody makes one now.
        """
        token, until = self._made.get((email, audience), ("", 0.0))
        if time.monotonic() < until:
            return token
        url = f"{self._endpoint}/_emulator/id-tokens"
        async with self._http.post(url, json={"email": email, "audience": audience}) as answer:
            answer.raise_for_status()
            token = msgspec.json.decode(await answer.read(), type=_IdToken).token
        self._made[email, audience] = token, time.monotonic() + KEPT_SECONDS
        return token

    def forget(self, email: str, audience: str) -> None:
        """It was not taken: the next one is fresh."""
        self._made.pop((email, audience), None)
