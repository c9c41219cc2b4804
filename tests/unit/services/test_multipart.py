"""Uploads in parts, as their attacker would have them: twice, late, never, forged, and by two at once."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Level, State
from broker.domain.errors import (
    CompletionInProgress,
    IdempotencyInFlight,
    InvalidInput,
    NotMultipart,
    SessionSettled,
    StoreUnavailable,
)
from broker.domain.policy import Policy
from broker.domain.sessions import FOREIGN_OBJECT
from broker.services.assemble import COMPLETING_FOR
from broker.services.open_upload import OPENS_WITHIN
from tests.memory_bucket import ENFORCED
from tests.memory_uploads import PartRefused
from tests.unit.services.house import PLACE, Crash, Fuse, House, parts_of
from tests.unit.services.parts import IN_PARTS, PART, begun, minted_in_parts, send_parts, upload_id_of

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


async def state_of(house: House, session_id: str) -> State:
    return (await house.session(session_id)).state


def once(act: Callable[[], Awaitable[object]]) -> Callable[[], Awaitable[None]]:
    """A place to meddle that is taken the first time only."""
    left = [act]

    async def meddle() -> None:
        if left:
            await left.pop()()

    return meddle


# --- mint


async def test_a_mint_is_recorded_before_the_store_hears_of_it() -> None:
    house = House()
    known: list[int] = []

    async def look_up() -> None:
        known.append(len(await house.events()))

    house.bucket.uploads.before_open = look_up
    minted = await minted_in_parts(house)
    assert known == [1]
    assert upload_id_of(await house.session(minted.session.id)) == "upload-1"
    assert [part.number for part in parts_of(minted.upload).parts] == [1, 2, 3]
    assert house.bucket.signed == 0  # nobody holds a request for the whole object


async def test_a_first_page_is_no_more_than_a_page() -> None:
    house = House()
    upload = parts_of((await minted_in_parts(house, size_bytes=1000 * PART)).upload)
    assert (upload.part_count, len(upload.parts)) == (1000, 100)


@pytest.mark.parametrize("waited", [timedelta(0), OPENS_WITHIN - SECOND])
async def test_a_replay_waits_while_the_first_request_may_still_be_opening(waited: timedelta) -> None:
    house = House(fuse=Fuse(burns_at=2))
    with pytest.raises(Crash):
        await minted_in_parts(house, "key")
    house.clock.advance(waited)
    with pytest.raises(IdempotencyInFlight):
        await minted_in_parts(house, "key")
    assert house.bucket.uploads.opened == 0


async def test_an_upload_whose_opener_crashed_is_opened_anew_and_the_first_is_cleared_in_the_end() -> None:
    house = House(fuse=Fuse(burns_at=3))  # opened, and not recorded
    with pytest.raises(Crash):
        await minted_in_parts(house, "key")
    house.clock.advance(OPENS_WITHIN)
    again = await minted_in_parts(house, "key")
    assert again.is_replay
    assert [*house.bucket.uploads.unfinished] == ["upload-1", "upload-2"]
    send_parts(house, parts_of(again.upload).parts)
    await house.pass_time(MINUTE)
    assert await state_of(house, again.session.id) is State.VERIFIED
    assert house.bucket.uploads.completed == ["upload-2"]
    assert house.bucket.uploads.unfinished == {}


async def test_of_two_openers_one_wins_and_both_are_granted_its_upload() -> None:
    """The first call to the store takes longer than anybody believes in."""
    house = House()
    replayed = []

    async def meanwhile() -> None:
        house.clock.advance(OPENS_WITHIN)
        replayed.append(await minted_in_parts(house, "key"))

    house.bucket.uploads.before_open = once(meanwhile)
    slow = await minted_in_parts(house, "key")
    assert slow.session.id == replayed[0].session.id
    assert len(house.bucket.uploads.unfinished) == 1
    send_parts(house, parts_of(slow.upload).parts, 1)
    send_parts(house, parts_of(replayed[0].upload).parts, 2, 3)
    await house.pass_time(MINUTE)
    assert await state_of(house, slow.session.id) is State.VERIFIED


async def abort_what_there_is(house: House) -> None:
    [event] = await house.events()
    await house.abort(await house.session(event.id))
    await house.looks()


async def test_a_session_that_is_aborted_while_it_is_opened_keeps_nothing_open() -> None:
    house = House()
    house.bucket.uploads.before_open = once(lambda: abort_what_there_is(house))
    with pytest.raises(SessionSettled):
        await minted_in_parts(house)
    assert house.bucket.uploads.opened == 1
    assert house.bucket.uploads.unfinished == {}


async def test_an_upload_that_is_begun_after_the_abort_is_found_a_grace_later() -> None:
    """Its opener overtook nobody and died: only the key leads to it."""
    house = House(fuse=Fuse(burns_at=2))
    with pytest.raises(Crash):
        await minted_in_parts(house)
    house.clock.advance(5 * HOUR)
    await abort_what_there_is(house)
    [event, _] = await house.events()
    facts = (await house.session(event.id)).facts
    await house.bucket.uploads.open(facts.key, facts.spec, "capsule")
    await house.pass_time(HOUR)
    assert house.bucket.uploads.unfinished == {}
    assert await house.is_at_rest()


async def test_a_session_that_nobody_opened_expires() -> None:
    house = House(fuse=Fuse(burns_at=2))
    with pytest.raises(Crash):
        await minted_in_parts(house)
    await house.pass_time(2 * DAY)
    assert await house.states() == [State.PENDING, State.EXPIRED]
    assert await house.is_at_rest()


# --- more requests


async def test_a_fresh_mint_gives_what_is_missing_and_nothing_when_nothing_is() -> None:
    house = House()
    session = await begun(house, 2)
    _, upload = await house.remint(session)
    assert [part.number for part in parts_of(upload).parts] == [1, 3]
    send_parts(house, parts_of(upload).parts)
    _, upload = await house.remint(await house.session(session.id))
    assert parts_of(upload).parts == []


async def test_parts_are_granted_within_the_recorded_end() -> None:
    house = House()
    session = await begun(house, 1)
    house.clock.advance(HOUR)
    parts = await house.remint.parts(session, [3, 2, 3])
    assert [(part.number, part.offset_bytes, part.size_bytes) for part in parts] == [
        (3, 2 * PART, 5),
        (2, PART, PART),
        (3, 2 * PART, 5),
    ]
    end = (await house.session(session.id)).facts.requests_end_at
    assert all(part.request.expires_at <= end for part in parts)


async def test_a_number_that_the_session_does_not_have_is_named() -> None:
    house = House()
    session = await begun(house, 1)
    with pytest.raises(InvalidInput) as refused:
        await house.remint.parts(session, [1, 4])
    assert refused.value.errors[0].pointer == "/numbers/1"
    with pytest.raises(NotMultipart):
        await house.remint.parts((await house.minted()).session, [1])


class Yielding(Fuse):
    """Every call lets the others go first, as a network does."""

    async def run(self, call: Callable[[], Awaitable[object]], trouble: type) -> object:
        await asyncio.sleep(0)
        answer = await super().run(call, trouble)
        await asyncio.sleep(0)
        return answer


async def test_a_client_may_ask_for_many_pages_at_once() -> None:
    house = House(fuse=Yielding())
    session = (await minted_in_parts(house, size_bytes=1000 * PART)).session
    pages = [range(first, first + 100) for first in range(1, 1000, 100)]
    granted = await asyncio.gather(*(house.remint.parts(session, page) for page in pages))
    assert [part.number for page in granted for part in page] == [*range(1, 1001)]
    end = (await house.session(session.id)).facts.requests_end_at
    assert all(part.request.expires_at <= end for page in granted for part in page)


async def test_no_part_is_granted_for_a_settled_session_or_after_the_deadline() -> None:
    house = House()
    session = await begun(house, 1)
    await house.abort(session)
    with pytest.raises(SessionSettled):
        await house.remint.parts(session, [1])
    other = await begun(house, 1)
    house.clock.advance_to(other.facts.expires_at)
    with pytest.raises(SessionSettled):
        await house.remint.parts(other, [1])


# --- completion


async def test_parts_become_a_job_without_any_word_of_the_client() -> None:
    house = House()
    session = await begun(house)
    await house.pass_time(3 * SECOND)
    settled = await house.session(session.id)
    assert settled.state is State.VERIFIED
    assert settled.facts.stored is not None
    assert settled.facts.stored.size_bytes == IN_PARTS.size_bytes
    assert (await house.leased()).id == session.id


async def test_two_completers_are_one() -> None:
    house = House()
    session = await begun(house)
    seen: list[object] = []

    async def meanwhile() -> None:
        house.clock.advance(2 * SECOND)
        seen.append((await house.complete(await house.session(session.id))).state)
        await house.event(session.facts.key)
        await house.looks()
        for act in (house.abort, house.remint):
            with pytest.raises(CompletionInProgress):
                await act(await house.session(session.id))

    house.bucket.uploads.before_complete = once(meanwhile)
    assert (await house.complete(session)).state is State.VERIFIED
    assert seen == [State.PENDING]
    assert house.bucket.uploads.completed == ["upload-1"]
    assert await house.states() == [State.PENDING, State.VERIFIED]


async def die() -> None:
    raise Crash


async def test_a_completer_that_dies_before_the_store_heard_is_followed_by_another() -> None:
    house = House()
    session = await begun(house)
    house.bucket.uploads.before_complete = once(die)
    with pytest.raises(Crash):
        await house.complete(session)
    await house.pass_time(COMPLETING_FOR - SECOND)
    assert await state_of(house, session.id) is State.PENDING
    await house.pass_time(2 * SECOND)
    assert await state_of(house, session.id) is State.VERIFIED


@pytest.mark.parametrize("is_told", [False, True], ids=["no event", "event"])
async def test_a_completer_that_dies_after_the_store_was_done_costs_only_time(is_told: bool) -> None:
    house = House()
    session = await begun(house)
    house.bucket.uploads.after_complete = once(die)
    with pytest.raises(Crash):
        await house.complete(session)
    if is_told:
        await house.event(session.facts.key)
        await house.looks()
    else:
        await house.pass_time(COMPLETING_FOR)
    assert await state_of(house, session.id) is State.VERIFIED
    assert house.bucket.uploads.completed == ["upload-1"]


async def test_a_lost_completion_outlives_the_deadline() -> None:
    house = House(replace(PLACE, policy=Policy(deadline=20 * MINUTE, url_ttl=MINUTE)))
    session = await begun(house)
    house.clock.advance_to(session.facts.expires_at + 2 * MINUTE)
    house.bucket.uploads.before_complete = once(die)
    with pytest.raises(Crash):
        await house.looks()
    await house.pass_time(COMPLETING_FOR + MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_a_200_with_an_error_is_no_completion_and_is_tried_again_soon() -> None:
    house = House()
    session = await begun(house)
    house.bucket.uploads.errors_in_200 = 2
    assert (await house.complete(session)).state is State.PENDING
    await house.pass_time(5 * SECOND)
    assert await state_of(house, session.id) is State.VERIFIED
    assert house.bucket.uploads.completed == ["upload-1"]


async def test_a_part_that_is_sent_again_while_it_is_completed_counts() -> None:
    house = House()
    minted = await minted_in_parts(house)
    parts = parts_of(minted.upload).parts
    send_parts(house, parts)

    async def again() -> None:
        send_parts(house, parts, 2)

    house.bucket.uploads.before_complete = once(again)
    assert (await house.complete(minted.session)).state is State.PENDING
    await house.pass_time(5 * SECOND)
    assert await state_of(house, minted.session.id) is State.VERIFIED


async def test_a_part_that_comes_after_the_completion_finds_no_upload() -> None:
    house = House()
    minted = await minted_in_parts(house)
    parts = parts_of(minted.upload).parts
    send_parts(house, parts)
    await house.complete(minted.session)
    with pytest.raises(PartRefused, match="NoSuchUpload"):
        send_parts(house, parts, 1)


@pytest.mark.parametrize("fault", ["missing", "short", "long", "extra"])
async def test_what_is_not_exactly_the_cut_is_never_completed_and_goes_at_the_deadline(fault: str) -> None:
    house = House(guarantees=replace(ENFORCED, size=Level.AT_HEAD))
    session = await begun(house, *([1, 3] if fault == "missing" else []))
    if fault != "missing":
        number, size = {"short": (2, PART - 1), "long": (3, 6), "extra": (4, 5)}[fault]
        house.bucket.uploads.put(upload_id_of(session), number, size)
    for _ in range(3):  # hints and events are no proof
        house.clock.advance(2 * SECOND)
        assert (await house.complete(await house.session(session.id))).state is State.PENDING
        await house.event(session.facts.key)
        await house.looks()
    await house.pass_time(2 * DAY)
    assert await house.states() == [State.PENDING, State.EXPIRED]
    assert (house.bucket.uploads.completed, house.bucket.uploads.unfinished) == ([], {})
    assert await house.is_at_rest()


async def test_a_complete_set_is_completed_at_the_deadline() -> None:
    house = House()
    session = await begun(house)
    house.clock.advance(DAY + HOUR)  # nobody looked all day
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_nobody_expires_what_is_being_completed() -> None:
    house = House()
    session = await begun(house)
    house.clock.advance(DAY + HOUR)

    async def meanwhile() -> None:
        await house.event(session.facts.key)
        assert await house.looks() == 1
        assert await state_of(house, session.id) is State.PENDING

    house.bucket.uploads.before_complete = once(meanwhile)
    await house.looks()
    assert await house.states() == [State.PENDING, State.VERIFIED]


async def test_an_abort_between_listing_and_completing_wins() -> None:
    house = House()
    session = await begun(house)
    house.bucket.uploads.before_list = once(lambda: house.abort(session))
    await house.complete(session)
    assert await state_of(house, session.id) is State.ABORTED
    assert (house.bucket.uploads.completed, house.bucket.stored) == ([], {})
    await house.looks()
    assert house.bucket.uploads.unfinished == {}


async def test_the_deadline_waits_for_a_part_not_for_the_object() -> None:
    house = House()
    minted = await minted_in_parts(house, size_bytes=5_000_000_000_000)
    await house.pass_time(DAY + timedelta(minutes=15))
    assert await state_of(house, minted.session.id) is State.EXPIRED


async def test_wrong_bytes_are_rejected_and_removed() -> None:
    house = House()
    session = await begun(house)

    async def spoil() -> None:
        house.bucket.tamper(session.facts.key, content_type="text/html")

    house.bucket.uploads.after_complete = spoil
    assert (await house.complete(session)).state is State.REJECTED
    await house.pass_time(DAY)
    assert house.bucket.removed == [session.facts.key]
    assert await house.is_at_rest()


async def test_an_object_that_did_not_come_in_our_parts_is_foreign() -> None:
    house = House()
    session = await begun(house, 1)
    house.bucket.store(session.facts.key, size_bytes=IN_PARTS.size_bytes, content_type="text/csv")
    await house.pass_time(MINUTE)
    settled = await house.session(session.id)
    assert settled.facts.reason is not None
    assert (settled.state, settled.facts.reason.code) == (State.REJECTED, FOREIGN_OBJECT)
    assert house.bucket.uploads.unfinished == {}
    assert session.facts.key in house.bucket.stored


@pytest.mark.parametrize("aborts", [1, 3])
async def test_nothing_is_verified_before_what_lies_beside_it_is_gone(aborts: int) -> None:
    house = House()
    session = await begun(house)
    orphan = await house.bucket.uploads.open(session.facts.key, session.facts.spec, "capsule")
    house.bucket.uploads.put(orphan, 1, PART)
    house.bucket.uploads.aborts_needed = aborts
    await house.complete(session)
    await house.pass_time(aborts * MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED
    assert house.bucket.uploads.unfinished == {}


# --- abort, lifecycle, other configurations


async def test_an_abort_is_repeated_until_no_part_in_flight_is_left() -> None:
    house = House()
    session = await begun(house, 1)
    house.bucket.uploads.aborts_needed = 3
    await house.abort(session)
    await house.looks()
    house.bucket.uploads.put(upload_id_of(session), 2, PART)  # it was on its way
    await house.pass_time(HOUR)
    assert house.bucket.uploads.unfinished == {}
    assert await house.states() == [State.PENDING, State.ABORTED]
    assert await house.is_at_rest()


async def test_what_a_completer_makes_of_an_aborted_session_is_removed() -> None:
    """He held the lease for so long that an abort was let through."""
    house = House()
    session = await begun(house)

    async def meanwhile() -> None:
        house.clock.advance(COMPLETING_FOR)
        await house.abort(await house.session(session.id))

    house.bucket.uploads.before_complete = once(meanwhile)
    assert (await house.complete(session)).state is State.ABORTED
    await house.pass_time(DAY)
    assert house.bucket.removed == [session.facts.key]
    assert await house.is_at_rest()


async def test_an_upload_that_a_lifecycle_rule_took_makes_way_for_another() -> None:
    house = House()
    session = await begun(house, 1, 2)
    house.clock.advance(HOUR)
    house.bucket.uploads.forget(session.facts.key)
    with pytest.raises(CompletionInProgress):
        await house.remint(session)  # nobody knows yet what became of it
    await house.pass_time(5 * SECOND)
    _, upload = await house.remint(await house.session(session.id))
    assert [part.number for part in parts_of(upload).parts] == [1, 2, 3]
    send_parts(house, parts_of(upload).parts)
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_a_destination_that_no_longer_takes_parts_lets_its_sessions_end() -> None:
    house = House()
    session = await begun(house, 1)
    bucket = house.buckets["default"]
    house.buckets["default"] = type(bucket)(
        destination=bucket.destination, put=bucket.put, get=bucket.get, objects=bucket.objects, remover=bucket.remover
    )
    with pytest.raises(SessionSettled):
        await house.remint(session)
    await house.pass_time(2 * DAY)
    assert await state_of(house, session.id) is State.EXPIRED
    assert await house.is_at_rest()


async def test_an_adopted_object_is_trusted_no_more_than_the_weakest_way_to_send_it() -> None:
    house = House()
    session = await begun(house)
    house.bucket.uploads.guarantees = replace(ENFORCED, checksum=Level.ON_READ)
    await house.complete(session)
    house.lose_ledger()
    await house.event(session.facts.key)
    await house.looks()
    adopted = await house.session(session.id)
    assert (adopted.state, adopted.facts.guarantees.checksum) == (State.VERIFIED, Level.ON_READ)


# --- how far it is


async def test_a_survey_says_what_the_store_has() -> None:
    house = House()
    session = await begun(house, 2)
    progress = await house.survey(session)
    assert progress is not None
    assert (progress.stored_count, progress.stored_bytes, progress.missing) == (1, PART, [1, 3])


async def test_a_survey_of_what_nobody_opened_misses_everything() -> None:
    house = House(fuse=Fuse(burns_at=2))
    with pytest.raises(Crash):
        await minted_in_parts(house)
    [event] = await house.events()
    progress = await house.survey(await house.session(event.id))
    assert progress is not None
    assert (progress.stored_count, progress.missing) == (0, [1, 2, 3])


async def test_a_survey_says_nothing_where_only_an_answer_would_do() -> None:
    house = House()
    survey = house.survey
    session = await begun(house)
    house.bucket.trouble = StoreUnavailable()
    assert await survey(session) is None
    house.bucket.trouble = None
    house.bucket.uploads.after_complete = once(die)
    with pytest.raises(Crash):
        await house.complete(session)
    assert await survey(await house.session(session.id)) is None  # completed, and not yet verified
    await house.event(session.facts.key)
    await house.looks()
    assert await survey(await house.session(session.id)) is None  # verified
    assert await survey((await house.minted()).session) is None  # a single PUT
