"""A topic tells: twice, late, out of order, forged or never, and each session is settled once."""

from datetime import timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest

from broker.contract import State
from broker.domain.errors import NotAuthentic
from broker.doors.sns import MAX_AGE
from broker.services.notify import Notify
from tests.unit.doors.senders import aws, records
from tests.unit.doors.sns_world import Sns, enveloped
from tests.unit.services.house import House


async def states(house: House, session_id: str) -> list[State]:
    return [event.state async for event in house.ledger.read(0) if event.id == session_id]


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def sns(house: House) -> Sns:
    """Its topic speaks of the house's only destination."""
    sns = Sns(clock=house.clock)
    house.notify = Notify(doors={"topic": sns.door}, record=house.record)
    return sns


async def test_doubled_and_late_messages_settle_a_session_once(house: House, sns: Sns) -> None:
    minted = await house.minted(filename="two words+é.csv")
    key = minted.session.facts.key
    message = sns.signed(Message=records(aws(quote_plus(key, safe="/"))).decode())
    house.sent(minted)
    for _ in range(3):
        assert (await house.notify("topic", enveloped(message))).accepted == 1
    await house.looks()
    assert await states(house, minted.session.id) == [State.PENDING, State.VERIFIED]
    await house.pass_time(timedelta(minutes=50))
    await house.notify("topic", enveloped(message))
    await house.looks()
    assert await states(house, minted.session.id) == [State.PENDING, State.VERIFIED]
    await house.pass_time(MAX_AGE)
    with pytest.raises(NotAuthentic):
        await house.notify("topic", enveloped(message))


async def test_a_message_that_runs_ahead_of_its_object_costs_a_look(house: House, sns: Sns) -> None:
    minted = await house.minted()
    message = sns.signed(Message=records(aws(minted.session.facts.key)).decode())
    await house.notify("topic", enveloped(message))
    await house.looks()
    assert await states(house, minted.session.id) == [State.PENDING]
    house.sent(minted)
    await house.notify("topic", enveloped(message))
    await house.looks()
    assert await states(house, minted.session.id) == [State.PENDING, State.VERIFIED]


async def test_a_forger_moves_nothing(house: House, sns: Sns) -> None:
    minted = await house.minted()
    looks_at = await house.ledger.next_due()
    forged: dict[str, Any] = sns.signed(by="a forger", Message=records(aws(minted.session.facts.key)).decode())
    with pytest.raises(NotAuthentic):
        await house.notify("topic", enveloped(forged))
    assert await house.ledger.next_due() == looks_at
