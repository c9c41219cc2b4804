"""Lease, renew, finish, release: one worker is heard, failures are counted apart, and no trouble kills a job."""

import asyncio
import dataclasses
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from broker.contract import MAX_RESULT_BYTES, Checksum, Level, Reason, SignedRequest, State
from broker.domain.errors import (
    CredentialsUnavailable,
    LeaseLost,
    PinNotInUrl,
    ResultTooLarge,
    SessionNotVerified,
    SessionSettled,
)
from tests.memory_bucket import ENFORCED, JUDGED
from tests.unit.domain.samples import ALL_DIGESTS
from tests.unit.services.house import LEASE, PLACE, House, report_of

NOW = timedelta(0)


async def test_a_job_says_what_was_verified_and_how_to_read_exactly_that() -> None:
    house = House(guarantees=replace(JUDGED, checksum=Level.ON_READ))
    minted = await house.minted(checksum=ALL_DIGESTS, metadata={"case": "17"}, owner="u", batch="b")
    house.sent(minted)
    info = house.bucket.tamper(minted.session.facts.key, checksum=Checksum(md5=ALL_DIGESTS.md5))
    await house.event(minted.session.facts.key)
    await house.looks()
    job = await house.leased()
    assert (job.id, job.size_bytes, job.etag, job.version) == (minted.session.id, 12, info.etag, None)
    assert job.prove == ["sha256", "crc32c", "crc64nvme"]
    assert (job.metadata, job.owner, job.batch) == ({"case": "17"}, "u", "b")
    assert job.read.headers == {"if-match": f'"{info.etag}"'}
    assert job.read.expires_at == house.clock.now() + timedelta(minutes=5)
    assert job.lease.epoch == 1
    assert job.lease.expires_at == house.clock.now() + LEASE
    assert "ul_" not in repr(job)
    assert "https" not in repr(job)


async def test_a_versioned_bucket_is_read_by_version() -> None:
    house = House(keeps_versions=True)
    session = await house.uploaded()
    job = await house.leased()
    assert session.facts.stored is not None
    assert job.read.url.endswith(f"versionId={session.facts.stored.version}")


async def test_a_job_is_read_where_consumers_reach_the_store_and_everybody_else_where_clients_do() -> None:
    house = House()

    class Inside:
        async def sign_get(self, *args: Any, **terms: Any) -> SignedRequest:
            return replace(await house.bucket.sign_get(*args, **terms), url="http://store.inside/")

    house.buckets[PLACE.name] = dataclasses.replace(house.buckets[PLACE.name], consumer_get=Inside())
    session = await house.uploaded()
    job = await house.leased()
    renewed = await house.renew(job.id, token=job.lease.token, epoch=job.lease.epoch)
    assert job.read.url == renewed.read.url == "http://store.inside/"
    assert (await house.read(session)).url != job.read.url


async def test_many_jobs_are_signed_side_by_side() -> None:
    """Where each signature is a call to a provider, a hundred of them one after the other outlast the first lease."""
    house, together = House(), asyncio.Barrier(20)

    class Afar:
        async def sign_get(self, *args: Any, **terms: Any) -> SignedRequest:
            await together.wait()
            return await house.bucket.sign_get(*args, **terms)

    house.buckets[PLACE.name] = dataclasses.replace(house.buckets[PLACE.name], consumer_get=Afar())
    sessions = {(await house.uploaded()).id for _ in range(20)}
    async with asyncio.timeout(5):
        jobs = await house.lease(20, worker="w", wait=NOW)
    assert {job.id for job in jobs} == sessions


async def test_a_job_is_leased_once_until_its_lease_is_over() -> None:
    house = House()
    await house.uploaded()
    first = await house.leased()
    assert await house.lease(10, worker="w", wait=NOW) == []
    house.clock.advance(LEASE)
    second = await house.leased()
    assert (first.lease.epoch, second.lease.epoch) == (1, 2)
    assert second.attempts.lost_leases == 1
    assert second.attempts.failures == 0


async def test_renewal_keeps_a_job_and_brings_a_fresh_grant() -> None:
    house = House()
    await house.uploaded()
    job = await house.leased()
    for _ in range(3):
        house.clock.advance(LEASE - timedelta(seconds=1))
        renewed = await house.renew(job.id, token=job.lease.token, epoch=1)
        assert renewed.lease.expires_at == house.clock.now() + LEASE
        assert renewed.read.expires_at > house.clock.now()
    assert await house.lease(10, worker="w", wait=NOW) == []
    await house.report(job)


async def test_of_two_workers_that_believe_they_own_a_job_only_the_later_is_heard() -> None:
    house = House()
    await house.uploaded()
    first = await house.leased()
    house.clock.advance(LEASE)
    second = await house.leased()
    for stale in (
        house.report(first),
        house.report(first, "failed"),
        house.release(first.id, token=first.lease.token, epoch=1, cause="drain"),
        house.renew(first.id, token=first.lease.token, epoch=1),
        house.finish(first.id, report_of(first, "processed", epoch=2)),
    ):
        with pytest.raises(LeaseLost):
            await stale
    assert (await house.report(second)).state is State.PROCESSED
    with pytest.raises(LeaseLost):
        await house.report(first)
    assert (await house.states()).count(State.PROCESSED) == 1


@pytest.mark.parametrize("token", ["", "ul_x", "us_x_y", "é", "\ud800"])
async def test_a_forged_lease_token_does_nothing(token: str) -> None:
    house = House()
    session = await house.uploaded()
    job = await house.leased()
    other = house.tokens.for_lease("00" + "b" * 26, 1, house.clock.now())
    capability = house.tokens.for_session(session.id, session.facts.expires_at, 0)
    higher = house.tokens.for_lease(session.id, 2, house.clock.now())
    for forged in (token, other, capability, higher):
        with pytest.raises(LeaseLost):
            await house.finish(job.id, report_of(job, "processed", lease=forged))
        with pytest.raises(LeaseLost):
            await house.renew(job.id, token=forged, epoch=1)
        with pytest.raises(LeaseLost):
            await house.release(job.id, token=forged, epoch=1, cause="drain")
    assert (await house.session(job.id)).state is State.PROCESSING


async def test_a_lease_of_a_ledger_that_was_lost_is_lost_although_its_epoch_comes_again() -> None:
    """Two workers hold a lease of epoch 1, one of them from the ledger before: only the other one is heard."""
    house = House()
    session = await house.uploaded()
    stale = await house.leased()
    house.lose_ledger()
    house.clock.advance(timedelta(seconds=3))
    with pytest.raises(LeaseLost):
        await house.report(stale)
    await house.event(session.facts.key)
    await house.looks()
    with pytest.raises(LeaseLost):
        await house.report(stale)
    job = await house.leased()
    assert (job.id, job.lease.epoch) == (stale.id, stale.lease.epoch)
    for refused in (
        house.report(stale),
        house.renew(stale.id, token=stale.lease.token, epoch=1),
        house.release(stale.id, token=stale.lease.token, epoch=1, cause="drain"),
    ):
        with pytest.raises(LeaseLost):
            await refused
    assert (await house.report(job)).state is State.PROCESSED
    with pytest.raises(LeaseLost):
        await house.report(stale)
    assert (await house.report(job)).state is State.PROCESSED


async def test_a_report_is_repeated_after_many_leases() -> None:
    """The timeline is cut in its middle: the lease that was ended last stands in it all the same."""
    house = House()
    await house.uploaded()
    for _ in range(40):
        job = await house.leased()
        for _ in range(2):
            await house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause="drain")
        house.clock.advance(timedelta(seconds=1))
    job = await house.leased()
    for _ in range(2):
        assert (await house.report(job)).state is State.PROCESSED


async def test_an_expired_lease_that_nobody_took_is_still_heard() -> None:
    house = House()
    await house.uploaded()
    job = await house.leased()
    house.clock.advance(LEASE * 10)
    assert (await house.report(job)).state is State.PROCESSED
    assert await house.lease(10, worker="w", wait=NOW) == []


RESULTS: list[tuple[str, State]] = [
    ("processed", State.PROCESSED),
    ("failed", State.FAILED),
    ("rejected", State.REJECTED),
    ("retry", State.VERIFIED),
]


@pytest.mark.parametrize(("outcome", "state"), RESULTS)
async def test_a_report_whose_answer_was_lost_is_sent_again_without_effect(outcome: str, state: State) -> None:
    house = House()
    await house.uploaded()
    job = await house.leased()
    first = await house.report(job, outcome, result=msgspec.Raw(b'{"a":1}'))
    again = await house.report(job, outcome, result=msgspec.Raw(b'{"a":2}'))
    assert (first.state, again) == (state, first)
    assert (await house.states()).count(state) == 1 + (state is State.VERIFIED)


@pytest.mark.parametrize(("outcome", "state"), RESULTS)
async def test_a_lease_that_ended_otherwise_is_lost(outcome: str, state: State) -> None:
    house = House()
    await house.uploaded()
    job = await house.leased()
    await house.report(job, outcome)
    for other, ends in RESULTS:
        if other != outcome and not (other == "retry" and outcome == "failed"):
            with pytest.raises(LeaseLost):
                await house.report(job, other)
            assert ends is not state
    assert (await house.session(job.id)).state is state


async def test_a_job_that_was_given_back_cannot_be_finished_by_its_giver() -> None:
    house = House()
    await house.uploaded()
    job = await house.leased()
    await house.release(job.id, token=job.lease.token, epoch=1, cause="drain")
    await house.release(job.id, token=job.lease.token, epoch=1, cause="drain")
    with pytest.raises(LeaseLost):
        await house.report(job)
    assert (await house.leased()).lease.epoch == 2


async def test_a_result_is_kept_as_it_was_sent_up_to_its_limit() -> None:
    house = House()
    await house.uploaded()
    job = await house.leased()
    with pytest.raises(ResultTooLarge):
        await house.report(job, result=msgspec.Raw(b'"' + b"x" * (MAX_RESULT_BYTES - 1) + b'"'))
    largest = b'"' + b"x" * (MAX_RESULT_BYTES - 2) + b'"'
    session = await house.report(job, result=msgspec.Raw(largest))
    assert session.facts.result == largest


async def test_what_a_consumer_says_is_cut_not_refused() -> None:
    house = House()
    await house.uploaded()
    reason = Reason(code="c" * 10_000, message="m" * 1_000_000)
    session = await house.report(await house.leased(), "failed", reason=reason)
    assert session.facts.reason == Reason(code="c" * 64, message="m" * 1024)


@pytest.mark.parametrize("outcome", ["failed", "rejected", "retry"])
async def test_a_consumer_that_says_nothing_still_leaves_a_reason(outcome: str) -> None:
    house = House()
    await house.uploaded()
    session = await house.report(await house.leased(), outcome)
    assert session.facts.reason is not None
    assert session.facts.reason.code == outcome


async def test_a_success_forgets_the_reason_of_an_earlier_failure() -> None:
    house = House()
    await house.uploaded()
    await house.report(await house.leased(), "retry", retry_after_seconds=0)
    assert (await house.report(await house.leased())).facts.reason is None


async def test_failures_back_off_and_dead_letter_at_the_limit() -> None:
    house = House()
    await house.uploaded()
    for failure in range(1, PLACE.policy.max_failures + 1):
        job = await house.leased()
        session = await house.report(job, "retry", reason=Reason(code="boom", message="again"))
        assert session.attempts.failures == failure
        assert await house.lease(10, worker="w", wait=NOW) == []
        house.clock.advance(PLACE.policy.retry_base * 2 ** (failure - 1))
    assert session.state is State.FAILED
    assert session.facts.reason == Reason(code="boom", message="again")
    assert await house.is_at_rest()


async def test_a_processor_chooses_when_to_come_back() -> None:
    house = House()
    await house.uploaded()
    await house.report(await house.leased(), "retry", retry_after_seconds=3600)
    house.clock.advance(timedelta(seconds=3599))
    assert await house.lease(10, worker="w", wait=NOW) == []
    house.clock.advance(timedelta(seconds=1))
    await house.leased()


async def test_neither_infrastructure_nor_draining_nor_lost_leases_dead_letter_a_job() -> None:
    house = House()
    await house.uploaded()
    for _ in range(20):
        job = await house.leased()
        await house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause="infrastructure")
        assert await house.lease(10, worker="w", wait=NOW) == []
        house.clock.advance(PLACE.policy.retry_limit)
        job = await house.leased()
        await house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause="drain")
        await house.leased()
        house.clock.advance(LEASE)
    session = await house.report(await house.leased())
    assert session.state is State.PROCESSED
    assert (session.attempts.failures, session.attempts.infrastructure) == (0, 20)


async def test_a_job_that_cannot_be_read_goes_back_and_spoils_no_other() -> None:
    house = House()
    await house.uploaded()
    await house.uploaded()
    house.bucket.sign_trouble = CredentialsUnavailable()
    assert await house.lease(10, worker="w", wait=NOW) == []
    house.bucket.sign_trouble = None
    assert await house.lease(10, worker="w", wait=NOW) == []
    house.clock.advance(timedelta(seconds=2))
    jobs = await house.lease(10, worker="w", wait=NOW)
    assert len(jobs) == 2
    assert {(job.attempts.failures, job.attempts.infrastructure) for job in jobs} == {(0, 1)}


async def test_a_job_of_a_destination_that_is_not_configured_goes_back() -> None:
    house = House()
    await house.uploaded()
    bucket = house.buckets.pop("default")
    assert await house.lease(10, worker="w", wait=NOW) == []
    house.buckets["default"] = bucket
    house.clock.advance(timedelta(seconds=2))
    await house.report(await house.leased())


async def test_a_limit_bounds_a_batch() -> None:
    house = House()
    for _ in range(5):
        await house.uploaded()
    assert len(await house.lease(2, worker="w", wait=NOW)) == 2
    assert len(await house.lease(10, worker="w", wait=NOW)) == 3


async def test_no_job_is_reported_that_nobody_was_given() -> None:
    house = House()
    session = await house.uploaded()
    token = house.tokens.for_lease(session.id, 0, house.clock.now())
    values: dict[str, Any] = {"token": token, "epoch": 0}
    with pytest.raises(LeaseLost):
        await house.renew(session.id, **values)
    job = await house.leased()
    with pytest.raises(LeaseLost):
        await house.finish(session.id, report_of(job, "processed", lease=token, epoch=0))


# --- reading and aborting


async def test_only_what_was_verified_is_read() -> None:
    house = House()
    minted = await house.minted()
    with pytest.raises(SessionNotVerified):
        await house.read(minted.session)
    rejected = await house.uploaded()
    rejected = await house.report(await house.leased(), "rejected")
    with pytest.raises(SessionNotVerified):
        await house.read(rejected)


async def test_a_bare_redirect_needs_a_version_or_a_key_that_was_written_once() -> None:
    once = House()
    request = await once.read.as_redirect(await once.uploaded())
    assert request.headers == {}
    versioned = House(keeps_versions=True, guarantees=replace(ENFORCED, create_only=Level.AT_HEAD))
    assert "versionId" in (await versioned.read.as_redirect(await versioned.uploaded())).url
    loose = House(guarantees=replace(ENFORCED, create_only=Level.AT_HEAD))
    with pytest.raises(PinNotInUrl):
        await loose.read.as_redirect(await loose.uploaded())


async def test_a_settled_session_is_not_aborted() -> None:
    house = House()
    minted = await house.minted()
    session = await house.uploaded()
    with pytest.raises(SessionSettled):
        await house.abort(session)
    await house.pass_time(timedelta(days=2))
    with pytest.raises(SessionSettled):
        await house.abort(minted.session)  # out of date: it has expired
