"""What was verified is gone: a job that nobody can do fails once, and everything else stays as it was."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.contract import Job, Reason, State
from broker.domain.errors import LeaseLost, ObjectGone, StoreUnavailable
from broker.domain.objects import pin_of
from broker.domain.policy import Policy
from broker.domain.sessions import GONE, OBJECT_MISSING, Session
from broker.ports import Envelope
from broker.services.revive import Revive
from tests.unit.services.house import DOOR_TOKEN, PLACE, Fuse, House, survive

HOUR = timedelta(hours=1)
NEVER_AGAIN = timedelta(days=3)


async def told(house: House, session: Session, name: str = "ObjectRemoved:Delete", *, times: int = 1) -> int:
    """Somebody says that it went. How many looks that made."""
    record = {
        "eventName": name,
        "s3": {"bucket": {"name": "acme"}, "object": {"key": session.facts.key}},
    }
    for _ in range(times):
        body = msgspec.json.encode({"Records": [record] * times})
        await house.notify("events", Envelope(headers={}, query={"token": DOOR_TOKEN}, body=body))
    return await house.looks()


def gone(house: House, session: Session) -> None:
    del house.bucket.stored[session.facts.key]
    house.bucket.older.pop(session.facts.key, None)


def notes(session: Session) -> list[tuple[State, str]]:
    return [(step.state, step.note) for step in session.history if step.note]


def reason_of(session: Session) -> str:
    assert session.facts.reason is not None
    return session.facts.reason.code


async def processed(house: House) -> Session:
    await house.uploaded()
    return await house.report(await house.leased())


async def failed(house: House) -> Session:
    await house.uploaded()
    return await house.report(await house.leased(), "failed")


async def ended_at_verified(house: House) -> Session:
    house.configure(replace(PLACE, processing="none"))
    return await house.uploaded()


ENDED: list[Callable[[House], Awaitable[Session]]] = [processed, failed, ended_at_verified]


async def infrastructure(house: House, job: Job) -> Session:
    return await house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause="infrastructure")


async def test_a_job_that_waits_fails_and_is_never_leased() -> None:
    house = House()
    session = await house.uploaded()
    gone(house, session)

    assert await told(house, session, times=3) == 1

    after = await house.session(session.id)
    assert (after.state, reason_of(after)) == (State.FAILED, OBJECT_MISSING)
    assert await house.states() == [State.PENDING, State.VERIFIED, State.FAILED]
    assert await house.is_at_rest()


@pytest.mark.parametrize(
    "name", ["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated", "LifecycleExpiration:Delete"]
)
async def test_whichever_way_it_went(name: str) -> None:
    house = House()
    session = await house.uploaded()
    gone(house, session)
    await told(house, session, name)
    assert (await house.session(session.id)).state is State.FAILED


@pytest.mark.parametrize("end", ENDED)
async def test_what_has_ended_stays_as_it_ended_with_one_line_in_its_history(
    end: Callable[[House], Awaitable[Session]],
) -> None:
    house = House()
    session = await end(house)
    before = await house.states()
    gone(house, session)

    for _ in range(3):
        await told(house, session, times=2)
        house.clock.advance(HOUR)

    after = await house.session(session.id)
    assert (after.state, after.facts.reason, after.facts.result) == (
        session.state,
        session.facts.reason,
        session.facts.result,
    )
    assert notes(after) == [(session.state, GONE)]
    assert after.timeline == session.timeline
    assert await house.states() == before
    assert await house.is_at_rest()


async def test_whoever_holds_the_lease_is_left_to_finish() -> None:
    house = House()
    session = await house.uploaded()
    job = await house.leased()
    gone(house, session)

    await told(house, session, times=2)
    during = await house.session(session.id)
    assert (during.state, notes(during)) == (State.PROCESSING, [(State.PROCESSING, GONE)])
    await house.renew(job.id, token=job.lease.token, epoch=job.lease.epoch)
    after = await house.report(job)

    assert after.state is State.PROCESSED
    assert notes(after) == [(State.PROCESSING, GONE)]
    assert [step.state for step in after.history] == [
        State.PENDING,
        State.VERIFIED,
        State.PROCESSING,
        State.PROCESSING,
        State.PROCESSED,
    ]
    assert await house.is_at_rest()


@pytest.mark.parametrize("cause", ["drain", "infrastructure", "retry"])
async def test_a_lease_that_is_given_back_is_nobodys_again(cause: str) -> None:
    house = House()
    session = await house.uploaded()
    job = await house.leased()
    gone(house, session)
    await told(house, session)

    if cause == "retry":
        await house.report(job, "retry")
    else:
        await house.release(job.id, token=job.lease.token, epoch=job.lease.epoch, cause=cause)  # type: ignore[arg-type]
    await house.looks()

    after = await house.session(session.id)
    assert (after.state, reason_of(after)) == (State.FAILED, OBJECT_MISSING)
    assert await house.is_at_rest()


async def test_without_any_event_a_consumer_who_cannot_read_is_believed_by_a_look() -> None:
    """As where a store says 403 of what is not there: the worker gives back, and would do so for ever."""
    house = House()
    session = await house.uploaded()
    gone(house, session)

    await infrastructure(house, await house.leased())
    assert await house.looks() == 1

    after = await house.session(session.id)
    assert (after.state, reason_of(after)) == (State.FAILED, OBJECT_MISSING)
    assert await house.is_at_rest()


async def test_trouble_with_a_store_that_still_has_it_fails_nothing() -> None:
    house = House()
    session = await house.uploaded()
    for _ in range(20):
        await infrastructure(house, await house.leased())
        assert await house.looks() == 1
        house.clock.advance(HOUR)

    after = await house.session(session.id)
    assert (after.state, after.attempts.failures, notes(after)) == (State.VERIFIED, 0, [])
    assert await house.ledger.next_due() is None
    assert (await house.report(await house.leased())).state is State.PROCESSED


async def test_a_store_that_does_not_answer_is_no_answer() -> None:
    house = House()
    session = await house.uploaded()
    house.bucket.trouble = StoreUnavailable("away")
    gone(house, session)
    await told(house, session)
    assert (await house.session(session.id)).state is State.VERIFIED

    house.bucket.trouble = None
    await house.pass_time(2 * PLACE.policy.longest_look_interval)
    assert (await house.session(session.id)).state is State.FAILED


@pytest.mark.parametrize("end", [House.uploaded, *ENDED])
async def test_a_forged_removal_costs_a_look_and_changes_nothing(end: Callable[[House], Awaitable[Session]]) -> None:
    house = House()
    session = await end(house)
    assert await told(house, session, times=4) == 1
    assert await house.session(session.id) == session
    assert await house.ledger.next_due() is None


async def test_a_removal_told_before_its_object_came_changes_nothing() -> None:
    house = House()
    minted = await house.minted()
    before = await house.session(minted.session.id)
    assert await told(house, before) == 0
    assert await house.session(minted.session.id) == before
    house.sent(minted)
    await house.event(minted.session.facts.key)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_a_removal_of_somebody_elses_source_or_of_no_session_is_nothing() -> None:
    house = House()
    session = await house.uploaded()
    gone(house, session)
    assert not await house.ledger.doubt(session.id, "elsewhere", now=house.clock.now())
    other = replace(session, facts=replace(session.facts, key=session.facts.key.replace(session.id, "0" * 28)))
    assert await told(house, other) == 0
    assert await house.session(session.id) == session


async def test_a_delete_marker_over_a_version_is_no_loss() -> None:
    house = House(keeps_versions=True)
    session = await house.uploaded()
    key = session.facts.key
    house.bucket.older[key] = [house.bucket.stored.pop(key)]

    await told(house, session, "ObjectRemoved:DeleteMarkerCreated")

    assert await house.session(session.id) == session
    assert (await house.report(await house.leased())).state is State.PROCESSED


async def test_another_version_may_come_and_go() -> None:
    house = House(keeps_versions=True)
    session = await house.uploaded()
    later = house.store_anyhow(session)
    await house.bucket.remove(session.facts.key, pin_of(later))
    await told(house, session)
    assert await house.session(session.id) == session

    gone(house, session)
    await told(house, session)
    assert reason_of(await house.session(session.id)) == OBJECT_MISSING


async def test_another_object_under_the_key_is_not_what_was_verified() -> None:
    house = House()
    session = await house.uploaded()
    gone(house, session)
    house.store_anyhow(session)
    await told(house, session)
    assert reason_of(await house.session(session.id)) == OBJECT_MISSING


async def test_our_own_removals_are_no_second_story() -> None:
    house = House()
    wrong, given_up = await house.minted(), await house.minted()
    house.sent(wrong, b"too short")
    await house.looks()
    house.sent(given_up)
    await house.abort(await house.session(given_up.session.id))
    for minted in (wrong, given_up):
        house.clock.advance(HOUR)
        await house.event(minted.session.facts.key)
    await house.pass_time(NEVER_AGAIN)
    kept = await house.uploaded()
    await house.erase(kept)
    ids = (wrong.session.id, given_up.session.id, kept.id)
    before = [(await house.session(each)).history for each in ids]
    assert not house.bucket.stored

    for each in ids:
        await told(house, await house.session(each), times=3)
        await house.pass_time(NEVER_AGAIN)

    assert [(await house.session(each)).history for each in ids] == before
    assert await house.is_at_rest()


async def test_a_lease_that_begins_while_the_store_is_asked_is_not_taken_away() -> None:
    house = House()
    session = await house.uploaded()
    gone(house, session)
    jobs: list[Job] = []

    async def lease() -> None:
        jobs.extend(await house.lease(1, worker="w", wait=timedelta(0)))
        house.bucket.after_head = nothing

    async def nothing() -> None: ...

    house.bucket.after_head = lease
    await told(house, session)
    assert (await house.session(session.id)).state is State.PROCESSING

    await house.pass_time(timedelta(seconds=31))
    assert notes(await house.session(session.id)) == [(State.PROCESSING, GONE)]
    assert (await house.report(jobs[0])).state is State.PROCESSED


async def test_a_lease_that_ran_out_is_taken_over_and_ends_by_the_consumers_word() -> None:
    house = House()
    session = await house.uploaded()
    old = await house.leased()
    gone(house, session)
    await told(house, session)
    house.clock.advance(HOUR)
    job = await house.leased()
    with pytest.raises(LeaseLost):
        await house.report(old)
    after = await house.report(job, "failed", reason=Reason(code=OBJECT_MISSING, message="not there"))
    await told(house, session)
    final = await house.session(session.id)
    assert (final.state, final.history) == (State.FAILED, after.history)


async def test_an_operator_gets_the_job_back_only_with_its_object() -> None:
    house = House()
    session = await house.uploaded()
    lost = house.bucket.stored[session.facts.key]
    gone(house, session)
    await told(house, session)
    revive = Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)
    with pytest.raises(ObjectGone):
        await revive(session.id)

    house.bucket.stored[session.facts.key] = lost  # from a backup, byte for byte
    assert (await revive(session.id)).state is State.VERIFIED
    assert (await house.report(await house.leased())).state is State.PROCESSED


async def test_what_is_brought_back_and_lost_again_fails_again() -> None:
    house = House()
    session = await house.uploaded()
    lost = house.bucket.stored[session.facts.key]
    revive = Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)
    for _ in range(2):
        gone(house, session)
        await told(house, session)
        assert reason_of(await house.session(session.id)) == OBJECT_MISSING
        house.bucket.stored[session.facts.key] = lost
        await revive(session.id)


async def test_a_version_under_a_delete_marker_can_be_tried_again() -> None:
    house = House(keeps_versions=True)
    session = await failed(house)
    key = session.facts.key
    house.bucket.older[key] = [house.bucket.stored.pop(key)]
    revive = Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)
    assert (await revive(session.id)).state is State.VERIFIED


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("burns_at", range(1, 6))
async def test_whoever_dies_meanwhile_it_fails_once(burns_at: int, is_answer_lost: bool) -> None:
    house = House()
    session = await house.uploaded()
    gone(house, session)
    house.fuse.burns_at, house.fuse.is_answer_lost = house.fuse.calls + burns_at, is_answer_lost

    await survive(house, lambda: told(house, session))
    await house.pass_time(NEVER_AGAIN)

    after = await house.session(session.id)
    assert (after.state, reason_of(after), notes(after)) == (State.FAILED, OBJECT_MISSING, [])
    assert await house.states() == [State.PENDING, State.VERIFIED, State.FAILED]


async def act_on(house: House, act: str, session: Session, held: Job | None) -> None:
    """One step of whoever is about: the bucket and its owner, a consumer, a looker, an operator, time."""
    key, state = session.facts.key, (await house.session(session.id)).state
    if act == "told":
        await told(house, session, times=2)
    elif act == "lose":
        house.bucket.stored.pop(key, None)
    elif act == "expire":
        house.clock.advance(HOUR)
    elif act == "look":
        await house.looks()
    elif act == "revive" and state is State.FAILED and key in house.bucket.stored:
        await Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)(session.id)
    elif act == "infrastructure" and held:
        await infrastructure(house, held)
    elif act in {"processed", "retry"} and held:
        await house.report(held, act)


ACTS = ["told", "lose", "restore", "lease", "processed", "infrastructure", "retry", "expire", "look", "revive"]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(ACTS), max_size=14))
async def test_whatever_happens_in_whatever_order_no_lease_is_lost_and_nothing_told_twice(acts: list[str]) -> None:
    """A fence holds, at most one line tells of a loss, and what the store still has never fails for being missing."""
    house = House(replace(PLACE, policy=Policy(max_failures=100)), fuse=Fuse())
    session = await house.uploaded()
    kept = house.bucket.stored[session.facts.key]
    jobs: list[Job] = []
    for number, act in enumerate(acts):
        is_held = (await house.session(session.id)).state is State.PROCESSING
        if act == "restore":
            house.bucket.stored[session.facts.key] = kept
        elif act == "lease":
            jobs += await house.lease(1, worker="w", wait=timedelta(0))
        else:
            await act_on(house, act, session, jobs[-1] if jobs and is_held else None)
        after, was_lost = await house.session(session.id), "lose" in acts[: number + 1]
        if is_held and act in {"told", "look", "lose"}:
            assert after.state is State.PROCESSING, "who holds the lease is left to finish"
        if after.state is State.FAILED:
            assert reason_of(after) == OBJECT_MISSING
        assert was_lost or (not notes(after) and after.state is not State.FAILED)
        assert len(notes(after)) <= 1
        assert [step.at for step in after.history] == sorted(step.at for step in after.history)
