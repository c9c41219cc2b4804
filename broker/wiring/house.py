"""The house: ledger, stores and use cases put together, behind what counts and traces them."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from broker.api.app import UseCases
from broker.clock import SystemClock
from broker.domain.capsule import CapsuleSealer
from broker.domain.errors import ConfigurationInvalid
from broker.domain.origins import Origins
from broker.domain.tokens import Tokens
from broker.ledger.redis import RedisLedger
from broker.outbound.pages import open_pages
from broker.ports import Bucket, Clock, Door
from broker.services.abort import Abort
from broker.services.adopt import Adopt
from broker.services.broom import Broom
from broker.services.complete import Complete
from broker.services.complete_many import CompleteMany
from broker.services.end_copies import EndCopies
from broker.services.erase import Erase
from broker.services.findings import Find
from broker.services.finish import EndLease, FinishJob, ReleaseJob
from broker.services.lease import LeaseJobs, RenewLease
from broker.services.look_at_many import LookAtMany
from broker.services.notify import Notify
from broker.services.read import Read
from broker.services.record_hints import RecordHints
from broker.services.recover import Recover
from broker.services.revive import Revive
from broker.services.settle import Settle
from broker.services.store_marks import MarkStores, MatchStore, TakeOver
from broker.services.survey import Survey
from broker.services.survey_many import SurveyMany
from broker.services.sweep import Sweep
from broker.services.turns import Turns
from broker.services.watch import Watch
from broker.settings import Settings
from broker.telemetry.credentials import CredentialMetrics
from broker.telemetry.exporting import open_tracing
from broker.telemetry.ledger import CountedJobs, CountedSessions
from broker.telemetry.metrics import Metrics
from broker.telemetry.scrape import Scrape
from broker.telemetry.stores import timed
from broker.telemetry.tracing import Tracing
from broker.telemetry.use_cases import CountedLook, CountedNotify
from broker.telemetry.webhooks import CountedDeliveries
from broker.wiring.credentials import counted_by, open_keyring
from broker.wiring.keys import ConfiguredKeys, api_keys_of
from broker.wiring.ledger import open_ledger
from broker.wiring.looking import look_of
from broker.wiring.minting import minting_of
from broker.wiring.pool import open_pool
from broker.wiring.providers import buckets_of, doors_of
from broker.wiring.uris import uri_sealer_of
from broker.wiring.webhooks import open_teller, webhooks_of
from broker.workers.bells import Chime, LocalBell
from broker.workers.looker import Looker
from broker.workers.marker import Marker
from broker.workers.relay import Relay
from broker.workers.tail import FarBell, Tail


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


@asynccontextmanager
async def open_house(settings: Settings) -> AsyncIterator[House]:
    """:raises ConfigurationInvalid: a setting that is missing, contradictory or would lose data."""
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        news = Chime()
        ledger = await open_ledger(settings.ledger, stack, news=news.ring)
        http = await stack.enter_async_context(open_pool())
        metrics = Metrics(destinations=settings.destinations, sources=settings.sources, webhooks=settings.webhooks)
        counted = counted_by(CredentialMetrics(metrics))
        keyring = await stack.enter_async_context(open_keyring(clock, counted, ledger.rates))
        buckets = buckets_of(settings.destinations, http, clock, keyring)
        deliveries = CountedDeliveries(deliveries=ledger.webhooks, metrics=metrics)
        tellers = [await open_teller(hook, ledger, deliveries, clock, news, stack) for hook in webhooks_of(settings)]
        tracing = open_tracing(os.environ, stack)
        doors = doors_of(settings.sources, await stack.enter_async_context(open_pages()), clock)
        yield _house(settings, ledger, buckets, doors, clock, metrics, Relay(tellers=tellers), tracing)


@asynccontextmanager
async def open_revive(settings: Settings) -> AsyncIterator[tuple[RedisLedger, Revive]]:
    """What it takes to give failed jobs another chance: ledger and stores, and nothing that serves.

    :raises ConfigurationInvalid: as `open_house`.
    """
    clock = SystemClock()
    async with AsyncExitStack() as stack:
        ledger = await open_ledger(settings.ledger, stack)
        http = await stack.enter_async_context(open_pool())
        keyring = await stack.enter_async_context(open_keyring(clock, rates=ledger.rates))
        buckets = buckets_of(settings.destinations, http, clock, keyring)
        yield ledger, Revive(buckets=buckets, sessions=ledger, clock=clock)


def _house(
    settings: Settings,
    ledger: RedisLedger,
    buckets: Mapping[str, Bucket],
    doors: Mapping[str, Door],
    clock: Clock,
    metrics: Metrics,
    relay: Relay,
    tracing: Tracing,
) -> House:
    keys = tuple(secret.reveal_key() for secret in settings.secrets.capsule_keys)
    if not keys:
        raise ConfigurationInvalid("secrets.capsule_keys: at least one key is needed (`openssl rand -base64 48`)")
    sealer, tokens, uris = CapsuleSealer(keys), Tokens(keys), uri_sealer_of(settings.secrets, buckets)
    buckets = {name: timed(bucket, metrics, tracing) for name, bucket in buckets.items()}
    sessions = CountedSessions(sessions=ledger, metrics=metrics, tracing=tracing)
    jobs = CountedJobs(jobs=ledger, metrics=metrics)
    due = LocalBell()
    known = ConfiguredKeys(configured=api_keys_of(settings.keys), ledger=ledger.api_keys)
    tail = Tail(events=ledger, keys=known, shards=ledger.shards, limit=settings.server.max_listeners)
    metrics.listened(lambda: tail.count)
    work = FarBell(near=LocalBell(), tail=tail)
    adopt = Adopt(sessions=sessions, tombstones=ledger.tombstones, identity=ledger.identity, sealer=sealer, clock=clock)
    settle = Settle(sessions=sessions, clock=clock, work=work)
    judge = look_of(
        buckets=buckets,
        sessions=sessions,
        looks=ledger,
        adopt=adopt,
        settle=settle,
        sealer=sealer,
        uris=uris,
        clock=clock,
    )
    look = CountedLook(look=judge, metrics=metrics, tracing=tracing)
    turns = Turns()
    minting = minting_of(
        buckets=buckets,
        sessions=sessions,
        rates=ledger.rates,
        sealer=sealer,
        uris=uris,
        tokens=tokens,
        clock=clock,
        required=settings.fan_out.required,
        shards=ledger.shards,
        turns=turns,
        trace=tracing,
        origins=Origins(settings.cors.allow_origins),
    )
    end_copies = EndCopies(buckets=buckets, sessions=sessions, clock=clock)
    read = Read(buckets=buckets, clock=clock, ttl=settings.jobs.read_ttl)
    end = EndLease(buckets=buckets, sessions=sessions, tokens=tokens, clock=clock, work=work)
    record = RecordHints(buckets=buckets, looks=ledger, clock=clock, due=due)
    survey_many = SurveyMany(sessions=ledger)
    use_cases = UseCases(
        keys=known,
        tokens=tokens,
        clock=clock,
        sessions=ledger,
        schedule=ledger,
        mint=minting.mint,
        mint_batch=minting.mint_batch,
        survey_many=survey_many,
        complete_many=CompleteMany(
            survey_many=survey_many,
            sessions=sessions,
            look_at_many=LookAtMany(looks=ledger, look=look, clock=clock, due=due),
        ),
        listings=ledger,
        turns=turns,
        remint=minting.remint,
        remint_copy=minting.remint_copy,
        complete=Complete(sessions=sessions, looks=ledger, look=look, clock=clock),
        abort=Abort(buckets=buckets, sessions=sessions, clock=clock, end_copies=end_copies),
        erase=Erase(buckets=buckets, sessions=sessions, sealer=sealer, clock=clock, end_copies=end_copies),
        survey=Survey(buckets=buckets, sessions=ledger, uris=uris),
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
            notify=Notify(doors=doors, record=record),
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
        use_cases=use_cases,
        tracing=tracing,
        looker=looker,
        tail=tail,
        relay=relay,
        marker=marker,
        upkeep=upkeep,
    )
