"""What `upload-broker check` works on: each destination's own adapters, and an HTTP client that shares nothing with
them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp

from broker.checks.bench import Bench
from broker.checks.site import Site
from broker.checks.stranger import Stranger
from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid
from broker.ports import Clock
from broker.settings import CredentialSettings, Settings
from broker.storage.s3.credentials import Credentials
from broker.wiring.accounts import located
from broker.wiring.credentials import Keyring, Use, open_keyring
from broker.wiring.providers import buckets_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Untried:
    """A destination that `serve` would refuse, too."""

    destination: str
    why: str


@asynccontextmanager
async def open_benches(
    settings: Settings, names: Sequence[str], *, profile: str | None, clock: Clock | None = None
) -> AsyncIterator[list[Bench | Untried]]:
    """:param names: of destinations; none means all.
    :param profile: of the AWS configuration, whose credential may read the bucket's own settings.
    :raises ConfigurationInvalid: there is no such destination, or none at all.
    """
    chosen = tuple(dict.fromkeys(names or settings.destinations))
    unknown = [name for name in chosen if name not in settings.destinations]
    if unknown:
        raise ConfigurationInvalid(f"there is no destination {unknown[0]!r}")
    if not chosen:
        raise ConfigurationInvalid("no destination is configured")
    clock = clock or SystemClock()
    async with AsyncExitStack() as stack:
        keyring = await stack.enter_async_context(open_keyring(clock))
        operator = keyring.of(CredentialSettings(profile=profile), Use(place="--profile")) if profile else None
        ours, theirs = [
            await stack.enter_async_context(
                # auto_decompress: bytes are compared as they are stored.
                aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False)
            )
            for _ in range(2)
        ]
        stranger = Stranger(http=theirs)
        yield [_bench(settings, name, ours, stranger, clock, keyring, operator) for name in chosen]


def _bench(
    settings: Settings,
    name: str,
    http: aiohttp.ClientSession,
    stranger: Stranger,
    clock: Clock,
    keyring: Keyring,
    operator: Credentials | None,
) -> Bench | Untried:
    try:
        place = located(name, settings.destinations[name])
        bucket = buckets_of({name: place}, http, clock, keyring)[name]
        site = Site.of(
            bucket,
            dialect_name=place.dialect,
            region=place.region,
            origins=settings.cors.allow_origins,
            operator=operator,
        )
    except ConfigurationInvalid as trouble:
        return Untried(destination=name, why=trouble.detail)
    return Bench(site=site, stranger=stranger, clock=clock)
