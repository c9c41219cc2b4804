"""A sweep deletes what a tombstone permits and nothing else, however little the ledger knows, whoever else is at it."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from broker.contract import Guarantees, Level, State
from broker.domain.capsule import capsule_of
from broker.domain.errors import StoreMismatch, StoreUnavailable
from broker.domain.keys import new_session_id
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.policy import Destination
from broker.domain.sessions import Change, Session, quiet_at, tombstone_of
from broker.domain.tombstones import OUTLIVES
from broker.services import sweep as module
from broker.services.findings import Finding
from broker.services.sweep_report import SweepReport
from tests.unit.services.house import PLACE, WISH, Fuse, House, survive
from tests.unit.services.parts import minted_in_parts

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
RETENTION = PLACE.policy.retention
KEEPING, REFUSING = replace(PLACE, on_reject="keep"), replace(PLACE, late="remove")
OVERWRITING = replace(PLACE, policy=replace(PLACE.policy, require=("size",)))
UNCONDITIONAL = Guarantees(
    size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.NONE, checksum=Level.ENFORCED
)


async def opened(place: Destination = PLACE, **more: Any) -> House:
    """A house whose ledger and bucket know each other."""
    house = House(place, **more)
    await house.mark()
    return house


async def swept(house: House, *, at_most: float = module.AT_MOST) -> SweepReport:
    return await house.sweep(house.buckets[PLACE.name], house.broom, at_most=at_most)


async def looked_over(house: House) -> SweepReport:
    return await house.sweep(house.buckets[PLACE.name], None)


async def aborted_with_late_bytes(house: House, count: int = 1) -> list[Session]:
    """Bytes that came after the last look at their aborted sessions, and whose events were lost."""
    minted = [await house.minted() for _ in range(count)]
    sessions = [await house.abort(each.session) for each in minted]
    await house.pass_time(DAY)
    for each in minted:
        house.store_anyhow(each.session)
    return sessions


async def live_objects(house: House, count: int) -> None:
    for _ in range(count):
        house.store_anyhow((await house.minted()).session)


async def forgotten(house: House) -> None:
    """Records go, tombstones stand."""
    await house.pass_time(RETENTION + DAY)


def written(house: House, key: str, at: datetime) -> None:
    house.bucket.tamper(key, last_modified=at)


# --- what goes


async def test_late_bytes_of_an_aborted_session_whose_event_was_lost_go() -> None:
    house = await opened()
    (session,) = await aborted_with_late_bytes(house)

    report = await swept(house)

    assert house.bucket.removed == [session.facts.key]
    assert (report.removable.objects, report.removed.objects, report.removed.size_bytes) == (1, 1, WISH.size_bytes)
    assert (await house.session(session.id)).facts.is_removed
    assert (await swept(house)).listed.objects == 0


async def test_they_go_by_their_tombstone_when_their_record_is_forgotten() -> None:
    house = await opened()
    (session,) = await aborted_with_late_bytes(house)
    await forgotten(house)
    assert await house.ledger.get(session.id) is None

    report = await swept(house)

    assert house.bucket.removed == [session.facts.key]
    assert report.removed.objects == 1


async def test_when_the_tombstone_is_forgotten_too_they_stay_for_ever() -> None:
    house = await opened()
    (session,) = await aborted_with_late_bytes(house)
    await forgotten(house)
    await house.pass_time(OUTLIVES)

    report = await swept(house)

    assert house.bucket.removed == []
    assert session.facts.key in house.bucket.stored
    assert report.forgotten.objects == 1


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["with a record", "with a tombstone alone"])
async def test_what_its_owner_erased_goes_however_it_came_back(is_forgotten: bool) -> None:
    house = await opened(KEEPING)
    session = await house.uploaded()
    await house.erase(session)
    await house.pass_time(DAY)
    if is_forgotten:
        await forgotten(house)
    house.store_anyhow(session)

    report = await swept(house)

    assert session.facts.key not in house.bucket.stored
    assert report.removed.objects == 1


async def test_nothing_goes_before_the_last_signed_request_is_over() -> None:
    house = await opened()
    minted = await house.minted()
    session = await house.abort(minted.session)
    house.sent(minted)
    assert (await swept(house)).kept.objects == 1
    assert house.bucket.removed == []

    house.clock.advance_to(quiet_at(session, PLACE.policy, house.clock.now()))

    assert (await swept(house)).removed.objects == 1


async def test_a_dry_run_changes_nothing_and_says_what_a_wet_one_would_do() -> None:
    house = await opened()
    await aborted_with_late_bytes(house)
    lost = await house.uploaded()
    await house.forget(lost)
    before, looks = dict(house.bucket.stored), len(house.bucket.heads)

    report = await looked_over(house)

    assert report.is_dry_run
    assert (report.removable.objects, report.unknown.objects, report.removed.objects) == (1, 1, 0)
    assert house.bucket.stored == before
    assert len(house.bucket.heads) == looks
    assert await house.ledger.get(lost.id) is None


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["with a record", "with a tombstone alone"])
async def test_older_versions_of_a_rejected_key_go_too(is_forgotten: bool) -> None:
    """Where a store cannot create only, one signed request may have been sent twice."""
    house = await opened(OVERWRITING, guarantees=UNCONDITIONAL, keeps_versions=True)
    minted = await house.minted()
    for body in (b"twelve bytes", b"another body", b"too short"):
        house.sent(minted, body)
    await house.pass_time(DAY)
    key = minted.session.facts.key
    assert (await house.session(minted.session.id)).state is State.REJECTED
    assert len(house.bucket.states(key)) == 2  # the judged one went by itself
    if is_forgotten:
        await forgotten(house)

    report = await swept(house)

    assert house.bucket.states(key) == []
    assert report.removed.objects == 2


async def test_other_versions_of_a_verified_key_stay() -> None:
    house = await opened(OVERWRITING, guarantees=UNCONDITIONAL, keeps_versions=True)
    minted = await house.minted()
    house.sent(minted, b"twelve bytes")
    house.sent(minted, b"another body")
    await house.pass_time(DAY)
    house.store_anyhow(minted.session, size_bytes=12)
    assert (await house.session(minted.session.id)).state is State.VERIFIED

    report = await swept(house)

    assert len(house.bucket.states(minted.session.facts.key)) == 3
    assert (report.live.objects, report.removed.objects) == (3, 0)


async def test_an_older_version_that_has_no_name_is_left() -> None:
    """Its removal could only name the latest."""
    house = await opened(OVERWRITING, guarantees=UNCONDITIONAL, keeps_versions=True)
    (session,) = await aborted_with_late_bytes(house)
    key = session.facts.key
    house.bucket.tamper(key, version=None)
    house.bucket.store(key, size_bytes=3, metadata={})
    older = house.bucket.states(key)[1]
    await forgotten(house)

    report = await swept(house)

    assert older in house.bucket.states(key)
    assert (report.kept.objects, report.not_ours.objects) == (1, 1)


# --- what stays by policy, or is taken after all


async def test_late_bytes_of_an_expired_session_are_accepted_where_they_are_welcome() -> None:
    house = await opened()
    minted = await house.minted()
    await house.pass_time(2 * DAY)
    house.store_anyhow(minted.session)
    assert (await house.session(minted.session.id)).state is State.EXPIRED

    report = await swept(house)

    assert (report.late.objects, report.accepted.objects, report.removed.objects) == (1, 1, 0)
    assert (await house.session(minted.session.id)).state is State.VERIFIED
    assert (await house.leased()).id == minted.session.id


@pytest.mark.parametrize("changes", [{"size_bytes": 5}, {"metadata": {}}], ids=["unfit", "not ours"])
async def test_late_bytes_that_would_not_be_accepted_are_left(changes: dict[str, Any]) -> None:
    """A look at them might delete, and no share was counted of that."""
    house = await opened()
    minted = await house.minted()
    await house.pass_time(2 * DAY)
    house.store_anyhow(minted.session, **changes)

    report = await swept(house)

    assert (report.late.objects, report.accepted.objects, report.removed.objects) == (1, 0, 0)
    assert minted.session.facts.key in house.bucket.stored
    assert (await house.session(minted.session.id)).state is State.EXPIRED


async def test_and_their_object_outlives_record_and_tombstone() -> None:
    """The tombstone of the expiry is void: else a processed object would be deleted a month after its record."""
    house = await opened()
    minted = await house.minted()
    await house.pass_time(2 * DAY)
    house.store_anyhow(minted.session)
    await swept(house)
    await house.report(await house.leased())
    await house.pass_time(RETENTION + DAY)
    assert await house.ledger.get(minted.session.id) is None

    report = await swept(house)

    assert minted.session.facts.key in house.bucket.stored
    assert (report.forgotten.objects, report.removed.objects) == (1, 0)


async def test_late_bytes_of_an_expired_session_go_where_they_are_not_welcome() -> None:
    house = await opened(REFUSING)
    minted = await house.minted()
    await house.pass_time(2 * DAY)
    house.store_anyhow(minted.session)

    assert (await swept(house)).removed.objects == 1
    assert house.bucket.removed == [minted.session.facts.key]


async def test_when_only_the_tombstone_of_an_expired_session_is_left_welcome_bytes_stay() -> None:
    house = await opened()
    minted = await house.minted()
    await house.pass_time(2 * DAY)
    await forgotten(house)
    house.store_anyhow(minted.session)

    report = await swept(house)

    assert (report.kept.objects, report.removed.objects) == (1, 0)
    assert minted.session.facts.key in house.bucket.stored


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["with a record", "with a tombstone alone"])
async def test_rejected_bytes_stay_where_the_policy_keeps_them(is_forgotten: bool) -> None:
    house = await opened(KEEPING)
    minted = await house.minted()
    house.sent(minted, b"too short")
    await house.pass_time(DAY)
    if is_forgotten:
        await forgotten(house)

    report = await swept(house)

    assert (report.kept.objects, report.removed.objects) == (1, 0)


# --- what is unknown, foreign or forged


async def test_with_an_empty_ledger_nothing_is_listed_let_alone_deleted() -> None:
    house = await opened()
    await house.uploaded()
    await aborted_with_late_bytes(house)
    before = dict(house.bucket.stored)

    house.lose_ledger()

    with pytest.raises(StoreMismatch, match="Redis is empty, or the wrong database"):
        await swept(house)
    assert house.bucket.stored == before


async def test_with_the_ledger_of_another_store_nothing_is_deleted() -> None:
    house = await opened()
    await aborted_with_late_bytes(house)
    before = dict(house.bucket.stored)
    house.lose_ledger()
    await house.ledger.identity.claim("another")

    with pytest.raises(StoreMismatch, match="belongs to another ledger"):
        await swept(house)
    assert house.bucket.stored == before


async def test_a_destination_that_nobody_marked_is_not_swept() -> None:
    house = House()
    await aborted_with_late_bytes(house)
    with pytest.raises(StoreMismatch, match="no note"):
        await swept(house)
    assert house.bucket.removed == []


async def test_an_unknown_object_is_adopted_and_becomes_a_job_again() -> None:
    house = await opened()
    session = await house.uploaded()
    await house.forget(session)

    report = await swept(house)
    await house.looks()

    assert (report.unknown.objects, report.adopted.objects) == (1, 1)
    assert (await house.leased()).id == session.id
    assert (await swept(house)).live.objects == 1


async def test_what_is_older_than_any_record_is_not_even_looked_at() -> None:
    house = await opened()
    session = await house.uploaded()
    await house.report(await house.leased())
    await house.pass_time(RETENTION + DAY)
    heads = len(house.bucket.heads)

    report = await swept(house)

    assert (report.forgotten.objects, report.adopted.objects) == (1, 0)
    assert len(house.bucket.heads) == heads
    assert await house.ledger.get(session.id) is None


async def test_what_was_minted_long_ago_and_written_lately_is_not_adopted() -> None:
    house = await opened()
    session = await house.uploaded()
    await house.report(await house.leased())
    await house.pass_time(RETENTION + DAY)
    written(house, session.facts.key, house.clock.now())

    report = await swept(house)

    assert (report.unknown.objects, report.adopted.objects, report.removed.objects) == (1, 0, 0)


async def test_whatever_else_lies_under_the_prefix_is_untouched() -> None:
    house = await opened()
    stranger = new_session_id(0)
    keys = ["uploads/readme.txt", "uploads/a/b", f"uploads/{stranger}", f"uploads/{stranger}/x.csv", "uploads/.broker"]
    for key in keys[:-1]:
        house.bucket.store(key, size_bytes=7)
    before = dict(house.bucket.stored)

    report = await swept(house)

    assert house.bucket.stored == before
    assert before.keys() == set(keys)
    assert (report.foreign.objects, report.unknown.objects, report.not_ours.objects) == (3, 1, 1)
    assert report.listed.objects == 1


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["with a record", "with a tombstone alone"])
async def test_an_object_without_a_capsule_of_its_own_stays_whatever_the_tombstone_says(is_forgotten: bool) -> None:
    """Copied from another key, of another session, of another place, or none at all."""
    house = await opened()
    sessions = await aborted_with_late_bytes(house, 4)
    one, two, three, four = (each.facts.key for each in sessions)
    other = await house.uploaded()
    capsule = house.bucket.stored[other.facts.key].metadata
    elsewhere = house.sealer.seal(capsule_of(sessions[1].id, sessions[1].facts), bucket="another", key=two)
    house.bucket.tamper(one, metadata=capsule)
    house.bucket.tamper(two, metadata={CAPSULE_FIELD: elsewhere})
    house.bucket.tamper(three, metadata={})
    house.bucket.tamper(four, metadata={CAPSULE_FIELD: "forged"})
    if is_forgotten:
        await forgotten(house)

    report = await swept(house)

    assert house.bucket.removed == []
    assert {one, two, three, four} <= house.bucket.stored.keys()
    assert (report.removable.objects, report.removed.objects) == (4, 0)


async def test_another_name_under_the_id_of_a_dead_session_stays() -> None:
    house = await opened()
    (session,) = await aborted_with_late_bytes(house)
    neighbour = session.facts.key.replace("report.csv", "other.csv")
    house.bucket.store(neighbour, size_bytes=5, metadata=house.bucket.stored[session.facts.key].metadata)
    for _ in range(2):
        await swept(house)
        assert house.bucket.removed == [session.facts.key]
        await forgotten(house)


async def test_another_name_under_the_id_of_a_live_session_is_nobodys() -> None:
    house = await opened()
    session = await house.uploaded()
    house.bucket.store(session.facts.key.replace("report.csv", "other.csv"), size_bytes=5)

    report = await swept(house)

    assert (report.live.objects, report.foreign.objects) == (1, 1)


async def test_a_record_that_came_to_something_makes_a_tombstone_void() -> None:
    """No way leads there; if one ever did, a finished object would be deleted."""
    house = await opened()
    (dead,) = await aborted_with_late_bytes(house)
    live = await house.uploaded()
    standing = house.ledger.tombstones._standing
    standing[live.id] = standing[dead.id]

    report = await swept(house)

    assert house.bucket.removed == [dead.facts.key]
    assert report.live.objects == 1


async def test_whoever_removes_asks_again_whether_it_is_quiet() -> None:
    house = await opened()
    (session,) = await aborted_with_late_bytes(house)
    (page,) = [page async for page in house.bucket.lister.objects() if page[0].key == session.facts.key]
    found = Finding(listed=page[0], session_id=session.id)
    tombstones = house.ledger.tombstones
    later = replace(session, facts=replace(session.facts, requests_end_at=house.clock.now() + DAY))
    tombstones.bury(Change(before=session, after=later, tombstone=tombstone_of(later, PLACE.policy)))
    await house.forget(session)

    assert await house.broom.remove(house.buckets[PLACE.name], found) == "left"
    assert house.bucket.removed == []


async def test_under_a_foreign_latest_version_our_own_older_one_goes_alone() -> None:
    house = await opened(OVERWRITING, guarantees=UNCONDITIONAL, keeps_versions=True)
    (session,) = await aborted_with_late_bytes(house)
    foreign = house.bucket.store(session.facts.key, size_bytes=3)

    report = await swept(house)

    assert house.bucket.states(session.facts.key) == [foreign]
    assert report.removed.objects == 1


# --- five percent


async def test_when_too_much_would_go_nothing_goes() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 11)
    for _ in range(9):
        await house.uploaded()

    report = await swept(house)

    assert report.stopped is not None
    assert "11 of 20 objects (55.0%)" in report.stopped
    assert house.bucket.removed == []
    assert report.removed.objects == 0


async def test_a_share_is_counted_in_bytes_too() -> None:
    house = await opened()
    for session in await aborted_with_late_bytes(house, 11):
        house.bucket.tamper(session.facts.key, size_bytes=1_000_000)
    await live_objects(house, 300)

    report = await swept(house)

    assert report.stopped is not None
    assert "11 of 311 objects (3.5%) with 100.0% of the bytes" in report.stopped
    assert house.bucket.removed == []


async def test_and_in_objects_however_small() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 11)
    house.store_anyhow((await house.minted()).session, size_bytes=10**9)

    report = await swept(house)

    assert report.stopped is not None
    assert house.bucket.removed == []


async def test_five_percent_may_go() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 11)
    await live_objects(house, 209)

    report = await swept(house)

    assert (report.stopped, report.removed.objects) == (None, 11)


async def test_a_handful_may_go_whatever_its_share() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, module.ALWAYS)

    assert (await swept(house)).removed.objects == module.ALWAYS


async def test_an_operator_who_has_looked_may_permit_more() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 11)

    assert (await swept(house, at_most=1.0)).removed.objects == 11


async def test_one_pass_remembers_so_many_and_says_that_there_are_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    house = await opened()
    await aborted_with_late_bytes(house, 5)

    first, second = await swept(house), await swept(house)

    assert (first.removable.objects, first.removed.objects, first.is_partial) == (5, 3, True)
    assert (second.removed.objects, second.is_partial) == (2, False)


# --- whatever happens meanwhile


async def test_a_listing_that_breaks_off_deletes_nothing() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 3)
    pages = 0

    async def break_off() -> None:
        nonlocal pages
        pages += 1
        house.bucket.trouble = StoreUnavailable() if pages == 3 else None

    house.bucket.lister.before_page = break_off
    with pytest.raises(StoreUnavailable):
        await swept(house)
    assert house.bucket.removed == []


async def test_a_ledger_that_is_emptied_during_the_listing_permits_nothing_any_more() -> None:
    house = await opened()
    await aborted_with_late_bytes(house, 3)
    before = dict(house.bucket.stored)

    async def empty() -> None:
        house.empty_ledger()

    house.bucket.lister.at_end = empty
    report = await swept(house)

    assert (report.removable.objects, report.removed.objects) == (3, 0)
    assert house.bucket.stored == before


async def test_an_object_that_changes_between_head_and_removal_stays() -> None:
    house = await opened()
    (session,) = await aborted_with_late_bytes(house)
    await forgotten(house)

    async def change() -> None:
        house.bucket.tamper(session.facts.key, etag="another")

    house.bucket.before_remove = change
    report = await swept(house)

    assert (report.removable.objects, report.removed.objects) == (1, 0)
    assert session.facts.key in house.bucket.stored


async def test_trouble_with_one_object_is_counted_and_keeps_no_other_waiting() -> None:
    house = await opened()
    sessions = await aborted_with_late_bytes(house, 3)
    await forgotten(house)
    calls = 0

    async def trouble_once() -> None:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreUnavailable

    house.bucket.before_remove = trouble_once
    report = await swept(house)

    assert (report.removed.objects, report.failed) == (2, 1)
    assert (await swept(house)).removed.objects == 1
    assert {each.facts.key for each in sessions} == set(house.bucket.removed)


async def test_several_sweepers_and_a_looker_do_each_thing_once() -> None:
    house = await opened()
    buried = await aborted_with_late_bytes(house, 8)
    lost = [await house.uploaded() for _ in range(5)]
    for session in lost:
        await house.forget(session)
    late = [await house.minted() for _ in range(3)]
    await house.pass_time(2 * DAY)
    for each in late:
        house.store_anyhow(each.session)

    async def lookers() -> None:
        for _ in range(20):
            await house.looks()
            await asyncio.sleep(0)

    reports = await asyncio.gather(*(swept(house) for _ in range(3)), lookers())

    assert sorted(house.bucket.removed) == sorted(each.facts.key for each in buried)
    assert sum(each.removed.objects for each in reports[:3]) == 8
    assert sum(each.adopted.objects for each in reports[:3]) == 5
    await house.looks()
    jobs = await house.lease(50, worker="w", wait=timedelta(0))
    assert sorted(job.id for job in jobs) == sorted([*(s.id for s in lost), *(m.session.id for m in late)])


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["before a call", "after a call"])
async def test_a_sweeper_may_die_anywhere_and_the_next_one_ends_its_work(is_answer_lost: bool) -> None:
    """The same end, wherever it died: two dead objects gone, one lost session back, the rest untouched."""
    for burns_at in range(1, 200):
        fuse = Fuse(is_answer_lost=is_answer_lost)
        house = await opened(fuse=fuse)
        dead = await aborted_with_late_bytes(house, 2)
        lost, live = await house.uploaded(), await house.uploaded()
        await house.forget(lost)
        stranger = house.bucket.store("uploads/stranger", size_bytes=1)
        fuse.calls, fuse.burns_at = 0, burns_at

        await survive(house, lambda: swept(house))  # noqa: B023 - awaited at once
        has_burnt, fuse.burns_at = fuse.calls >= burns_at, None
        await swept(house)

        assert sorted(house.bucket.removed) == sorted(each.facts.key for each in dead)
        assert await house.ledger.get(lost.id) is not None
        assert house.bucket.stored.keys() == {lost.facts.key, live.facts.key, "uploads/stranger", "uploads/.broker"}
        assert house.bucket.stored["uploads/stranger"] == stranger
        if not has_burnt:
            assert burns_at > 10
            return
    raise AssertionError("the sweep never ends")


# --- multipart uploads


async def test_uploads_of_dead_and_settled_sessions_are_aborted_and_no_others() -> None:
    house = await opened()
    uploads = house.bucket.uploads
    settled = await house.uploaded()
    (dead,) = await aborted_with_late_bytes(house)
    pending = (await minted_in_parts(house)).session
    unknown = f"uploads/{new_session_id(0)}/x.csv"
    opened_for = {
        name: await uploads.open(key, pending.facts.spec, "capsule")
        for name, key in (
            ("settled", settled.facts.key),
            ("dead", dead.facts.key),
            ("unknown", unknown),
            ("foreign", "uploads/else"),
        )
    }
    seen = await looked_over(house)
    assert len(uploads.unfinished) == 5

    report = await swept(house)

    left = {name for name, upload_id in opened_for.items() if upload_id in uploads.unfinished}
    assert left == {"unknown", "foreign"}
    assert pending.facts.multipart is not None
    assert len(uploads.unfinished) == 3
    for each in (seen, report):
        assert (each.uploads.live, each.uploads.over, each.uploads.unknown, each.uploads.foreign) == (1, 2, 1, 1)
        assert each.uploads.oldest_unknown == house.clock.now()
    assert (seen.uploads.aborted, report.uploads.aborted) == (0, 2)


async def test_an_upload_whose_session_is_only_a_tombstone_is_aborted() -> None:
    house = await opened()
    (dead,) = await aborted_with_late_bytes(house)
    await forgotten(house)
    await house.bucket.uploads.open(dead.facts.key, dead.facts.spec, "capsule")

    assert (await swept(house)).uploads.aborted == 1
    assert house.bucket.uploads.unfinished == {}


async def test_a_sweep_that_stopped_aborts_no_upload_either() -> None:
    house = await opened()
    dead = await aborted_with_late_bytes(house, 11)
    await house.bucket.uploads.open(dead[0].facts.key, dead[0].facts.spec, "capsule")

    report = await swept(house)

    assert report.stopped is not None
    assert (report.uploads.over, report.uploads.aborted, len(house.bucket.uploads.unfinished)) == (1, 0, 1)


async def test_an_upload_whose_key_was_misread_is_not_said_to_be_aborted() -> None:
    """A store answers an abort under another key as if all were done."""
    house = await opened()
    (dead,) = await aborted_with_late_bytes(house)
    upload_id = await house.bucket.uploads.open(dead.facts.key.replace(".csv", "%41.csv"), dead.facts.spec, "capsule")
    await forgotten(house)
    house.bucket.uploads.unfinished[upload_id].listed_as = dead.facts.key

    report = await swept(house)

    assert (report.uploads.over, report.uploads.aborted) == (1, 0)
    assert upload_id in house.bucket.uploads.unfinished


async def test_an_upload_that_is_aborted_only_at_the_second_try_is_not_counted_before() -> None:
    house = await opened()
    (dead,) = await aborted_with_late_bytes(house)
    house.bucket.uploads.aborts_needed = 2
    await house.bucket.uploads.open(dead.facts.key, dead.facts.spec, "capsule")

    assert (await swept(house)).uploads.aborted == 0
    assert (await swept(house)).uploads.aborted == 1
