"""What every mailbox promises: a message is lent to one at a time, and comes back unless it is deleted."""

import asyncio
from datetime import UTC, datetime, timedelta

from broker.ports import Mailbox, Message
from tests.contracts.mailboxes.conftest import LONG_POLL, MakeBox


async def received(mailbox: Mailbox, count: int) -> list[Message]:
    """So many, in as many turns as that takes."""
    found: list[Message] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += await mailbox.receive()
    assert len(found) == count
    return found


async def test_what_was_sent_is_lent_as_it_was_sent(make_box: MakeBox) -> None:
    box = make_box()
    body = '{"Records": [{"key": "a b/ü+%2F\\n"}]}'
    box.send(body)
    (message,) = await received(box.mailbox, 1)
    assert (box.said(message), message.deliveries) == (body, 1)
    assert message.id
    assert message.sent_at is not None
    assert abs(message.sent_at - datetime.now(UTC)) < timedelta(seconds=20)


async def test_neither_body_nor_receipt_stands_in_a_log_line(make_box: MakeBox) -> None:
    box = make_box()
    box.send("a-body-that-is-nobodys-business")
    (message,) = await received(box.mailbox, 1)
    assert "nobodys-business" not in repr(message)
    assert message.body not in repr(message)
    assert message.receipt not in repr(message)


async def test_a_batch_has_so_many_messages_at_most(make_box: MakeBox) -> None:
    box = make_box()
    count = 2 * box.batch + 5
    for number in range(count):
        box.send(str(number))
    first = await box.mailbox.receive()
    assert 1 <= len(first) <= box.batch
    rest = await received(box.mailbox, count - len(first))
    assert {box.said(message) for message in (*first, *rest)} == {str(number) for number in range(count)}


async def test_an_empty_mailbox_answers_after_a_while_with_nothing(make_box: MakeBox) -> None:
    box = make_box(long_poll=LONG_POLL)
    async with asyncio.timeout(LONG_POLL.total_seconds() + 10):
        assert not await box.mailbox.receive()


async def test_what_comes_during_the_wait_is_lent_at_once(make_box: MakeBox) -> None:
    box = make_box()
    waiting = asyncio.create_task(box.mailbox.receive())
    await asyncio.sleep(0)
    await asyncio.to_thread(box.send, "here I am")
    async with asyncio.timeout(LONG_POLL.total_seconds() + 10):
        assert [box.said(message) for message in await waiting] == ["here I am"]


async def test_what_is_lent_comes_back_when_the_loan_ends_and_says_how_often(make_box: MakeBox) -> None:
    """How often: where somebody counts it, which is where it is put aside in the end."""
    box = make_box(is_redriven=True)
    box.send("again")
    loop = asyncio.get_running_loop()
    (first,) = await received(box.mailbox, 1)
    began = loop.time()
    (second,) = await received(box.mailbox, 1)
    assert loop.time() - began > box.mailbox.loan.total_seconds() / 2
    assert (second.id, box.said(second), second.deliveries) == (first.id, "again", 2)


async def test_what_is_deleted_does_not_come_back(make_box: MakeBox) -> None:
    box = make_box()
    for number in range(5):
        box.send(str(number))
    messages = await received(box.mailbox, 5)
    deletion = await box.mailbox.delete(messages[:4])
    assert not deletion.again
    assert not deletion.lost
    assert [message.body for message in await received(box.mailbox, 1)] == [messages[4].body]


async def test_what_is_released_comes_at_once(make_box: MakeBox) -> None:
    box = make_box(loan=timedelta(minutes=10), is_redriven=True)
    box.send("back")
    await box.mailbox.release(await received(box.mailbox, 1))
    (again,) = await received(box.mailbox, 1)
    assert (box.said(again), again.deliveries) == ("back", 2)


async def test_two_receivers_get_different_messages(make_box: MakeBox) -> None:
    box = make_box()
    for number in range(2 * box.batch):
        box.send(str(number))
    one, other = await asyncio.gather(box.mailbox.receive(), box.mailbox.receive())
    assert one
    assert other
    assert not {message.id for message in one} & {message.id for message in other}


async def test_it_knows_whether_something_puts_aside_what_nobody_deletes(make_box: MakeBox) -> None:
    assert not await make_box().mailbox.has_redrive()
    assert await make_box(is_redriven=True).mailbox.has_redrive()
