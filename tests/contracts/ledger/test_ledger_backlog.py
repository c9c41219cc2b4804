"""`Schedule.backlog`: how much waits, and since when."""

from ledger_samples import DAY, HOLD, NOW, POLICY, SECOND, created, leased, verified

from broker.domain.jobs import has_taken_over, release
from broker.ports import Backlog, Ledger

EMPTY = Backlog(looks=0, looks_due=0, oldest_look=None, jobs_visible=0, oldest_job=None, jobs_hidden=0, events=0)


async def test_an_empty_ledger_has_nothing_waiting(ledger: Ledger) -> None:
    assert await ledger.backlog(now=NOW) == EMPTY


async def test_looks_are_counted_over_all_shards_and_the_oldest_due_one_is_named(ledger: Ledger) -> None:
    for number in range(5):
        await created(ledger, number, look_at=NOW + number * SECOND)
    backlog = await ledger.backlog(now=NOW + 2 * SECOND)
    assert (backlog.looks, backlog.looks_due, backlog.oldest_look) == (5, 3, NOW)
    assert backlog.events == 5
    early = await ledger.backlog(now=NOW - SECOND)
    assert (early.looks, early.looks_due, early.oldest_look) == (5, 0, None)


async def test_jobs_are_visible_until_they_are_leased_and_again_when_a_lease_ends(ledger: Ledger) -> None:
    for number in range(3):
        await verified(ledger, number)
    waiting = await ledger.backlog(now=NOW + HOLD)
    assert (waiting.jobs_visible, waiting.jobs_hidden) == (3, 0)
    assert waiting.oldest_job is not None
    assert waiting.oldest_job <= NOW + HOLD
    assert waiting.looks == 0
    await leased(ledger, now=NOW + HOLD, until=NOW + DAY)
    working = await ledger.backlog(now=NOW + DAY - SECOND)
    assert (working.jobs_visible, working.jobs_hidden) == (2, 1)
    lost = await ledger.backlog(now=NOW + DAY)
    assert (lost.jobs_visible, lost.jobs_hidden) == (3, 0)


async def test_a_lease_knows_whether_the_one_before_ran_out(ledger: Ledger) -> None:
    await verified(ledger)
    first = await leased(ledger, now=NOW, until=NOW + HOLD)
    assert not has_taken_over(first)
    after_a_loss = await leased(ledger, now=NOW + HOLD, until=NOW + 2 * HOLD)
    assert has_taken_over(after_a_loss)
    again = await leased(ledger, now=NOW + 2 * HOLD, until=NOW + 3 * HOLD)
    assert has_taken_over(again)
    assert await ledger.apply(release(again, NOW + 2 * HOLD, POLICY, is_infrastructure=False))
    after_a_release = await leased(ledger, now=NOW + 3 * HOLD, until=NOW + DAY)
    assert not has_taken_over(after_a_release)
