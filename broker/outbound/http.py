"""Posts to one receiver over connections of its own.

No redirect is followed (Standard Webhooks, "Delivery success and failure"), no proxy of the environment used, no cookie
kept; TLS is verified. Of the answer only the status and Retry-After are read: a body is not waited for, and what comes
of it fills one small buffer at most.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from urllib.parse import urlsplit

import aiohttp

from broker import __version__
from broker.domain.errors import ConfigurationInvalid
from broker.outbound.addresses import AddressRefused, guarded_socket, is_public
from broker.outbound.resolver import OwnResolver
from broker.ports import Answer, Clock

READ_BYTES = 4_096  # ours
# Below what common servers keep an idle connection for (Node.js http.Server.keepAliveTimeout: 5 s): a POST into a
# connection that is just being closed is lost, and may not be repeated unasked.
IDLE_SECONDS = 4

# The first that fits; `error` of the delivery log.
_TROUBLES: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "timeout"),
    (aiohttp.ClientConnectorDNSError, "name-not-found"),
    (aiohttp.ClientSSLError, "tls"),
    (aiohttp.ClientConnectorError, "connection-refused"),
    (aiohttp.InvalidURL, "url-invalid"),
    (aiohttp.ClientResponseError, "not-http"),
    (aiohttp.ClientPayloadError, "not-http"),
    (aiohttp.ClientError, "connection-lost"),
    (OSError, "connection-lost"),
)


class HttpSender:
    """A `Sender`.

    :param url: may hold a secret; never logged.
    """

    def __init__(self, url: str, *, http: aiohttp.ClientSession, clock: Clock) -> None:
        self._url, self._http, self._clock = url, http, clock

    def __repr__(self) -> str:
        return "HttpSender(url=***)"

    async def post(self, body: bytes, headers: Mapping[str, str]) -> Answer:
        try:
            async with self._http.post(self._url, data=body, headers=headers, allow_redirects=False) as response:
                wished = response.headers.get("Retry-After", "")
                return Answer(status=response.status, retry_after=_retry_after(wished, self._clock.now()))
        except (aiohttp.ClientError, OSError, ValueError) as exc:
            return Answer(error=_name_of(exc))


@asynccontextmanager
async def open_sender(
    url: str, *, allow_private: bool, timeout: timedelta, connections: int, clock: Clock
) -> AsyncIterator[HttpSender]:
    """:param timeout: for everything from looking the name up to the answer's headers."""
    connector = aiohttp.TCPConnector(
        limit=connections,
        resolver=OwnResolver(),
        keepalive_timeout=IDLE_SECONDS,
        socket_factory=None if allow_private else guarded_socket,
    )
    async with aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=timeout.total_seconds()),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        read_bufsize=READ_BYTES,
        trust_env=False,
        headers={"User-Agent": f"upload-broker/{__version__}"},
    ) as http:
        yield HttpSender(url, http=http, clock=clock)


def check_url(url: str, *, allow_private: bool) -> None:
    """What can be said of a URL before it is called. The text does not quote it.

    :raises ConfigurationInvalid: not https, or private, while that is not allowed; or it carries a password.
    """
    try:
        parts = urlsplit(url)
        host, is_whole = parts.hostname or "", parts.port != 0
    except ValueError:
        host, is_whole = "", False
    if not host or not is_whole or parts.scheme not in {"http", "https"} or not url.isascii() or " " in url:
        raise ConfigurationInvalid("the url is none that can be called")
    if "@" in parts.netloc:
        raise ConfigurationInvalid("the url carries a user or password; the signature says who calls")
    if parts.scheme != "https" and not allow_private:
        raise ConfigurationInvalid("the url must begin with https://, unless allow_private = true")
    if _is_address(host) and not allow_private and not is_public(host):
        raise ConfigurationInvalid("the url leads to an address that is not public; say allow_private = true if it may")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _name_of(exc: Exception) -> str:
    if isinstance(exc, aiohttp.ClientConnectorError) and isinstance(exc.os_error, AddressRefused):
        return "address-refused"
    return next((name for kind, name in _TROUBLES if isinstance(exc, kind)), "url-invalid")


def _retry_after(value: str, now: datetime) -> timedelta | None:
    """RFC 9110 section 10.2.3: seconds or a date. None when it is neither."""
    if value.isascii() and value.isdigit():
        return timedelta(seconds=min(int(value[:9]), 86_400))
    try:
        moment = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(aware - now, timedelta(0))
