"""What is told of mailboxes: every message and every call, and nothing of what they hold."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest
from prometheus_client import generate_latest

from broker.contract import NotificationReceipt
from broker.domain.errors import SourceRefused
from broker.ports import Collected, Deletion, Message
from broker.telemetry.mailboxes import CountedCollect, CountedMailbox, MailboxMetrics
from broker.telemetry.metrics import Metrics
from tests.clock import START, FrozenClock
from tests.memory_mailbox import MemoryMailbox

SOURCE = "queue"


class Told:
    def __init__(self) -> None:
        self.metrics = Metrics(sources=[SOURCE])
        self.mailboxes = MailboxMetrics(self.metrics, [SOURCE])

    def around(self, mailbox: MemoryMailbox) -> CountedMailbox:
        return CountedMailbox(source=SOURCE, mailbox=mailbox, metrics=self.mailboxes)

    def value(self, name: str, **labels: str) -> float | None:
        return self.metrics.registry.get_sample_value(name, {"source": SOURCE, **labels})

    def fate(self, fate: str) -> float | None:
        return self.value("broker_source_messages_total", fate=fate)

    def calls(self, call: str, outcome: str) -> float | None:
        return self.value("broker_source_calls_total", call=call, outcome=outcome)


def test_every_fate_stands_there_from_the_start() -> None:
    told = Told()
    fates = ("received", "received_again", "deleted", "undeleted", "released", "poison_kept", "poison_deleted")
    assert [told.fate(fate) for fate in fates] == [0.0] * 7
    assert told.value("broker_source_lag_seconds_count") == 0


async def test_messages_are_counted_by_what_became_of_them() -> None:
    told = Told()
    mailbox = MemoryMailbox(fail=lambda messages: Deletion(again=messages[:1], lost=messages[1:2]))
    for number in range(4):
        mailbox.send(f"secret {number}")
    counted = told.around(mailbox)
    assert counted.loan == mailbox.loan
    await counted.release(await counted.receive())
    messages = await counted.receive()
    await counted.delete(messages)
    assert not await counted.has_redrive()
    assert (told.fate("received"), told.fate("received_again"), told.fate("released")) == (8, 4, 4)
    assert (told.fate("deleted"), told.fate("undeleted")) == (2, 2)
    assert [told.calls(call, "ok") for call in ("receive", "release", "delete", "attributes")] == [2, 1, 1, 1]
    assert b"secret" not in generate_latest(told.metrics.registry)


async def test_a_call_that_fails_is_counted_by_its_code_and_one_that_is_cut_off_as_such() -> None:
    told = Told()

    async def refuse(_: str) -> None:
        raise SourceRefused

    counted = told.around(MemoryMailbox(before=refuse))
    with pytest.raises(SourceRefused):
        await counted.receive()
    assert told.calls("receive", "source-refused") == 1
    waiting = asyncio.create_task(told.around(MemoryMailbox(long_poll=timedelta(minutes=1))).receive())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert told.calls("receive", "cut-off") == 1
    assert told.fate("received") == 0


@pytest.mark.parametrize(("is_kept", "fate"), [(True, "poison_kept"), (False, "poison_deleted")])
async def test_what_was_collected_tells_how_late_it_was_and_what_was_poison(is_kept: bool, fate: str) -> None:
    told = Told()
    ages = [timedelta(seconds=3), timedelta(seconds=-5), None]
    messages = [
        Message(id=str(number), receipt=str(number), body="", sent_at=None if age is None else START - age)
        for number, age in enumerate(ages)
    ]

    async def collect(batch: Sequence[Message]) -> Collected:
        receipt = NotificationReceipt(accepted=2, ignored=0, malformed=1)
        return Collected(receipt=receipt, done=batch[1:] if is_kept else batch, poison=batch[:1])

    await CountedCollect(source=SOURCE, collect=collect, metrics=told.mailboxes, clock=FrozenClock())(messages)
    assert told.fate(fate) == 1
    assert told.value("broker_source_lag_seconds_count") == 2
    assert told.value("broker_source_lag_seconds_sum") == 3  # a clock before ours is no time at all
    assert told.value("broker_notification_records_total", result="accepted") == 2
