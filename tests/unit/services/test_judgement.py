"""Judgement: what was not declared is no upload, late or not, and nothing is removed but our own bytes in quiet."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Checksum, Level, State
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.sessions import FOREIGN_OBJECT, quiet_at
from tests.memory_bucket import ENFORCED
from tests.unit.domain.samples import ALL_DIGESTS, digest
from tests.unit.services.house import PLACE, House, other_capsule, request_of

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
POLICY = PLACE.policy

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
