"""A source that is a subscription of Pub/Sub: as whom it is asked, and over which connections."""

import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any, Final

import aiohttp

from broker import __version__
from broker.doors.pubsub_pull import PubsubMailbox
from broker.ports import Clock
from broker.settings import PubsubSource
from broker.storage.gcs.tokens import AccessToken
from broker.wiring.google import GoogleKeyring, Tokens

SCOPES: Final[Sequence[str]] = ("https://www.googleapis.com/auth/pubsub",)
# Ours: some gateways forget a connection that is silent for less than an empty pull may wait.
_KEEPALIVE: Final = timedelta(seconds=30)


class _Bearer:
    """The source's own token."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens, self._clock = tokens, clock
        self._last: AccessToken | None = None

    async def token(self) -> str:
        self._last = await self._tokens.current(self._clock.now())
        return self._last.text

    def distrust(self, token: str) -> None:
        if self._last is not None and self._last.text == token:
            self._tokens.distrust(self._last)


async def pubsub_mailbox(
    name: str, source: PubsubSource, google: GoogleKeyring, clock: Clock, stack: AsyncExitStack
) -> PubsubMailbox:
    tokens = google.source(source.source, f"sources.{name}.source", SCOPES)
    http = await stack.enter_async_context(
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2 * source.receivers, socket_factory=_lasting_socket),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            headers={"User-Agent": f"upload-broker/{__version__}"},
        )
    )
    mailbox = PubsubMailbox(
        source=name,
        subscription=source.subscription,
        endpoint=source.endpoint,
        http=http,
        bearer=_Bearer(tokens, clock),
        loan=source.ack_deadline,
    )
    stack.push_async_callback(mailbox.close)
    return mailbox


def _lasting_socket(info: tuple[Any, ...]) -> socket.socket:
    """For one result of `getaddrinfo`."""
    family, kind, protocol, _, _ = info
    made = socket.socket(family=family, type=kind, proto=protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, int(_KEEPALIVE.total_seconds()))
    return made
