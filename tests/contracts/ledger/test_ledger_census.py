"""Going through everything: each failed session once, however many others there are."""

from ledger_samples import DESTINATION, NOW, POLICY, a_session, created, leased, verified

from broker.contract import State
from broker.domain.jobs import finish, revive
from broker.domain.sessions import Session, erase
from broker.ports import Ledger


async def failed(ledger: Ledger, shard: int) -> Session:
    await verified(ledger, shard)
    change = finish(await leased(ledger), State.FAILED, NOW, POLICY)
    assert await ledger.apply(change)
    return change.after


async def found(ledger: Ledger, state: State = State.FAILED) -> list[Session]:
    return sorted([session async for session in ledger.in_state(state)], key=lambda session: session.id)


async def test_nothing_is_found_in_an_empty_ledger(ledger: Ledger) -> None:
    assert await found(ledger) == []


async def test_each_failed_session_is_found_once_among_all_others(ledger: Ledger, other: Ledger) -> None:
    dead = [await failed(ledger, number) for number in range(5)]
    waiting = await verified(ledger, 3)
    pending = [await created(ledger, number) for number in range(40)]
    assert await found(other) == sorted(dead, key=lambda session: session.id)
    assert await found(other, State.VERIFIED) == [waiting]
    assert len(await found(other, State.PENDING)) == len(pending)


async def test_what_was_revived_is_leased_again_and_found_no_more(ledger: Ledger, other: Ledger) -> None:
    session = await failed(ledger, 0)
    change = revive(session, NOW)
    assert await other.apply(change)
    assert not await other.apply(change)  # another operator had the same idea
    assert await found(ledger) == []
    job = await leased(ledger)
    assert (job.id, job.progress.epoch, job.attempts.failures) == (session.id, session.progress.epoch + 1, 0)


async def test_a_failed_session_that_was_erased_is_still_found(ledger: Ledger) -> None:
    session = await failed(ledger, 0)
    change = erase(session, DESTINATION, NOW)
    assert await ledger.apply(change)
    assert await found(ledger) == [change.after]


async def test_every_page_is_walked(ledger: Ledger) -> None:
    """More than one SCAN gives at once."""
    count = 1_500
    for _ in range(count):
        await ledger.create(a_session(), look_at=NOW, idempotency=None)
    assert len({session.id for session in await found(ledger, State.PENDING)}) == count
