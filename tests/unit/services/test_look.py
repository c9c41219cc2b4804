"""Look: HEAD is the truth, everything else is a hint, and nothing is removed but our own bytes in quiet."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Checksum, Level, State
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable, Unavailable
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.policy import Policy, grace
from broker.domain.sessions import FOREIGN_OBJECT, quiet_at
from tests.memory_bucket import ENFORCED
from tests.unit.domain.samples import ALL_DIGESTS, digest
from tests.unit.services.house import APP, HOLD, PLACE, WISH, House, request_of

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
POLICY = PLACE.policy


async def test_an_upload_is_seen_judged_and_made_a_job() -> None:
    house = House()
    session = await house.uploaded()
    assert session.state is State.VERIFIED
    assert session.facts.stored is not None
    assert session.facts.stored.etag == house.bucket.stored[session.facts.key].etag
    assert await house.ledger.next_due() is None
    assert (await house.leased()).id == session.id


async def test_a_lost_event_costs_only_time() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.pass_time(POLICY.first_look)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_doubled_and_late_events_change_nothing() -> None:
    house = House()
    session = await house.uploaded()
    heads = len(house.bucket.heads)
    for _ in range(3):
        await house.event(session.facts.key)
    assert await house.looks() == 0
    assert len(house.bucket.heads) == heads
    job = await house.leased()
    await house.event(session.facts.key)
    await house.report(job)
    await house.event(session.facts.key)
    assert await house.looks() == 0
    assert await house.states() == [State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED]


async def test_an_early_event_is_not_believed() -> None:
    house = House()
    minted = await house.minted()
    await house.event(minted.session.facts.key)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.PENDING


async def test_looks_at_nothing_double_and_stop_when_no_request_lives_any_more() -> None:
    house = House()
    minted = await house.minted()
    moments = []
    house.bucket.before_head = lambda: _note(moments, house.clock.now() - minted.session.facts.created_at)
    await house.pass_time(timedelta(hours=23))
    assert [at.total_seconds() for at in moments[:7]] == [2, 4, 8, 16, 32, 64, 124]
    quiet = quiet_at(minted.session, POLICY, minted.session.facts.created_at) - minted.session.facts.created_at
    assert quiet - MINUTE <= moments[-1] <= quiet + MINUTE
    assert len(moments) < 30


async def _note(moments: list[timedelta], moment: timedelta) -> None:
    moments.append(moment)


async def test_what_never_came_expires_after_its_grace_and_a_last_head() -> None:
    house = House()
    minted = await house.minted()
    end = minted.session.facts.expires_at + grace(POLICY, 12)
    await house.pass_time(end - house.clock.now() - timedelta(milliseconds=1))
    assert (await house.session(minted.session.id)).state is State.PENDING
    heads = len(house.bucket.heads)
    await house.pass_time(timedelta(milliseconds=1))
    assert (await house.session(minted.session.id)).state is State.EXPIRED
    assert len(house.bucket.heads) == heads + 1
    assert await house.is_at_rest()


async def test_bytes_that_came_in_the_last_moment_are_found_without_an_event() -> None:
    house = House()
    minted = await house.minted()
    await house.pass_time(POLICY.deadline - MINUTE)
    _, upload = await house.remint(await house.session(minted.session.id))
    await house.pass_time(timedelta(seconds=59))
    house.bucket.send(request_of(upload))
    await house.pass_time(timedelta(hours=1))
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_an_answer_from_before_the_deadline_expires_nothing() -> None:
    """The object lands while HEAD travels over the deadline."""
    house = House()
    minted = await house.minted()
    end = minted.session.facts.expires_at + grace(POLICY, 12)
    house.clock.advance_to(end - timedelta(seconds=1))

    async def slow() -> None:
        house.clock.advance(timedelta(seconds=2))

    house.bucket.after_head = slow
    await house.event(minted.session.facts.key)
    [due] = await house.ledger.claim(1, now=house.clock.now(), hold=HOLD)
    looked = await house.look(due)
    assert looked is not None
    assert looked.state is State.PENDING


# --- late arrivals


async def expired(house: House) -> tuple[str, str]:
    minted = await house.minted()
    sealed = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
    await house.pass_time(POLICY.deadline + timedelta(hours=1))
    assert (await house.session(minted.session.id)).state is State.EXPIRED
    key = minted.session.facts.key
    house.bucket.store(key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: sealed})
    return minted.session.id, key


async def test_late_bytes_are_accepted() -> None:
    house = House()
    session_id, key = await expired(house)
    await house.event(key)
    await house.looks()
    session = await house.session(session_id)
    assert (session.state, session.facts.reason) == (State.VERIFIED, None)
    await house.report(await house.leased())
    assert [step.state for step in (await house.session(session_id)).timeline] == [
        State.PENDING,
        State.EXPIRED,
        State.VERIFIED,
        State.PROCESSING,
        State.PROCESSED,
    ]


@pytest.mark.parametrize("on_reject", ["delete", "keep"])
async def test_late_bytes_are_removed_where_they_are_unwelcome(on_reject: str) -> None:
    house = House(replace(PLACE, late="remove", on_reject=on_reject))
    session_id, key = await expired(house)
    await house.event(key)
    await house.looks()
    assert house.bucket.removed == [key]
    assert (await house.session(session_id)).state is State.EXPIRED
    assert await house.is_at_rest()


@pytest.mark.parametrize(("on_reject", "removed"), [("delete", 1), ("keep", 0)])
async def test_late_bytes_that_are_wrong_are_no_upload(on_reject: str, removed: int) -> None:
    house = House(replace(PLACE, on_reject=on_reject))
    session_id, key = await expired(house)
    house.bucket.tamper(key, size_bytes=13)
    await house.event(key)
    await house.looks()
    assert (await house.session(session_id)).state is State.EXPIRED
    assert len(house.bucket.removed) == removed
    assert await house.is_at_rest()


@pytest.mark.parametrize("late", ["accept", "remove"])
async def test_late_bytes_that_are_not_ours_are_left_alone(late: str) -> None:
    house = House(replace(PLACE, late=late))
    session_id, key = await expired(house)
    house.bucket.store(key, size_bytes=12, content_type="text/csv")
    await house.event(key)
    await house.looks()
    assert (await house.session(session_id)).state is State.EXPIRED
    assert key in house.bucket.stored
    assert await house.is_at_rest()


# --- judgement


MISMATCHES = [
    ({"size_bytes": 13}, "size-mismatch"),
    ({"size_bytes": 0}, "size-mismatch"),
    ({"content_type": "text/html"}, "content-type-mismatch"),
    ({"checksum": Checksum(md5=digest("md5", 9))}, "checksum-mismatch"),
]


@pytest.mark.parametrize(("changes", "code"), MISMATCHES)
async def test_what_was_not_declared_is_rejected_at_once_and_removed_in_quiet(
    changes: dict[str, object], code: str
) -> None:
    house = House()
    minted = await house.minted(checksum=ALL_DIGESTS)
    house.sent(minted)
    key = minted.session.facts.key
    house.bucket.tamper(key, **changes)
    await house.event(key)
    await house.looks()
    session = await house.session(minted.session.id)
    assert session.state is State.REJECTED
    assert session.facts.reason is not None
    assert session.facts.reason.code == code
    quiet = quiet_at(session, POLICY, house.clock.now())
    await house.pass_time(quiet - house.clock.now() - timedelta(milliseconds=1))
    assert key in house.bucket.stored
    await house.pass_time(timedelta(milliseconds=1))
    assert house.bucket.removed == [key]
    assert (await house.session(session.id)).facts.is_removed
    assert await house.states() == [State.PENDING, State.REJECTED]
    assert await house.is_at_rest()


async def test_rejected_bytes_may_be_kept() -> None:
    house = House(replace(PLACE, on_reject="keep"))
    minted = await house.minted()
    house.sent(minted, b"other than declared")
    await house.event(minted.session.facts.key)
    await house.looks()
    await house.event(minted.session.facts.key)
    await house.pass_time(DAY)
    assert (await house.session(minted.session.id)).state is State.REJECTED
    assert house.bucket.removed == []
    assert await house.is_at_rest()


@pytest.mark.parametrize("on_reject", ["delete", "keep"])
async def test_bytes_that_the_consumer_rejects_go_the_same_way(on_reject: str) -> None:
    house = House(replace(PLACE, on_reject=on_reject))
    session = await house.uploaded()
    await house.report(await house.leased(), "rejected")
    await house.pass_time(DAY)
    assert (await house.session(session.id)).state is State.REJECTED
    assert house.bucket.removed == ([session.facts.key] if on_reject == "delete" else [])
    assert await house.is_at_rest()


async def other_capsule(house: House) -> str:
    other = await house.minted()
    return request_of(other.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]


@pytest.mark.parametrize("capsule", ["", "garbage", "other"])
async def test_a_foreign_object_is_rejected_and_never_deleted(capsule: str) -> None:
    house = House(guarantees=replace(ENFORCED, create_only=Level.AT_HEAD))
    minted = await house.minted()
    sealed = await other_capsule(house) if capsule == "other" else capsule
    key = minted.session.facts.key
    house.bucket.store(key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: sealed} if sealed else {})
    await house.event(key)
    await house.looks()
    session = await house.session(minted.session.id)
    assert session.state is State.REJECTED
    assert session.facts.reason is not None
    assert session.facts.reason.code == FOREIGN_OBJECT
    await house.event(key)
    await house.pass_time(3 * DAY)
    assert key in house.bucket.stored
    assert house.bucket.removed == []


# --- abort


async def test_bytes_that_come_after_an_abort_are_removed_in_quiet_even_if_their_event_is_lost() -> None:
    house = House()
    minted = await house.minted()
    await house.abort(minted.session)
    await house.event(minted.session.facts.key)  # too early: nothing is there yet
    await house.looks()
    house.clock.advance(MINUTE)
    house.sent(minted)
    await house.pass_time(timedelta(minutes=10))
    assert house.bucket.removed == []
    await house.pass_time(timedelta(hours=1))
    assert house.bucket.removed == [minted.session.facts.key]
    assert (await house.session(minted.session.id)).state is State.ABORTED
    assert await house.is_at_rest()


async def test_an_abort_without_bytes_comes_to_rest() -> None:
    house = House()
    minted = await house.minted()
    await house.abort(minted.session)
    assert (await house.abort(minted.session)).state is State.ABORTED
    await house.pass_time(DAY)
    assert await house.states() == [State.PENDING, State.ABORTED]
    assert await house.is_at_rest()


async def test_bytes_that_change_before_their_removal_are_looked_at_again() -> None:
    house = House(guarantees=replace(ENFORCED, create_only=Level.AT_HEAD))
    minted = await house.minted()
    await house.abort(minted.session)
    house.sent(minted)
    key, changes = minted.session.facts.key, [1, 2]

    async def overwrite() -> None:
        if changes:
            changes.pop()
            house.bucket.tamper(key, etag=f"other{len(changes)}")

    house.bucket.after_head = overwrite
    await house.pass_time(timedelta(hours=1))
    assert house.bucket.removed == [key]
    assert not changes


# --- trouble


TROUBLES = [StoreUnavailable(), StoreRefused(), CredentialsUnavailable()]


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.code)
async def test_trouble_with_the_store_is_no_answer(trouble: Unavailable) -> None:
    house = House(replace(PLACE, policy=Policy(deadline=timedelta(minutes=30))))
    minted = await house.minted()
    house.bucket.trouble = trouble
    await house.pass_time(timedelta(hours=1))
    assert (await house.session(minted.session.id)).state is State.PENDING
    house.bucket.trouble = None
    key = minted.session.facts.key
    capsule = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
    house.bucket.store(key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: capsule})
    await house.pass_time(MINUTE)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


@pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: trouble.code)
async def test_trouble_during_a_removal_puts_it_off(trouble: Unavailable) -> None:
    house = House()
    minted = await house.minted()
    await house.abort(minted.session)
    house.sent(minted)

    async def fail_after_head() -> None:
        house.bucket.trouble = trouble

    house.bucket.after_head = fail_after_head
    await house.pass_time(timedelta(hours=1))
    assert house.bucket.removed == []

    async def nothing() -> None:
        return

    house.bucket.after_head, house.bucket.trouble = nothing, None
    await house.pass_time(MINUTE)
    assert house.bucket.removed == [minted.session.facts.key]


async def test_a_destination_that_is_not_configured_here_is_left_to_another_process() -> None:
    """A rolling deploy: the old process claims a look of a destination that only the new one knows."""
    house = House()
    minted = await house.minted()
    house.sent(minted)
    bucket = house.buckets.pop("default")
    await house.pass_time(timedelta(minutes=5))
    assert (await house.session(minted.session.id)).state is State.PENDING
    house.buckets["default"] = bucket
    await house.pass_time(MINUTE)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


# --- races


async def race(house: House, meanwhile: Callable[[], Awaitable[object]]) -> None:
    """One look, during whose HEAD something else happens: it tells what stands, not what it wanted."""
    is_first = True

    async def once() -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            await meanwhile()

    house.bucket.after_head = once
    [due] = await house.ledger.claim(1, now=house.clock.now(), hold=HOLD)
    assert await house.look(due) == await house.session(due.id)


async def test_a_hint_during_a_head_is_not_lost() -> None:
    """The object lands just after HEAD looked, its event comes before the looker puts the session off."""
    house = House()
    minted = await house.minted()

    async def arrives() -> None:
        house.sent(minted)
        await house.event(minted.session.facts.key)

    await house.event(minted.session.facts.key)
    await race(house, arrives)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_an_abort_during_a_head_wins_and_the_bytes_go_in_quiet() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key)
    await race(house, lambda: house.abort(minted.session))
    assert await house.states() == [State.PENDING, State.ABORTED]
    await house.pass_time(DAY)
    assert house.bucket.removed == [minted.session.facts.key]


async def test_minting_again_during_a_head_loses_nothing() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key)
    await race(house, lambda: house.remint(minted.session))
    await house.pass_time(POLICY.first_look)
    assert await house.states() == [State.PENDING, State.VERIFIED]


async def test_two_lookers_settle_once() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    first, second = [], []
    for found in (first, second):
        await house.event(minted.session.facts.key)
        found.extend(await house.ledger.claim(10, now=house.clock.now(), hold=HOLD))
        house.clock.advance(timedelta(milliseconds=1))
    barrier = asyncio.Barrier(2)

    async def together() -> None:
        await asyncio.wait_for(barrier.wait(), 5)

    house.bucket.after_head = together
    seen = await asyncio.gather(house.look(first[0]), house.look(second[0]))
    assert [session.state for session in seen if session] == [State.VERIFIED] * 2
    assert await house.states() == [State.PENDING, State.VERIFIED]
    await house.leased()
    assert await house.lease(10, worker="w", wait=timedelta(0)) == []


async def test_the_client_that_says_it_is_done_is_told_at_once_and_looked_at_once_a_second() -> None:
    house = House()
    minted = await house.minted()
    assert (await house.complete(minted.session)).state is State.PENDING
    house.sent(minted)
    assert (await house.complete(minted.session)).state is State.PENDING  # within the same second
    assert len(house.bucket.heads) == 1
    house.clock.advance(timedelta(seconds=1))
    assert (await house.complete(minted.session)).state is State.VERIFIED
    assert (await house.complete(await house.session(minted.session.id))).state is State.VERIFIED
    assert len(house.bucket.heads) == 2


async def test_a_hint_of_a_client_during_trouble_is_answered_with_the_state() -> None:
    house = House()
    minted = await house.minted()
    house.bucket.trouble = StoreUnavailable()
    assert (await house.complete(minted.session)).state is State.PENDING


async def test_a_notification_without_the_secret_or_about_another_bucket_moves_nothing() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    await house.event(minted.session.facts.key, bucket="other")
    with pytest.raises(Exception, match="secret"):
        await house.event(minted.session.facts.key, token="guess")
    assert await house.looks() == 0


# --- adoption


async def test_an_upload_whose_session_the_ledger_lost_is_adopted_and_processed_once() -> None:
    house = House()
    minted = await house.minted(
        checksum=ALL_DIGESTS, owner="user-17", batch="b", metadata={"case": "17"}, object_metadata={"mtime": "1"}
    )
    house.sent(minted)
    house.lose_ledger()
    for _ in range(3):
        await house.event(minted.session.facts.key)
        await house.looks()
    adopted = await house.session(minted.session.id)
    assert adopted.state is State.VERIFIED
    before = minted.session.facts
    assert (adopted.facts.principal, adopted.facts.owner, adopted.facts.batch) == ("app", "user-17", "b")
    assert (adopted.facts.spec, adopted.facts.metadata) == (before.spec, before.metadata)
    assert (adopted.facts.created_at, adopted.facts.expires_at) == (before.created_at, before.expires_at)
    await house.report(await house.leased())
    assert await house.states() == [State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED]
    assert await house.is_at_rest()


async def test_an_adopted_session_is_judged_like_any_other() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted, b"too many bytes for that")
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    await house.looks()
    assert (await house.session(minted.session.id)).state is State.REJECTED


async def test_two_lookers_adopt_once() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    claims = []
    for _ in range(2):
        await house.event(minted.session.facts.key)
        claims += await house.ledger.claim(10, now=house.clock.now(), hold=HOLD)
        house.clock.advance(timedelta(milliseconds=1))
    await asyncio.gather(*(house.look(due) for due in claims))
    await house.looks()
    assert await house.states() == [State.PENDING, State.VERIFIED]


async def test_what_may_have_been_processed_and_forgotten_is_not_adopted() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    house.clock.advance(POLICY.retention)
    await house.event(minted.session.facts.key)
    await house.looks()
    assert await house.ledger.get(minted.session.id) is None
    assert await house.is_at_rest()


async def test_a_record_lives_at_least_as_long_as_its_capsule_could_bring_it_back() -> None:
    house = House()
    session = await house.uploaded()
    await house.report(await house.leased())
    house.clock.advance_to(session.facts.created_at + POLICY.retention - timedelta(milliseconds=1))
    assert await house.ledger.get(session.id) is not None


async def unknown(house: House, key: str, capsule: str) -> None:
    house.lose_ledger()
    house.bucket.store(
        key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: capsule} if capsule else {}
    )
    await house.event(key)
    await house.looks()
    assert await house.events() == []
    assert key in house.bucket.stored
    assert house.bucket.removed == []
    assert await house.is_at_rest()


@pytest.mark.parametrize("capsule", ["", "garbage", "copied"])
async def test_an_unknown_object_without_a_capsule_of_its_own_is_untouched(capsule: str) -> None:
    house = House()
    minted = await house.minted()
    sealed = await other_capsule(house) if capsule == "copied" else capsule
    await unknown(house, minted.session.facts.key, sealed)


async def test_a_capsule_copied_to_another_name_of_the_same_session_is_nothing() -> None:
    house = House()
    minted = await house.minted()
    sealed = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
    await unknown(house, minted.session.facts.key.replace("report", "other"), sealed)


async def test_an_unknown_object_that_is_gone_is_forgotten() -> None:
    house = House()
    minted = await house.minted()
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    assert await house.looks() == 1
    assert await house.is_at_rest()


async def test_trouble_during_an_adoption_puts_it_off() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    house.bucket.trouble = StoreUnavailable()
    await house.looks()
    house.bucket.trouble = None
    await house.pass_time(timedelta(seconds=5))
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_a_stray_of_a_destination_that_is_not_configured_here_is_left_to_another_process() -> None:
    house = House()
    minted = await house.minted()
    house.sent(minted)
    house.lose_ledger()
    await house.event(minted.session.facts.key)
    bucket = house.buckets.pop("default")
    await house.looks()
    house.buckets["default"] = bucket
    await house.pass_time(MINUTE)
    assert (await house.session(minted.session.id)).state is State.VERIFIED


async def test_a_destination_without_processing_ends_verified() -> None:
    house = House(replace(PLACE, processing="none"))
    session = await house.uploaded()
    assert session.state is State.VERIFIED
    assert await house.is_at_rest()
    assert (await house.mint(APP, WISH)).session.state is State.PENDING
