"""The certificates of the keys by which Google signs ID tokens: one page, fetched seldom, kept while nobody answers.

`https://www.googleapis.com/oauth2/v1/certs`: a JSON object of key ids and certificates in PEM. Google changes them from
time to time and says by Cache-Control how long a page holds (OpenID Connect, "Validating an ID token"). A certificate
is as good as the TLS of the host that it was fetched from; its chain is not looked at again, its dates are.

Any stranger can name a key id that does not exist. So an unknown one makes us ask at most once a minute; all who wait
for the answer join one question; and a page that fails displaces none that was good.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from broker.domain.errors import SenderUnavailable
from broker.doors.flights import Flights
from broker.ports import Clock, Pages

_log = logging.getLogger("broker.google-certificates")

# All ours.
MAX_PAGE_BYTES = 65_536  # Google's has some three kilobytes
FRESH_FOR = timedelta(hours=1)  # where the page does not say
FRESH_AT_LEAST, FRESH_AT_MOST = timedelta(minutes=1), timedelta(days=1)
ASK_AGAIN_AFTER = timedelta(minutes=1)
ASK_SOON_AFTER = timedelta(seconds=5)  # when there is nothing to go on with
MIN_KEY_BITS = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class _Certificate:
    pem: str
    begins_at: datetime
    ends_at: datetime


_AT_ONCE = datetime.min.replace(tzinfo=UTC)
_decode_page = msgspec.json.Decoder(dict[str, str]).decode


@dataclass(slots=True, kw_only=True)
class GoogleCertificates:
    """:param url: of the page."""

    url: str
    pages: Pages
    clock: Clock
    _held: Mapping[str, _Certificate] = field(default_factory=dict)
    _fresh_until: datetime = _AT_ONCE
    _ask_at: datetime = _AT_ONCE
    _is_failing: bool = False
    _asking: Flights[None] = field(default_factory=Flights)

    async def find(self, key_id: str) -> str | None:
        """The certificate in PEM of the key that holds now; None when Google has none of this name.

        :raises SenderUnavailable: nobody can say.
        """
        now = self.clock.now()
        is_wanted = key_id not in self._held or not now < self._fresh_until <= now + FRESH_AT_MOST
        if is_wanted and not now < self._ask_at <= now + ASK_AGAIN_AFTER:  # what is further away, another clock said
            await self._asking.join(self.url, self._ask)
        found = self._held.get(key_id)
        if found is None and self._is_failing:
            raise SenderUnavailable("the certificates of Google's keys cannot be had")
        if found is None or not found.begins_at <= now <= found.ends_at:
            return None
        return found.pem

    async def _ask(self) -> None:
        """Leaves what is known as it is when nobody answers."""
        try:
            page = await self.pages.get(self.url, at_most_bytes=MAX_PAGE_BYTES)
            found = {} if page is None else _read(page.body)
            why = "" if found else "no certificates there"
        except SenderUnavailable as trouble:
            page, found, why = None, {}, trouble.detail
        now = self.clock.now()
        self._is_failing = not found
        self._ask_at = now + (ASK_AGAIN_AFTER if found or self._held else ASK_SOON_AFTER)
        if page is None or not found:
            _log.warning("google-certificates.unavailable", extra={"why": why, "held": len(self._held)})
            return
        wished = FRESH_FOR if page.fresh_for is None else page.fresh_for
        self._held, self._fresh_until = found, now + min(max(wished, FRESH_AT_LEAST), FRESH_AT_MOST)


def _read(page: bytes) -> dict[str, _Certificate]:
    """One that cannot be used spoils no other."""
    try:
        named = _decode_page(page)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return {}
    read = ((key_id, _read_one(pem)) for key_id, pem in named.items())
    return {key_id: certificate for key_id, certificate in read if certificate is not None}


def _read_one(pem: str) -> _Certificate | None:
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        key = certificate.public_key()
        begins_at, ends_at = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        return None
    return _Certificate(pem=pem, begins_at=begins_at, ends_at=ends_at)
