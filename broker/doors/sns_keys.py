"""The keys by which SNS signs, from the certificates that it publishes.

A certificate is as good as the TLS of SNS's own host, from which alone it is fetched (`sns_topic`); its chain is not
looked at again, its dates are. Its address names its content, so it could be kept for ever; it is asked for again once
a day, in case it was withdrawn, and stays good while nobody answers.

Whoever knows a topic's ARN can name certificates that do not exist. So there is a bound on how many are asked for,
those that do not exist are remembered for a while, and none of them ever displaces one that does.
"""

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from broker.domain.errors import SenderUnavailable
from broker.doors.flights import Flights
from broker.ports import Clock, Pages

# All ours.
MAX_CERTIFICATE_BYTES = 16_384
FRESH_FOR = timedelta(days=1)
ASK_AGAIN_AFTER = timedelta(minutes=1)  # nobody answered, or there was none
MOST_KEYS = 64  # SNS signs with one a region, two while it changes it
MOST_ABSENT = 256
MOST_ASKED_A_MINUTE = 30
MIN_KEY_BITS = 2_048


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    key: RSAPublicKey
    begins_at: datetime
    ends_at: datetime
    fresh_until: datetime


@dataclass(slots=True, kw_only=True)
class SigningKeys:
    pages: Pages
    clock: Clock
    _found: OrderedDict[str, _Found] = field(default_factory=OrderedDict)
    _absent: OrderedDict[str, datetime] = field(default_factory=OrderedDict)
    _asking: Flights[_Found | None] = field(default_factory=Flights)
    _minute: tuple[datetime, int] | None = None

    async def find(self, url: str) -> RSAPublicKey | None:
        """The key in the certificate at `url`, None when there is none that holds now.

        :param url: one that may be called.
        :raises SenderUnavailable: nobody can say.
        """
        found, now = self._found.get(url), self.clock.now()
        if found is None or now >= found.fresh_until:
            found = await self._refreshed(url, found, now)
        if found is None or not found.begins_at <= now <= found.ends_at:
            return None
        return found.key

    async def _refreshed(self, url: str, known: _Found | None, now: datetime) -> _Found | None:
        if now < self._absent.get(url, now):
            return None
        try:
            found = await self._asked(url, now)
        except SenderUnavailable:
            if known is None:
                raise
            found = replace(known, fresh_until=now + ASK_AGAIN_AFTER)
        self._keep(url, found, now)
        return found

    async def _asked(self, url: str, now: datetime) -> _Found | None:
        if url not in self._asking:
            self._count(now)
        return await self._asking.join(url, lambda: self._ask(url))

    async def _ask(self, url: str) -> _Found | None:
        page = await self.pages.get(url, at_most_bytes=MAX_CERTIFICATE_BYTES)
        return None if page is None else _read(page.body, self.clock.now() + FRESH_FOR)

    def _count(self, now: datetime) -> None:
        since, count = self._minute or (now, 0)
        if now - since >= timedelta(minutes=1):
            since, count = now, 0
        if count >= MOST_ASKED_A_MINUTE:
            raise SenderUnavailable
        self._minute = (since, count + 1)

    def _keep(self, url: str, found: _Found | None, now: datetime) -> None:
        if found is None:
            self._found.pop(url, None)
            self._absent[url] = now + ASK_AGAIN_AFTER
        else:
            self._absent.pop(url, None)
            self._found[url] = found
            self._found.move_to_end(url)
        while len(self._found) > MOST_KEYS:
            self._found.popitem(last=False)
        while len(self._absent) > MOST_ABSENT:
            self._absent.popitem(last=False)


def _read(page: bytes, fresh_until: datetime) -> _Found | None:
    try:
        certificate = x509.load_pem_x509_certificate(page)
        key = certificate.public_key()
        begins_at, ends_at = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    except (ValueError, UnsupportedAlgorithm, x509.InvalidVersion):
        return None
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        return None
    return _Found(key=key, begins_at=begins_at, ends_at=ends_at, fresh_until=fresh_until)
