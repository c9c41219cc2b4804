"""A process that polls: ledger, queues, and what it tells of itself. It has no key of a store and seals no capsule."""

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from broker.clock import SystemClock
from broker.domain.policy import Destination
from broker.domain.tokens import Tokens
from broker.ports import ApiKeys, Clock, Schedule, Sessions
from broker.services.record_hints import RecordHints
from broker.settings import DestinationSettings, Settings
from broker.telemetry.credentials import CredentialMetrics
from broker.telemetry.exporting import open_tracing
from broker.telemetry.mailboxes import MailboxMetrics
from broker.telemetry.metrics import Metrics
from broker.telemetry.scrape import Scrape
from broker.telemetry.tracing import Tracing
from broker.wiring.credentials import counted_by, open_keyring
from broker.wiring.keys import ConfiguredKeys, api_keys_of
from broker.wiring.ledger import open_ledger
from broker.wiring.providers import destination_of
from broker.wiring.queues import Polling, queues_of
from broker.workers.bells import LocalBell
from broker.workers.poller import Poller
from broker.workers.poller_health import PollingSchedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What it takes to answer those who ask how this process is."""

    keys: ApiKeys
    tokens: Tokens
    clock: Clock
    sessions: Sessions
    schedule: Schedule
    scrape: Scrape


@dataclass(frozen=True, slots=True, kw_only=True)
class PollingHouse:
    pollers: Sequence[Poller]
    watched: Watched
    tracing: Tracing


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    destination: Destination


@asynccontextmanager
async def open_polling(settings: Settings, names: Sequence[str] = ()) -> AsyncIterator[PollingHouse]:
    """Of the sources that are queues, or of those that are named.

    :raises ConfigurationInvalid: there is none, or one cannot be asked; or the ledger would lose data.
    """
    queues, clock = queues_of(settings.sources, names), SystemClock()
    async with AsyncExitStack() as stack:
        ledger = await open_ledger(settings.ledger, stack)
        metrics = Metrics(destinations=settings.destinations, sources=queues)
        places = _places(settings.destinations)
        polling = Polling(
            record=RecordHints(buckets=places, looks=ledger, clock=clock, due=LocalBell()),
            schedule=ledger,
            clock=clock,
            metrics=MailboxMetrics(metrics, queues),
            keyring=await stack.enter_async_context(open_keyring(clock, counted_by(CredentialMetrics(metrics)))),
        )
        pollers = [await polling.poller(name, source, stack) for name, source in queues.items()]
        watched = Watched(
            keys=ConfiguredKeys(configured=api_keys_of(settings.keys), ledger=ledger.api_keys),
            tokens=Tokens(()),
            clock=clock,
            sessions=ledger,
            schedule=PollingSchedule(schedule=ledger, pollers=pollers),
            scrape=Scrape(metrics=metrics, schedule=ledger, deliveries=ledger.webhooks, clock=clock),
        )
        yield PollingHouse(pollers=pollers, watched=watched, tracing=open_tracing(os.environ, stack))


def _places(destinations: Mapping[str, DestinationSettings]) -> dict[str, _Place]:
    return {name: _Place(destination=destination_of(name, place)) for name, place in destinations.items()}
