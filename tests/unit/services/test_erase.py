"""Erasing while others read, work, send again and die: the bytes go, nobody else's do, and no result is accepted."""

from contextlib import suppress
from datetime import timedelta

import msgspec
import pytest
from msgspec.structs import replace

from broker.contract import State
from broker.domain.errors import (
    LeaseLost,
    LedgerUnavailable,
    ObjectErased,
    SessionNotVerified,
    SessionSettled,
    StoreUnavailable,
    UnknownDestination,
)
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.sessions import Session
from tests.memory_bucket import JUDGED
from tests.unit.services.house import HOLD, PLACE, Crash, Fuse, House, report_of, request_of, survive

KEEPING = replace(PLACE, on_reject="keep")
DAY = timedelta(days=1)


async def wiped(house: House, session: Session) -> Session:
    """Nothing of it is left, nothing else was touched, and nobody will look again."""
    now = await house.session(session.id)
    assert session.facts.key not in house.bucket.stored
    assert now.facts.erased_at is not None
    assert now.facts.is_removed
    assert await house.is_at_rest()
    return now


@pytest.mark.parametrize("versions", [False, True], ids=["plain", "versioned"])
async def test_a_processed_object_is_gone_at_once_and_its_record_stays(versions: bool) -> None:
    house = House(keeps_versions=versions)
    session, other = await house.uploaded(), await house.uploaded()
    for _ in range(2):
        await house.report((await house.lease(1, worker="w", wait=timedelta(0)))[0], result=msgspec.Raw(b'{"rows": 3}'))
    session = await house.session(session.id)
    after = await house.erase(session)
    assert (after.state, after.facts.is_removed, after.facts.result) == (State.PROCESSED, True, b'{"rows": 3}')
    assert [*house.bucket.stored] == [other.facts.key]
    for read in (house.read, house.read.as_redirect):
        with pytest.raises(ObjectErased):
            await read(after)
    assert (await house.erase(after)).facts.erased_at == after.facts.erased_at  # again, and nothing happens
    await house.pass_time(DAY)
    await wiped(house, session)
    assert (await house.states()).count(State.FAILED) == 0


async def test_a_waiting_job_has_failed_and_is_leased_to_nobody() -> None:
    house = House()
    after = await house.erase(await house.uploaded())
    assert (after.state, after.facts.reason and after.facts.reason.code) == (State.FAILED, "erased")
    assert await house.lease(10, worker="w", wait=timedelta(0)) == []
    assert (await house.states())[-1] is State.FAILED


@pytest.mark.parametrize("outcome", ["processed", "failed", "retry", "rejected"])
async def test_a_consumer_at_work_has_lost_its_lease(outcome: str) -> None:
    house = House()
    session = await house.uploaded()
    job = await house.leased()
    await house.erase(await house.session(session.id))
    for refused in (
        house.finish(job.id, report_of(job, outcome)),
        house.renew(job.id, token=job.lease.token, epoch=job.lease.epoch),
        house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause="drain"),
    ):
        with pytest.raises(LeaseLost):
            await refused
    await house.pass_time(DAY)
    assert (await wiped(house, session)).state is State.FAILED


async def test_a_report_that_was_accepted_before_is_still_acknowledged() -> None:
    house = House()
    session = await house.uploaded()
    job = await house.leased()
    await house.report(job, "failed")
    await house.erase(await house.session(session.id))
    assert (await house.report(job, "failed")).state is State.FAILED


async def test_rejected_bytes_that_were_kept_are_erased() -> None:
    house = House(KEEPING, guarantees=JUDGED)
    minted = await house.minted()
    house.sent(minted, b"too short")
    await house.event(minted.session.facts.key)
    await house.looks()
    session = await house.session(minted.session.id)
    assert session.state is State.REJECTED
    await house.pass_time(DAY)
    assert session.facts.key in house.bucket.stored
    await house.erase(await house.session(session.id))
    await wiped(house, session)


async def test_what_cannot_be_erased_is_refused_and_stays() -> None:
    house = House()
    pending = (await house.minted()).session
    with pytest.raises(SessionNotVerified):
        await house.erase(pending)
    aborted = await house.abort(pending)
    with pytest.raises(SessionSettled):
        await house.erase(aborted)
    session = await house.uploaded()
    house.buckets.clear()
    with pytest.raises(UnknownDestination):
        await house.erase(session)
    assert await house.session(session.id) == session


async def test_while_the_store_is_away_it_is_promised_and_done_later() -> None:
    house = House()
    session = await house.uploaded()
    house.bucket.trouble = StoreUnavailable()
    after = await house.erase(session)
    assert after.facts.erased_at is not None
    assert not after.facts.is_removed
    with pytest.raises(ObjectErased):
        await house.read(after)
    await house.pass_time(timedelta(minutes=5))
    assert session.facts.key in house.bucket.stored
    house.bucket.trouble = None
    await house.pass_time(DAY)
    await wiped(house, session)


async def test_a_signed_request_that_still_lives_brings_nothing_back() -> None:
    """Create-only holds while the object is there: after its removal the URL works once more."""
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key)
    await house.looks()
    await house.erase(await house.session(minted.session.id))
    house.bucket.send(request_of(minted.upload))
    assert minted.session.facts.key in house.bucket.stored
    await house.event(minted.session.facts.key)
    await house.pass_time(DAY)
    session = await wiped(house, minted.session)
    assert session.state is State.FAILED
    assert (await house.states()).count(State.VERIFIED) == 1


async def test_somebody_elses_object_under_the_key_stays() -> None:
    house = House()
    session = await house.uploaded()
    del house.bucket.stored[session.facts.key]
    house.bucket.store(session.facts.key, size_bytes=7, metadata={CAPSULE_FIELD: "forged"})
    after = await house.erase(session)
    assert after.facts.is_removed  # what was verified is gone
    await house.pass_time(DAY)
    assert session.facts.key in house.bucket.stored
    assert house.bucket.removed == []


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["dies before", "answer lost"])
@pytest.mark.parametrize("state", [State.VERIFIED, State.PROCESSING, State.PROCESSED])
async def test_a_death_at_any_call_only_repeats_work(state: State, is_answer_lost: bool) -> None:
    """The client asks again or not at all: once the ledger knows, the bytes go; before that, nothing has happened."""
    calls = await _life(Fuse(), state, asks_again=True)
    assert calls > 4
    for burns_at in range(1, calls + 1):
        for asks_again in (False, True):
            await _life(Fuse(burns_at=burns_at, is_answer_lost=is_answer_lost), state, asks_again=asks_again)


async def _life(fuse: Fuse, state: State, *, asks_again: bool) -> int:
    house = House()
    session = await house.uploaded()
    if state is not State.VERIFIED:
        job = await house.leased()
        if state is State.PROCESSED:
            await house.report(job)
    session = await house.session(session.id)
    for name in ("burns_at", "is_answer_lost"):
        setattr(house.fuse, name, getattr(fuse, name))
    house.fuse.calls = 0
    tried = await survive(house, lambda: house.erase(session)) if asks_again else await _once(house, session)
    current = await house.session(session.id)
    if current.facts.erased_at is None:
        assert not asks_again
        assert tried is None
        assert current == session
        assert session.facts.key in house.bucket.stored
        return house.fuse.calls
    for _ in range(200):
        await survive(house, house.looks)
        following = await house.ledger.next_due()
        if following is None:
            break
        house.clock.advance_to(max(following, house.clock.now() + HOLD))
    current = await wiped(house, session)
    assert current.state is (State.PROCESSED if state is State.PROCESSED else State.FAILED)
    assert (await house.states()).count(State.FAILED) == (state is not State.PROCESSED)
    assert house.bucket.removed == [session.facts.key]
    return house.fuse.calls


async def _once(house: House, session: Session) -> Session | None:
    with suppress(Crash, LedgerUnavailable):
        return await house.erase(session)
    return None
