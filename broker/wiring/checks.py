"""What `upload-broker check` works on: each destination's own adapters, and an HTTP client that shares nothing with
them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

import aiohttp

from broker.checks.bench import Bench
from broker.checks.probe import EventProbe
from broker.checks.s3.site import S3Site
from broker.checks.site import Site
from broker.checks.stranger import Stranger
from broker.clock import SystemClock
from broker.domain.capsule import CapsuleSealer
from broker.domain.errors import BrokerError, ConfigurationInvalid
from broker.ledger.redis import RedisLedger
from broker.ports import Bucket, Clock
from broker.settings import CredentialSettings, DestinationSettings, QueueSource, S3Destination, Settings
from broker.wiring.accounts import located
from broker.wiring.checks_gcs import gcs_site
from broker.wiring.credentials import Keyring, Use, open_keyring
from broker.wiring.ledger import open_ledger
from broker.wiring.providers import buckets_of

_ANSWER_TIMEOUT = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Untried:
    """A destination that `serve` would refuse, too."""

    destination: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """How events are waited for: how long, and where `serve` answers, by default where the settings say it listens."""

    timeout: timedelta
    broker_url: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """Without `listening` no event is waited for.

    :param profile: of the AWS configuration, that may read the settings of buckets in S3.
    :param is_operator: application default credentials may read those of buckets in Google Cloud Storage.
    """

    profile: str | None = None
    is_operator: bool = False
    listening: Listening | None = None
    clock: Clock = field(default_factory=SystemClock)


@asynccontextmanager
async def open_benches(
    settings: Settings, names: Sequence[str], options: CheckOptions
) -> AsyncIterator[list[Bench[Site] | Untried]]:
    """:param names: of destinations; none means all.
    :raises ConfigurationInvalid: there is no such destination, or none at all.
    """
    chosen = tuple(dict.fromkeys(names or settings.destinations))
    unknown = [name for name in chosen if name not in settings.destinations]
    if unknown:
        raise ConfigurationInvalid(f"there is no destination {unknown[0]!r}")
    if not chosen:
        raise ConfigurationInvalid("no destination is configured")
    async with AsyncExitStack() as stack:
        ours, theirs = [
            await stack.enter_async_context(
                # auto_decompress: bytes are compared as they are stored.
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
            )
            for _ in range(2)
        ]
        keyring = await stack.enter_async_context(open_keyring(options.clock))
        ears = await _ears(settings, options.listening, theirs, stack)
        maker = _Maker(
            settings=settings, options=options, http=ours, stranger=Stranger(http=theirs), keyring=keyring, ears=ears
        )
        yield [maker.bench(name) for name in chosen]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Maker:
    settings: Settings
    options: CheckOptions
    http: aiohttp.ClientSession
    stranger: Stranger
    keyring: Keyring
    ears: "_Ears | str"

    def bench(self, name: str) -> Bench[Site] | Untried:
        try:
            site = self._site(name)
        except ConfigurationInvalid as trouble:
            return Untried(destination=name, why=trouble.detail)
        events = self.ears if isinstance(self.ears, str) else self.ears.probe(self.settings, name)
        return Bench(site=site, stranger=self.stranger, clock=self.options.clock, events=events)

    def _site(self, name: str) -> Site:
        place = self.settings.destinations[name]
        if isinstance(place, S3Destination):
            return self._in_s3(name, place)
        return gcs_site(
            self._bucket(name, place),
            place,
            http=self.http,
            clock=self.options.clock,
            google=self.keyring.google,
            origins=self.settings.cors.allow_origins,
            is_operator=self.options.is_operator,
        )

    def _in_s3(self, name: str, given: S3Destination) -> S3Site:
        place, profile = located(name, given), self.options.profile
        operator = self.keyring.of(CredentialSettings(profile=profile), Use(place="--profile")) if profile else None
        return S3Site.of(
            self._bucket(name, place),
            dialect_name=place.dialect,
            region=place.region,
            origins=self.settings.cors.allow_origins,
            operator=operator,
        )

    def _bucket(self, name: str, place: DestinationSettings) -> Bucket:
        return buckets_of({name: place}, self.http, self.options.clock, self.keyring)[name]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ears:
    """The ledger in which events are noted, and the broker that hears them."""

    ledger: RedisLedger
    sealer: CapsuleSealer
    listening: Listening
    http: aiohttp.ClientSession

    def probe(self, settings: Settings, destination: str) -> EventProbe | str:
        sources = {name: each for name, each in settings.sources.items() if destination in each.destinations}
        if not sources:
            return "no source speaks of this destination: uploads are found by looking"
        server = settings.server
        host = f"[{server.host}]" if ":" in server.host else server.host
        url = self.listening.broker_url or f"http://{host}:{server.port}"
        is_pushed = not any(isinstance(source, QueueSource) for source in sources.values())  # a queue, `poll` asks
        return EventProbe(
            sessions=self.ledger,
            shards=self.ledger.shards,
            sealer=self.sealer,
            sources=tuple(sources),
            timeout=self.listening.timeout,
            hinder=partial(self._silence, url.rstrip("/")) if is_pushed else _nothing,
        )

    async def _silence(self, url: str) -> str:
        """Who is not there hears nothing: that says nothing about the bucket."""
        try:
            async with self.http.get(f"{url}/healthz", timeout=_ANSWER_TIMEOUT) as answer:
                is_there = answer.status == 200
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            is_there = False
        return "" if is_there else f"no broker answers at {url}: start `serve`, or name it with --broker"


async def _ears(
    settings: Settings, listening: Listening | None, http: aiohttp.ClientSession, stack: AsyncExitStack
) -> _Ears | str:
    """Or why nothing can be heard."""
    if listening is None:
        return "not asked for (--no-events)"
    if not settings.sources:
        return "no source is configured: uploads are found by looking"
    try:
        keys = tuple(secret.reveal_key() for secret in settings.secrets.capsule_keys)
    except ConfigurationInvalid as trouble:
        return f"secrets.capsule_keys: {trouble.detail}"
    if not keys:
        return "secrets.capsule_keys is empty: no broker runs like this"
    try:
        ledger = await open_ledger(settings.ledger, stack)
    except BrokerError as trouble:
        return f"the ledger cannot be asked: {trouble.detail}"
    return _Ears(ledger=ledger, sealer=CapsuleSealer(keys), listening=listening, http=http)


async def _nothing() -> str:
    return ""
