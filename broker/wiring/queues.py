"""Sources that are queues: the mailbox of each, behind what counts, and the poller that empties it."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, cast

from botocore.session import Session

from broker.domain.errors import ConfigurationInvalid
from broker.doors.bodies import open_body
from broker.doors.pubsub import open_message
from broker.doors.sqs import SqsMailbox, client_config
from broker.doors.sqs_address import SqsAddress
from broker.doors.threads import DaemonThreads
from broker.ports import Clock, Mailbox, Opened, Schedule
from broker.services.collect import Collect
from broker.services.poison import OnPoison, Poison
from broker.services.record_hints import RecordHints
from broker.settings import PubsubSource, QueueSource, SourceSettings, SqsSource
from broker.telemetry.mailboxes import CountedCollect, CountedMailbox, MailboxMetrics
from broker.wiring.credentials import Keyring, Use
from broker.wiring.pubsub import pubsub_mailbox
from broker.workers.poller import Poller

if TYPE_CHECKING:
    from types_boto3_sqs.client import SQSClient


def queues_of(sources: Mapping[str, SourceSettings], wanted: Sequence[str] = ()) -> dict[str, QueueSource]:
    """:param wanted: only these; none means all.
    :raises ConfigurationInvalid: there is none, or one of those that are wanted is no queue.
    """
    queues = {name: source for name, source in sources.items() if isinstance(source, QueueSource)}
    if not queues:
        raise ConfigurationInvalid('no source is a queue: [sources.NAME] kind = "sqs", or "pubsub", makes one')
    strangers = set(wanted) - queues.keys()
    if strangers:
        raise ConfigurationInvalid(f"there is no source {min(strangers)!r} that is a queue, only {sorted(queues)}")
    return {name: queues[name] for name in wanted or queues}


def address_of(name: str, source: SqsSource) -> SqsAddress:
    """:raises ConfigurationInvalid: URL, region and endpoint do not fit together."""
    try:
        return SqsAddress.of(queue_url=source.queue_url, region=source.region, endpoint=source.endpoint)
    except ValueError as exc:
        raise ConfigurationInvalid(f"sources.{name}: {exc}") from exc


@dataclass(frozen=True, slots=True, kw_only=True)
class Polling:
    """What all pollers of a process share."""

    record: RecordHints
    schedule: Schedule
    clock: Clock
    metrics: MailboxMetrics
    keyring: Keyring

    async def poller(self, name: str, source: QueueSource, stack: AsyncExitStack) -> Poller:
        """:raises ConfigurationInvalid:"""
        asked, open_one = await self._mailbox(name, source, stack)
        mailbox = CountedMailbox(source=name, mailbox=asked, metrics=self.metrics)
        poison = Poison(source=name, mailbox=mailbox, on_poison=OnPoison(source.on_poison), clock=self.clock)
        collect = Collect(destinations=source.destinations, open_body=open_one, record=self.record, poison=poison)
        return Poller(
            source=name,
            mailbox=mailbox,
            collect=CountedCollect(source=name, collect=collect, metrics=self.metrics, clock=self.clock),
            schedule=self.schedule,
            receivers=source.receivers,
        )

    async def _mailbox(
        self, name: str, source: QueueSource, stack: AsyncExitStack
    ) -> tuple[Mailbox, Callable[[str], Opened]]:
        """And who reads its messages."""
        match source:
            case SqsSource():
                return _sqs_mailbox(name, source, self.keyring, stack), open_body
            case PubsubSource():
                return await pubsub_mailbox(name, source, self.keyring.google, self.clock, stack), open_message


def _sqs_mailbox(name: str, source: SqsSource, keyring: Keyring, stack: AsyncExitStack) -> Mailbox:
    address = address_of(name, source)
    use = Use(place=f"sources.{name}.credentials", region=address.region)
    places = 2 * source.receivers  # a call that nobody waits for any more keeps its own until it ends
    threads = DaemonThreads(places, f"sqs-{name}")
    stack.callback(threads.shutdown)
    return SqsMailbox(
        source=name,
        queue_url=address.queue_url,
        open_client=partial(_open_client, keyring.session(source.credentials, use), address, places),
        threads=threads,
        loan=source.visibility,
    )


def _open_client(session: Session, address: SqsAddress, connections: int) -> "SQSClient":
    client = session.create_client(
        "sqs", region_name=address.region, endpoint_url=address.endpoint, config=client_config(connections)
    )
    return cast("SQSClient", client)
