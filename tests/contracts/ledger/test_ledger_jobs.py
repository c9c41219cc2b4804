"""`Jobs`: leases are fenced by their epoch, and an expired one is visible by itself."""

import asyncio
from datetime import timedelta

from ledger_samples import (
    DAY,
    HOLD,
    NOW,
    POLICY,
    SECOND,
    created,
    eventually,
    leased,
    states_of,
    verified,
)

from broker.contract import Reason, State
from broker.domain.jobs import finish, release, retry
from broker.domain.sessions import Change
from broker.ports import Ledger


async def test_a_lease_is_the_whole_session_with_its_epoch_raised(ledger: Ledger) -> None:
    before = await verified(ledger, 7)
    (job,) = await ledger.lease(5, worker="worker-1", now=NOW + SECOND, until=NOW + HOLD)
    assert (job.id, job.facts) == (before.id, before.facts)
    assert job.state is State.PROCESSING
    assert job.progress.epoch == 1
    assert job.progress.revision == before.progress.revision + 1
    assert job.progress.changed_at == NOW + SECOND
    assert await ledger.get(job.id) == job


async def test_a_leased_job_is_invisible_until_its_lease_ends(ledger: Ledger) -> None:
    await verified(ledger)
    await leased(ledger)
    assert await ledger.lease(5, worker="", now=NOW + HOLD - SECOND, until=NOW + DAY) == []


async def test_a_lost_lease_is_visible_again_and_counted(ledger: Ledger) -> None:
    await verified(ledger)
    await leased(ledger)
    again = await leased(ledger, now=NOW + HOLD, until=NOW + 2 * HOLD)
    assert again.attempts.leases == 2
    assert again.attempts.lost_leases == 1
    assert again.attempts.failures == 0
    assert await states_of(ledger, again) == [
        (State.PENDING, 0),
        (State.VERIFIED, 0),
        (State.PROCESSING, 1),
        (State.PROCESSING, 2),
    ]


async def test_two_consumers_lease_disjoint_jobs(ledger: Ledger, other: Ledger) -> None:
    jobs = [await verified(ledger, number) for number in range(30)]
    batches = await asyncio.gather(
        *((ledger, other)[n % 2].lease(4, worker=str(n), now=NOW, until=NOW + HOLD) for n in range(12))
    )
    ids = [job.id for batch in batches for job in batch]
    assert all(len(batch) <= 4 for batch in batches)
    assert sorted(ids) == sorted(job.id for job in jobs)


async def test_the_longest_visible_job_of_a_shard_is_leased_first(ledger: Ledger) -> None:
    late, early = await verified(ledger, now=NOW), await verified(ledger, now=NOW - SECOND)
    assert [job.id for job in await ledger.lease(2, worker="", now=NOW, until=NOW + HOLD)] == [early.id, late.id]


async def test_a_pending_session_is_no_job(ledger: Ledger) -> None:
    await created(ledger)
    assert await ledger.lease(5, worker="", now=NOW + DAY, until=NOW + 2 * DAY) == []


async def test_a_finished_job_is_gone(ledger: Ledger) -> None:
    await verified(ledger)
    assert await ledger.apply(finish(await leased(ledger), State.PROCESSED, NOW, POLICY))
    assert await ledger.lease(5, worker="", now=NOW + DAY, until=NOW + 2 * DAY) == []


async def test_of_two_who_believe_they_own_a_job_only_the_later_can_finish_it(ledger: Ledger, other: Ledger) -> None:
    await verified(ledger)
    stale = await leased(ledger)
    live = await leased(other, now=NOW + HOLD, until=NOW + 2 * HOLD)
    assert not await ledger.apply(finish(stale, State.PROCESSED, NOW + HOLD, POLICY, result=b"1"))
    assert await ledger.renew(stale.id, stale.progress.epoch, until=NOW + DAY) is None
    assert await other.apply(finish(live, State.PROCESSED, NOW + HOLD, POLICY, result=b"2"))
    settled = await ledger.get(live.id)
    assert settled is not None
    assert settled.facts.result == b"2"


async def test_of_concurrent_finishes_of_one_lease_exactly_one_is_accepted(ledger: Ledger, other: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    done = finish(job, State.PROCESSED, NOW, POLICY)
    assert sum(await asyncio.gather(*((ledger, other)[n % 2].apply(done) for n in range(10)))) == 1
    assert (await states_of(ledger, job)).count((State.PROCESSED, 1)) == 1


async def test_a_renewed_lease_stays_invisible_for_longer(ledger: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    assert await ledger.renew(job.id, 1, until=NOW + 2 * HOLD) == job
    assert await ledger.lease(5, worker="", now=NOW + HOLD, until=NOW + DAY) == []
    assert len(await ledger.lease(5, worker="", now=NOW + 2 * HOLD, until=NOW + DAY)) == 1


async def test_an_expired_lease_that_nobody_took_can_be_renewed(ledger: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    assert await ledger.renew(job.id, 1, until=NOW + 3 * HOLD) is not None
    assert await ledger.lease(5, worker="", now=NOW + 2 * HOLD, until=NOW + DAY) == []


async def test_a_renewal_does_not_disturb_a_finish_under_way(ledger: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    done = finish(job, State.PROCESSED, NOW, POLICY)
    await ledger.renew(job.id, 1, until=NOW + DAY)
    assert await ledger.apply(done)


async def test_a_finished_or_released_job_cannot_be_renewed(ledger: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    await ledger.apply(release(job, NOW, POLICY, is_infrastructure=False))
    assert await ledger.renew(job.id, 1, until=NOW + DAY) is None
    again = await leased(ledger)
    await ledger.apply(finish(again, State.PROCESSED, NOW, POLICY))
    assert await ledger.renew(job.id, 2, until=NOW + DAY) is None
    assert await ledger.lease(5, worker="", now=NOW + 2 * DAY, until=NOW + 3 * DAY) == []


async def test_a_job_that_does_not_exist_cannot_be_renewed(ledger: Ledger) -> None:
    session = await created(ledger)
    assert await ledger.renew(session.id, 0, until=NOW + DAY) is None
    assert await ledger.renew("00" + "a" * 26, 1, until=NOW + DAY) is None


async def test_a_retry_is_invisible_until_its_time(ledger: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    await ledger.apply(retry(job, Reason(code="boom", message="…"), NOW, POLICY, 5 * SECOND))
    assert await ledger.lease(5, worker="", now=NOW + 4 * SECOND, until=NOW + HOLD) == []
    again = await leased(ledger, now=NOW + 5 * SECOND)
    assert (again.attempts.failures, again.attempts.lost_leases, again.progress.epoch) == (1, 0, 2)


async def test_a_released_job_is_visible_at_once(ledger: Ledger) -> None:
    await verified(ledger)
    await ledger.apply(release(await leased(ledger), NOW, POLICY, is_infrastructure=False))
    assert (await leased(ledger)).progress.epoch == 2


async def test_a_job_whose_record_was_forgotten_is_dropped_and_hides_nothing(ledger: Ledger) -> None:
    gone, stays = await verified(ledger, now=NOW - SECOND), await verified(ledger)
    job = await leased(ledger)
    assert job.id == gone.id
    done = finish(job, State.PROCESSED, NOW, POLICY)
    brief = timedelta(milliseconds=10)
    await ledger.apply(Change(before=job, after=done.after, job_at=NOW - SECOND, keep_for=brief))

    async def is_gone() -> bool:
        return await ledger.get(gone.id) is None

    await eventually(is_gone)
    assert (await leased(ledger)).id == stays.id


async def test_a_settled_session_left_in_the_schedule_is_not_leased(ledger: Ledger) -> None:
    await verified(ledger)
    job = await leased(ledger)
    await ledger.apply(Change(before=job, after=finish(job, State.PROCESSED, NOW, POLICY).after, job_at=NOW))
    assert await ledger.lease(5, worker="", now=NOW + DAY, until=NOW + 2 * DAY) == []


async def test_a_clock_that_steps_back_hides_no_lease(ledger: Ledger) -> None:
    before = await verified(ledger, now=NOW)
    await ledger.apply(release(await leased(ledger), NOW + HOLD, POLICY, is_infrastructure=False))
    job = await leased(ledger, now=NOW + HOLD, until=NOW + DAY)
    again = await leased(ledger, now=NOW + DAY, until=NOW + 2 * DAY)
    moments = [before.progress.changed_at, job.progress.changed_at, again.progress.changed_at]
    assert moments == sorted(set(moments))


async def test_leases_reach_every_shard(ledger: Ledger) -> None:
    for shard in range(ledger.shards):
        for _ in range(4):
            await verified(ledger, shard)
    seen: set[str] = set()
    for _ in range(ledger.shards):
        seen |= {job.id[:2] for job in await ledger.lease(2, worker="", now=NOW, until=NOW + HOLD)}
    assert len(seen) > ledger.shards // 2
