"""Whose an access token is: what an emulated service asks of the emulated IAM, once for as long as the token is good.

    tokens = Tokens(settings.iam, http)
    info = await tokens.info(bearer(call))

Asked at `GET /tokeninfo?access_token=…`, as anybody may ask Google.
"""

import logging
import time
from typing import Final

import aiohttp
import msgspec

from emulators.google import GoogleError, unauthenticated

log = logging.getLogger(__name__)

MAX_TOKENS: Final = 10_000


class TokenInfo(msgspec.Struct, frozen=True, kw_only=True):
    email: str
    scope: str = ""
    expires_in: int = 0


class Tokens:
    def __init__(self, endpoint: str, http: aiohttp.ClientSession) -> None:
        self._endpoint, self._http = endpoint.rstrip("/"), http
        self._known: dict[str, tuple[float, TokenInfo]] = {}

    async def info(self, token: str) -> TokenInfo:
        """:raises GoogleError: UNAUTHENTICATED when it is nobody's, UNAVAILABLE when IAM does not say."""
        until, known = self._known.get(token, (0.0, None))
        if known is not None and time.monotonic() < until:
            return known
        info = await self._asked(token)
        if info.expires_in <= 0:
            raise unauthenticated()
        if len(self._known) >= MAX_TOKENS:
            self._known.clear()
        self._known[token] = time.monotonic() + info.expires_in, info
        return info

    async def _asked(self, token: str) -> TokenInfo:
        url = f"{self._endpoint}/tokeninfo"
        try:
            async with self._http.get(url, params={"access_token": token}, allow_redirects=False) as answer:
                if answer.status == 400:
                    raise unauthenticated()
                answer.raise_for_status()
                return msgspec.json.decode(await answer.read(), type=TokenInfo)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError, UnicodeDecodeError) as exc:
            log.warning("event=iam.unreachable reason=%s", type(exc).__name__)
            raise GoogleError("UNAVAILABLE", "IAM does not answer.") from exc
