"""The roof: the only place that knows which adapter exists. Resources open on one AsyncExitStack."""

import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial

import aiohttp
from botocore.session import Session

from broker.api.app import UseCases
from broker.clock import SystemClock
from broker.contract import Checksum
from broker.domain.capsule import CapsuleSealer
from broker.domain.errors import ConfigurationInvalid, InvalidInput, LedgerUnavailable
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination, demand
from broker.domain.principals import ApiKey, Role
from broker.domain.tokens import Tokens
from broker.domain.webhooks import Webhook, key_in
from broker.doors.s3_event import S3EventDoor
from broker.ledger.api_keys import RedisApiKeys
from broker.ledger.redis import RedisLedger
from broker.outbound.http import HttpSender, check_url, open_sender
from broker.ports import Bucket, Clock, Deliveries, Door, MultipartRights
from broker.services.abort import Abort
from broker.services.adopt import Adopt
from broker.services.assemble import Assemble
from broker.services.broom import Broom
from broker.services.complete import Complete
from broker.services.erase import Erase
from broker.services.findings import Find
from broker.services.finish import EndLease, FinishJob, ReleaseJob
from broker.services.grant import Grant
from broker.services.lease import LeaseJobs, RenewLease
from broker.services.limits import Limits
from broker.services.look import Look
from broker.services.mint import Mint
from broker.services.mint_batch import MintBatch
from broker.services.notify import Notify
from broker.services.open_upload import OpenUpload
from broker.services.read import Read
from broker.services.recover import Recover
from broker.services.remint import Remint
from broker.services.revive import Revive
from broker.services.store_marks import MarkStores, MatchStore, TakeOver
from broker.services.survey import Survey
from broker.services.survey_many import SurveyMany
from broker.services.sweep import Sweep
from broker.services.tell import FanOut, Tell
from broker.services.turns import Turns
from broker.services.watch import Watch
from broker.settings import (
    CredentialSettings,
    DestinationSettings,
    KeySettings,
    LedgerSettings,
    Settings,
    SourceSettings,
    WebhookSettings,
)
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import ChainCredentials, Credentials, FixedCredentials
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.endpoint import Addresses, usual_addressing
from broker.storage.s3.lister import S3ObjectLister
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.multipart import S3MultipartRemover, S3MultipartUploads
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover
from broker.telemetry.exporting import open_tracing
from broker.telemetry.ledger import CountedJobs, CountedSessions
from broker.telemetry.metrics import Metrics
from broker.telemetry.scrape import Scrape
from broker.telemetry.stores import timed
from broker.telemetry.tracing import Tracing
from broker.telemetry.use_cases import CountedLook, CountedNotify
from broker.telemetry.webhooks import CountedDeliveries
from broker.workers.bells import Chime, LocalBell
from broker.workers.looker import Looker
from broker.workers.marker import Marker
from broker.workers.relay import Relay, Teller
from broker.workers.tail import FarBell, Tail

HEAD_TIMEOUT = timedelta(seconds=10)  # below the looker's hold, so that a claim never runs out during a HEAD
POOL_CONNECTIONS = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """What an operator, or a sweeper in his place, does to destinations."""

    buckets: Mapping[str, Bucket]
    sweep: Sweep
    broom: Broom
    recover: Recover
    take_over: TakeOver


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What a process can run: the routes' use cases, looker and relay that share their bells, who marks the stores."""

    use_cases: UseCases
    tracing: Tracing
    looker: Looker
    tail: Tail
    relay: Relay
    marker: Marker
    upkeep: Upkeep


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredKeys:
    """The keys of the configuration first, then those of the ledger, which can revoke both.

    While the ledger is away nobody knows what was revoked, and nobody is let in – but who may do nothing except
    observe, because just then somebody must.
    """

    configured: Mapping[str, ApiKey]
    ledger: RedisApiKeys

    async def find(self, key_id: str) -> ApiKey | None:
        api_key = self.configured.get(key_id)
        if api_key is None:
            return await self.ledger.find(key_id)
        try:
            return (await self.ledger.standing(key_id)).of(api_key)
        except LedgerUnavailable:
            if api_key.roles == {Role.OBSERVE}:
                return api_key
            raise


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """:raises ConfigurationInvalid: a setting that is missing, contradictory or would lose data."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        news = Chime()
        ledger = await open_ledger(settings.ledger, stack, news=news.ring)
        http = await stack.enter_async_context(
            aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=POOL_CONNECTIONS), cookie_jar=aiohttp.DummyCookieJar()
            )
        )
        buckets = {name: _bucket(name, place, http, clock) for name, place in settings.destinations.items()}
        metrics = Metrics(destinations=settings.destinations, sources=settings.sources, webhooks=settings.webhooks)
        deliveries = CountedDeliveries(deliveries=ledger.webhooks, metrics=metrics)
        tellers = [await _teller(hook, ledger, deliveries, clock, news, stack) for hook in webhooks_of(settings)]
        tracing = open_tracing(os.environ, stack)
        yield _house(settings, ledger, buckets, clock, metrics, Relay(tellers=tellers), tracing)


@asynccontextmanager
async def open_revive(settings: Settings) -> AsyncIterator[tuple[RedisLedger, Revive]]:
    """What it takes to give failed jobs another chance: ledger and stores, and nothing that serves.

    :raises ConfigurationInvalid: as `open_house`.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        ledger = await open_ledger(settings.ledger, stack)
        http = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
        buckets = {name: _bucket(name, place, http, clock) for name, place in settings.destinations.items()}
        yield ledger, Revive(buckets=buckets, sessions=ledger, clock=clock)


def _house(
    settings: Settings,
    ledger: RedisLedger,
    buckets: Mapping[str, Bucket],
    clock: Clock,
    metrics: Metrics,
    relay: Relay,
    tracing: Tracing,
) -> House:
    keys = tuple(secret.reveal_key() for secret in settings.secrets.capsule_keys)
    if not keys:
        raise ConfigurationInvalid("secrets.capsule_keys: at least one key is needed (`openssl rand -base64 48`)")
    sealer, tokens = CapsuleSealer(keys), Tokens(keys)
    buckets = {name: timed(bucket, metrics, tracing) for name, bucket in buckets.items()}
    sessions = CountedSessions(sessions=ledger, metrics=metrics, tracing=tracing)
    jobs = CountedJobs(jobs=ledger, metrics=metrics)
    due = LocalBell()
    known = ConfiguredKeys(configured=api_keys_of(settings.keys), ledger=ledger.api_keys)
    tail = Tail(events=ledger, keys=known, shards=ledger.shards, limit=settings.server.max_listeners)
    metrics.listened(lambda: tail.count)
    work = FarBell(near=LocalBell(), tail=tail)
    assemble = Assemble(sessions=sessions, clock=clock)
    adopt = Adopt(sessions=sessions, tombstones=ledger.tombstones, identity=ledger.identity, sealer=sealer, clock=clock)
    look = CountedLook(
        look=Look(
            buckets=buckets,
            sessions=sessions,
            looks=ledger,
            assemble=assemble,
            adopt=adopt,
            sealer=sealer,
            clock=clock,
            work=work,
        ),
        metrics=metrics,
        tracing=tracing,
    )
    grant = Grant(sealer=sealer)
    open_upload = OpenUpload(sessions=sessions, sealer=sealer, clock=clock)
    remint = Remint(buckets=buckets, sessions=sessions, grant=grant, open_upload=open_upload, clock=clock)
    read = Read(buckets=buckets, clock=clock, ttl=settings.jobs.read_ttl)
    end = EndLease(buckets=buckets, sessions=sessions, tokens=tokens, clock=clock, work=work)
    doors = {name: _door(source) for name, source in settings.sources.items()}
    mint = Mint(
        buckets=buckets,
        sessions=sessions,
        remint=remint,
        grant=grant,
        open_upload=open_upload,
        tokens=tokens,
        clock=clock,
        shards=ledger.shards,
        limits=Limits(rates=ledger.rates),
        trace=tracing,
    )
    turns = Turns()
    use_cases = UseCases(
        keys=known,
        tokens=tokens,
        clock=clock,
        sessions=ledger,
        schedule=ledger,
        mint=mint,
        mint_batch=MintBatch(mint=mint, sessions=sessions, clock=clock, turns=turns),
        survey_many=SurveyMany(sessions=ledger),
        listings=ledger,
        turns=turns,
        remint=remint,
        complete=Complete(sessions=sessions, looks=ledger, look=look, clock=clock),
        abort=Abort(buckets=buckets, sessions=sessions, clock=clock),
        erase=Erase(buckets=buckets, sessions=sessions, sealer=sealer, clock=clock),
        survey=Survey(buckets=buckets),
        read=read,
        lease=LeaseJobs(
            jobs=jobs,
            sessions=sessions,
            read=read,
            tokens=tokens,
            clock=clock,
            work=work,
            duration=settings.jobs.lease,
        ),
        renew=RenewLease(jobs=jobs, read=read, tokens=tokens, clock=clock, duration=settings.jobs.lease),
        finish=FinishJob(end_lease=end),
        release=ReleaseJob(end_lease=end),
        notify=CountedNotify(
            notify=Notify(doors=doors, buckets=buckets, looks=ledger, clock=clock, due=due),
            sources=doors,
            metrics=metrics,
        ),
        watch=Watch(sessions=ledger, buckets=buckets, clock=clock),
        listeners=tail,
        scrape=Scrape(metrics=metrics, schedule=ledger, deliveries=ledger.webhooks, clock=clock),
    )
    looker = Looker(looks=ledger, look=look, stores=len(buckets), clock=clock, due=due)
    marker = Marker(mark=MarkStores(buckets=buckets, identity=ledger.identity, clock=clock))
    find, match = Find(sessions=sessions, tombstones=ledger.tombstones), MatchStore(identity=ledger.identity)
    upkeep = Upkeep(
        buckets=buckets,
        sweep=Sweep(find=find, match=match, adopt=adopt, clock=clock),
        broom=Broom(find=find, look=look, adopt=adopt, clock=clock),
        recover=Recover(find=find, match=match, adopt=adopt, identity=ledger.identity, clock=clock),
        take_over=TakeOver(identity=ledger.identity),
    )
    return House(
        use_cases=use_cases, tracing=tracing, looker=looker, tail=tail, relay=relay, marker=marker, upkeep=upkeep
    )


def api_keys_of(settings: Mapping[str, KeySettings]) -> dict[str, ApiKey]:
    return {
        key_id: ApiKey(
            id=key_id,
            hashes=(*([key.hash] if key.hash else []), *key.hashes),
            roles=key.roles,
            destinations=key.destinations,
            max_size_bytes=key.max_size_bytes,
            sessions_per_second=key.sessions_per_second,
            burst=key.burst,
            max_pending_sessions=key.max_pending_sessions,
            max_pending_bytes=key.max_pending_bytes,
        )
        for key_id, key in sorted(settings.items())
    }


def _door(source: SourceSettings) -> Door:
    return S3EventDoor(destinations=source.destinations, tokens=tuple(secret.reveal() for secret in source.tokens))


# --- webhooks --------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredWebhook:
    webhook: Webhook
    settings: WebhookSettings
    url: str

    def __repr__(self) -> str:
        return f"ConfiguredWebhook(webhook={self.webhook!r})"

    def sender(self, clock: Clock) -> AbstractAsyncContextManager[HttpSender]:
        given = self.settings
        return open_sender(
            self.url,
            allow_private=given.allow_private,
            timeout=given.timeout,
            connections=given.max_in_flight,
            clock=clock,
        )


def webhooks_of(settings: Settings) -> list[ConfiguredWebhook]:
    """:raises ConfigurationInvalid: a secret that is none, or a URL that must not be called."""
    return [_webhook(name, given) for name, given in settings.webhooks.items()]


def _webhook(name: str, given: WebhookSettings) -> ConfiguredWebhook:
    try:
        keys = tuple(key_in(secret.reveal()) for secret in given.secrets)
        url = given.url if isinstance(given.url, str) else given.url.reveal()
        check_url(url, allow_private=given.allow_private)
    except ConfigurationInvalid as exc:
        raise ConfigurationInvalid(f"webhooks.{name}: {exc.detail}") from None
    webhook = Webhook(
        name=name,
        keys=keys,
        types=given.events,
        destinations=given.destinations,
        principals=given.keys,
    )
    return ConfiguredWebhook(webhook=webhook, settings=given, url=url)


async def _teller(
    hook: ConfiguredWebhook,
    ledger: RedisLedger,
    deliveries: Deliveries,
    clock: Clock,
    news: Chime,
    stack: AsyncExitStack,
) -> Teller:
    sender = await stack.enter_async_context(hook.sender(clock))
    timeout = hook.settings.timeout
    return Teller(
        fan_out=FanOut(events=ledger, sessions=ledger, outbox=ledger.webhooks, clock=clock),
        tell=Tell(webhook=hook.webhook, sender=sender, deliveries=deliveries, clock=clock, timeout=timeout),
        deliveries=deliveries,
        clock=clock,
        shards=ledger.shards,
        news=news.bell(),
        bell=LocalBell(),
        places=hook.settings.max_in_flight,
    )


# --- storage/s3 ------------------------------------------------------------------------------------------


def _bucket(name: str, place: DestinationSettings, http: aiohttp.ClientSession, clock: Clock) -> Bucket:
    addresses = _addresses(name, place)
    sigv4, dialect, rights = SigV4(region=place.region), DIALECTS[place.dialect], place.credentials
    _check_unsigned_headers(name, place)
    default = _credentials(name, rights.default)
    write = _credentials(name, rights.write) if rights.write else default
    read = _credentials(name, rights.read) if rights.read else default
    remove = _credentials(name, rights.remove) if rights.remove else default
    caller = S3Caller(http=http, sigv4=sigv4, endpoint=addresses.internal, clock=clock, timeout=HEAD_TIMEOUT)
    head = S3ObjectHead(caller=caller, credentials=read)
    bucket = Bucket(
        destination=Destination(
            name=name,
            bucket=place.bucket,
            prefix=place.prefix,
            policy=place.policy,
            multipart=place.multipart,
            processing=place.processing,
            on_reject=place.on_reject,
            late=place.late,
        ),
        put=S3PutSigner(sigv4=sigv4, endpoint=addresses.public, credentials=write, dialect=dialect),
        get=S3GetSigner(sigv4=sigv4, endpoint=addresses.public, credentials=read),
        objects=head,
        remover=S3ObjectRemover(caller=caller, credentials=remove, dialect=dialect, objects=head),
        multipart=MultipartRights(
            signer=S3PartSigner(sigv4=sigv4, endpoint=addresses.public, credentials=write, dialect=dialect),
            uploads=S3MultipartUploads(caller=caller, credentials=write, dialect=dialect),
            remover=S3MultipartRemover(caller=caller, credentials=remove),
        ),
        consumer_get=S3GetSigner(sigv4=sigv4, endpoint=addresses.consumer, credentials=read),
        lister=S3ObjectLister(caller=caller, credentials=remove, prefix=place.prefix),
        mark=S3StoreMark(caller=caller, reading=read, writing=write, prefix=place.prefix),
    )
    _check_strategy(bucket, place.dialect)
    return bucket


def _check_unsigned_headers(name: str, place: DestinationSettings) -> None:
    """An unsigned x-amz-copy-source makes a signed PUT read with the write credential.

    :raises ConfigurationInvalid: nobody answered for that, or the write credential evidently reads too.
    """
    if not DIALECTS[place.dialect].accepts_unsigned_headers:
        return
    if not place.accept_unsigned_headers:
        raise ConfigurationInvalid(
            f"destinations.{name}: dialect {place.dialect!r} may obey headers that nobody signed, so its write "
            "credential must not be able to read; once that is so, say accept_unsigned_headers = true"
        )
    rights = place.credentials
    if (rights.write or rights.default) == (rights.read or rights.default):
        raise ConfigurationInvalid(
            f"destinations.{name}.credentials: with accept_unsigned_headers the write credential must not be able to "
            "read: name credentials.write apart from the others"
        )


_PROBE = UploadSpec(
    filename="probe", size_bytes=0, content_type="application/octet-stream", checksum=Checksum(sha256="A" * 43 + "=")
)


def _check_strategy(bucket: Bucket, dialect: str) -> None:
    """What every mint would be refused for is said at start-up.

    :raises ConfigurationInvalid: the dialect cannot give what `policy.require` demands.
    """
    try:
        demand(_PROBE, bucket.destination, bucket.put.binds(_PROBE))
    except InvalidInput as exc:
        raise ConfigurationInvalid(
            f"destinations.{bucket.destination.name}: dialect {dialect!r}: {exc.detail}; "
            "name the store's own dialect, or require less in policy.require"
        ) from exc


def _addresses(name: str, place: DestinationSettings) -> Addresses:
    addressing = place.addressing
    if addressing == "auto":
        addressing = usual_addressing(bucket=place.bucket, url=place.endpoint)
    try:
        return Addresses.of(
            bucket=place.bucket,
            region=place.region,
            addressing=addressing,
            endpoint=place.endpoint,
            public_endpoint=place.public_endpoint,
            consumer_endpoint=place.consumer_endpoint,
        )
    except ValueError as exc:
        raise ConfigurationInvalid(f"destinations.{name}: {exc}") from exc


def _credentials(name: str, settings: CredentialSettings) -> Credentials:
    if settings.access_key_id is None and settings.secret_access_key is None:
        return ChainCredentials(partial(Session, profile=settings.profile))
    if settings.access_key_id is None or settings.secret_access_key is None:
        raise ConfigurationInvalid(
            f"destinations.{name}.credentials: access_key_id and secret_access_key belong together"
        )
    key_id = settings.access_key_id
    return FixedCredentials(
        credential=Credential(
            access_key=key_id if isinstance(key_id, str) else key_id.reveal(),
            secret_key=settings.secret_access_key.reveal(),
            session_token=settings.session_token.reveal() if settings.session_token else None,
        )
    )


# --- the ledger ------------------------------------------------------------------------------------------


async def open_ledger(
    settings: LedgerSettings, stack: AsyncExitStack, *, news: Callable[[], None] | None = None
) -> RedisLedger:
    """:raises ConfigurationInvalid: Redis is older than 6.2, or set so that it would lose what was promised."""
    ledger = RedisLedger(
        settings.url, shards=settings.shards, durability=settings.durability, is_dev=settings.is_dev, news=news
    )
    stack.push_async_callback(ledger.close)
    await ledger.prepare()
    return ledger
