"""Uploads by a URI, as their attacker would have them: twice, late, never, forged, and by two at once."""

import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from msgspec import msgpack
from msgspec.structs import replace

from broker.contract import Level, PutUpload, State
from broker.domain.errors import (
    CompletionInProgress,
    CredentialsUnavailable,
    IdempotencyInFlight,
    NotMultipart,
    OriginNotAllowed,
    SessionSettled,
    StoreRefused,
    StoreUnavailable,
    StrategyTooWeak,
)
from broker.domain.policy import Policy
from broker.domain.resumable import LIVES_AT_MOST
from broker.domain.sessions import FOREIGN_OBJECT, tombstone_of
from broker.domain.uris import UriSealer
from broker.domain.webhooks import payload
from broker.services.admission import MAX_PUT_BYTES
from broker.services.open_upload import OPENS_WITHIN
from tests.memory_bucket import ENFORCED, JUDGED
from tests.memory_resumable import MULTIPLE, PieceRefused
from tests.unit.services.house import APP, ORIGIN, PLACE, WISH, Crash, Fuse, House, request_of
from tests.unit.services.resumables import BY_URI, SIZE, begun, given_again, house_of, minted_by_uri, uri_of

SECOND = timedelta(seconds=1)
MINUTE = timedelta(minutes=1)
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
    house = house_of()
    known: list[int] = []

    async def look_up() -> None:
        known.append(len(await house.events()))

    house.bucket.resumables.before_open = look_up
    minted = await minted_by_uri(house)
    assert known == [1]
    assert house.bucket.signed == 0
    [held] = house.bucket.resumables.held.values()
    assert (held.key, held.spec) == (minted.session.facts.key, minted.session.facts.spec)


async def test_the_uri_works_until_the_deadline_and_the_client_is_told_so() -> None:
    house = house_of()
    minted = await minted_by_uri(house)
    assert minted.upload is not None
    assert not isinstance(minted.upload, PutUpload)
    assert minted.upload.request.expires_at == minted.session.facts.expires_at  # type: ignore[union-attr]
    assert minted.session.facts.requests_end_at == minted.session.facts.expires_at


@pytest.mark.parametrize("waited", [timedelta(0), OPENS_WITHIN - SECOND])
async def test_a_replay_waits_while_the_first_request_may_still_be_opening(waited: timedelta) -> None:
    house = house_of(fuse=Fuse(burns_at=2))
    with pytest.raises(Crash):
        await minted_by_uri(house, "key")
    house.clock.advance(waited)
    with pytest.raises(IdempotencyInFlight):
        await minted_by_uri(house, "key")
    assert house.bucket.resumables.opened == 0


async def test_a_replay_is_given_the_same_uri() -> None:
    house = house_of()
    first = await minted_by_uri(house, "key")
    again = await minted_by_uri(house, "key")
    assert again.is_replay
    assert uri_of(again.upload) == uri_of(first.upload)
    assert house.bucket.resumables.opened == 1


async def test_a_store_that_is_away_holds_the_session_for_another_try() -> None:
    house = house_of()
    house.bucket.trouble = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await minted_by_uri(house, "key")
    house.bucket.trouble = None
    house.clock.advance(OPENS_WITHIN)
    assert uri_of((await minted_by_uri(house, "key")).upload)
    assert await house.states() == [State.PENDING]


async def test_of_two_openers_one_wins_and_the_other_uri_is_dead() -> None:
    """The first call to the store takes longer than anybody believes in."""
    house = house_of()
    replayed = []

    async def meanwhile() -> None:
        house.clock.advance(OPENS_WITHIN)
        replayed.append(await minted_by_uri(house, "key"))

    house.bucket.resumables.before_open = once(meanwhile)
    slow = await minted_by_uri(house, "key")
    assert uri_of(slow.upload) == uri_of(replayed[0].upload)
    assert house.bucket.resumables.opened == 2
    assert [uri for uri in house.bucket.resumables.held if house.bucket.resumables.lives(uri)] == [uri_of(slow.upload)]


async def abort_what_there_is(house: House) -> None:
    [event] = await house.events()
    await house.abort(await house.session(event.id))
    await house.looks()


async def test_a_session_that_is_aborted_while_it_is_opened_gives_nobody_a_uri() -> None:
    house = house_of()
    house.bucket.resumables.after_open = once(lambda: abort_what_there_is(house))
    with pytest.raises(SessionSettled):
        await minted_by_uri(house)
    assert not any(map(house.bucket.resumables.lives, house.bucket.resumables.held))


async def test_that_the_uri_of_a_lost_race_cannot_be_cancelled_spoils_nothing() -> None:
    house = house_of()

    async def meanwhile() -> None:
        await abort_what_there_is(house)
        house.bucket.trouble = StoreUnavailable()

    house.bucket.resumables.after_open = once(meanwhile)
    with pytest.raises(SessionSettled):
        await minted_by_uri(house)


# --- by which strategy


THRESHOLD = PLACE.resumable.threshold_bytes


@pytest.mark.parametrize(
    ("size", "strategy"),
    [(0, "put"), (THRESHOLD, "put"), (THRESHOLD + 1, "resumable"), (MAX_PUT_BYTES + 1, "resumable")],
)
async def test_auto_chooses_by_size(size: int, strategy: str) -> None:
    minted = await house_of().minted(size_bytes=size)
    assert (minted.session.facts.resumable is not None) == (strategy == "resumable")


@pytest.mark.parametrize(("weak", "size"), [("put", 12), ("resumable", THRESHOLD + 1)])
async def test_auto_never_picks_what_is_too_weak(weak: str, size: int) -> None:
    """Although by its size it would be the first choice."""
    house = house_of()
    too_weak = replace(JUDGED, create_only=Level.NONE)
    house.bucket.guarantees = too_weak if weak == "put" else ENFORCED
    house.bucket.resumables.guarantees = too_weak if weak == "resumable" else ENFORCED
    minted = await house.minted(size_bytes=size)
    assert (minted.session.facts.resumable is None) == (weak == "resumable")
    assert minted.session.facts.guarantees == ENFORCED


async def test_who_names_what_is_too_weak_is_told_so() -> None:
    house = house_of()
    house.bucket.resumables.guarantees = replace(ENFORCED, size=Level.NONE)
    with pytest.raises(StrategyTooWeak, match="size"):
        await minted_by_uri(house)


async def test_nothing_at_all_is_no_upload_to_take_up_again() -> None:
    """To ask how much of nothing is there would be to send it."""
    with pytest.raises(StrategyTooWeak):
        await minted_by_uri(house_of(), size_bytes=0)


async def test_a_store_that_opens_none_says_so() -> None:
    with pytest.raises(StrategyTooWeak) as refused:
        await minted_by_uri(House())
    assert [fault.pointer for fault in refused.value.errors] == ["/strategy"]


async def test_it_has_no_parts() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    with pytest.raises(NotMultipart):
        await house.remint.parts(session, [1])


# --- for whose pages


@pytest.mark.parametrize(
    ("named", "sent", "origin"),
    [({"origin": ORIGIN}, None, ORIGIN), ({}, ORIGIN, ORIGIN), ({}, "https://evil.example", None), ({}, None, None)],
)
async def test_the_store_is_told_the_origin_of_the_page(named: dict[str, str], sent: str | None, origin: str) -> None:
    house = house_of()
    await house.mint(APP, replace(BY_URI, **named), sent_from=sent)
    [held] = house.bucket.resumables.held.values()
    assert held.origin == origin


async def test_it_stays_that_origin_when_another_upload_is_opened() -> None:
    house = house_of()
    minted = await house.mint(APP, BY_URI, "key", sent_from=ORIGIN)
    house.bucket.resumables.forget(minted.session.facts.key)
    await house.mint(APP, BY_URI, "key", sent_from=None)
    [held] = house.bucket.resumables.held.values()
    assert held.origin == ORIGIN


@pytest.mark.parametrize("strategy", ["auto", "put", "resumable"])
async def test_a_named_origin_must_stand_in_the_list_whatever_the_strategy(strategy: str) -> None:
    house = house_of()
    with pytest.raises(OriginNotAllowed):
        await house.mint(APP, replace(WISH, strategy=strategy, origin="https://evil.example"))
    assert await house.events() == []


# --- given again


async def test_what_was_sent_stays_and_the_uri_with_it() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    assert await given_again(house, session) == uri
    assert await house.survey.offset(await house.session(session.id)) == MULTIPLE


@pytest.mark.parametrize("how", ["forgotten", "cancelled", "a week old"])
async def test_one_that_the_store_does_not_know_any_more_is_replaced(how: str) -> None:
    house = house_of()
    house.configure(replace(PLACE, policy=Policy(deadline=timedelta(days=20), retention=timedelta(days=60))))
    session, uri = await begun(house, MULTIPLE)
    if how == "forgotten":
        house.bucket.resumables.forget(session.facts.key)
    elif how == "cancelled":
        await house.bucket.resumables.cancel(uri)
    else:
        house.clock.advance(LIVES_AT_MOST)
    assert await house.survey.offset(await house.session(session.id)) is None
    another = await given_again(house, session)
    assert another != uri
    assert await given_again(house, session) == another
    house.bucket.resumables.send_by(another)
    with pytest.raises(PieceRefused):
        house.bucket.resumables.send_by(uri)
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_of_two_who_replace_it_at_once_both_are_given_the_same() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    house.bucket.resumables.forget(session.facts.key)
    others: list[str] = []

    async def meanwhile() -> None:
        others.append(await given_again(house, session))

    house.bucket.resumables.before_open = once(meanwhile)
    mine = await given_again(house, session)
    assert others == [mine]
    assert [*filter(house.bucket.resumables.lives, house.bucket.resumables.held)] == [mine]


async def test_one_that_is_whole_is_looked_at_instead() -> None:
    house = house_of()
    session, uri = await begun(house)
    with pytest.raises(CompletionInProgress):
        await given_again(house, session)
    assert await house.ledger.next_due() == house.clock.now()
    await house.looks()
    assert await state_of(house, session.id) is State.VERIFIED
    assert house.bucket.resumables.cancelled == []
    assert house.bucket.resumables.held[uri].is_complete


@pytest.mark.parametrize("is_whole", [True, False])
async def test_one_that_the_store_forgot_is_not_sent_again_while_an_object_lies_there(is_whole: bool) -> None:
    house = house_of()
    session, _ = await begun(house, None if is_whole else MULTIPLE)
    house.bucket.resumables.forget(session.facts.key)
    if not is_whole:
        house.bucket.store(session.facts.key, size_bytes=1)
    with pytest.raises(CompletionInProgress):
        await given_again(house, session)
    assert house.bucket.resumables.opened == 1
    await house.looks()
    assert await state_of(house, session.id) is (State.VERIFIED if is_whole else State.REJECTED)


async def test_one_that_was_whole_and_whose_object_is_gone_begins_anew() -> None:
    house = house_of()
    session, uri = await begun(house)
    house.bucket.stored.clear()
    another = await given_again(house, session)
    assert another != uri
    house.bucket.resumables.send_by(another)
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_a_store_that_does_not_say_whether_it_knows_it_replaces_nothing() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    house.bucket.trouble = StoreUnavailable()
    with pytest.raises(StoreUnavailable):
        await given_again(house, session)
    house.bucket.trouble = None
    assert await given_again(house, session) == uri


@pytest.mark.parametrize("waited", [PLACE.policy.deadline, PLACE.policy.deadline + DAY])
async def test_after_the_deadline_it_is_given_to_nobody(waited: timedelta) -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    house.clock.advance(waited)
    with pytest.raises(SessionSettled):
        await given_again(house, session)


# --- the survey


async def test_it_is_known_how_far_a_pending_one_is() -> None:
    house = house_of()
    session, _ = await begun(house, 2 * MULTIPLE)
    assert await house.survey(session) is None
    assert await house.survey.offset(session) == 2 * MULTIPLE
    house.bucket.trouble = StoreUnavailable()
    assert await house.survey.offset(session) is None
    house.bucket.trouble = None
    assert await house.survey.offset((await house.minted()).session) is None  # a single PUT
    assert await house.survey.offset(await house.uploaded(filename="x")) is None  # settled


async def test_of_one_that_nobody_has_opened_yet_the_store_has_nothing() -> None:
    house = house_of(fuse=Fuse(burns_at=2))
    with pytest.raises(Crash):
        await minted_by_uri(house)
    [event] = await house.events()
    assert await house.survey.offset(await house.session(event.id)) == 0
    assert house.bucket.resumables.asked == 0


# --- the deadline


async def at_deadline(house: House) -> None:
    house.clock.advance(PLACE.policy.deadline)
    await house.looks()


async def test_at_the_deadline_it_is_closed_and_expires_at_once() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    await at_deadline(house)
    assert await state_of(house, session.id) is State.EXPIRED
    assert house.bucket.resumables.cancelled == [uri]
    with pytest.raises(PieceRefused, match="499"):
        house.bucket.resumables.send_by(uri)
    assert await house.is_at_rest()


async def test_it_is_closed_before_it_is_looked_for() -> None:
    """The last piece lands between the cancellation's call and its effect: HEAD comes after both."""
    house = house_of()
    session, uri = await begun(house, MULTIPLE)

    async def land() -> None:
        house.bucket.resumables.send_by(uri)

    house.bucket.resumables.before_cancel = once(land)
    await at_deadline(house)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_whoever_holds_it_changes_nothing_before_the_deadline_by_waiting() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    await house.pass_time(PLACE.policy.deadline - SECOND)
    assert await state_of(house, session.id) is State.PENDING
    assert house.bucket.resumables.lives(uri)


async def test_while_it_is_not_sure_that_it_is_closed_nothing_is_decided() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    house.bucket.resumables.cancels_needed = 3
    await at_deadline(house)
    assert await state_of(house, session.id) is State.PENDING
    house.bucket.resumables.send_by(uri)  # it does still come, and is taken
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_a_store_that_is_away_at_the_deadline_puts_the_look_off() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    house.bucket.trouble = StoreUnavailable()
    await at_deadline(house)
    assert await state_of(house, session.id) is State.PENDING
    assert (await house.ledger.next_due() or house.clock.now()) > house.clock.now()
    house.bucket.trouble = None
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.EXPIRED


async def test_who_opens_another_at_the_very_deadline_comes_too_late() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    house.bucket.resumables.forget(session.facts.key)
    house.bucket.resumables.after_open = once(lambda: at_deadline(house))
    with pytest.raises(SessionSettled):
        await given_again(house, session)
    assert await state_of(house, session.id) is State.EXPIRED
    assert not any(map(house.bucket.resumables.lives, house.bucket.resumables.held))


async def test_who_opens_another_a_moment_earlier_has_it_closed_too() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    house.bucket.resumables.forget(session.facts.key)

    async def meanwhile() -> None:
        await given_again(house, session)

    house.clock.advance(PLACE.policy.deadline - SECOND)
    await house.looks()
    house.clock.advance(SECOND)
    house.bucket.resumables.before_cancel = once(lambda: _turned_back(house, meanwhile))
    await house.looks()
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.EXPIRED
    assert not any(map(house.bucket.resumables.lives, house.bucket.resumables.held))


async def _turned_back(house: House, act: Callable[[], Awaitable[None]]) -> None:
    """Somebody whose clock is behind."""
    house.clock.advance(-SECOND)
    try:
        await act()
    finally:
        house.clock.advance(SECOND)


async def test_bytes_under_an_expired_one_s_key_are_late_ones() -> None:
    """By a URI of which a restored ledger knows nothing."""
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    await at_deadline(house)
    house.store_anyhow(session)
    await house.event(session.facts.key)
    await house.looks()
    assert await state_of(house, session.id) is State.VERIFIED


# --- given up, rejected, erased


async def test_an_abort_closes_it_now_and_what_came_before_goes() -> None:
    house = house_of()
    session, uri = await begun(house)
    await house.abort(session)
    await house.looks()
    assert house.bucket.stored == {}
    assert not house.bucket.resumables.lives(uri)
    assert await house.is_at_rest()


async def test_an_abort_that_cannot_close_it_yet_goes_on_trying() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    await house.abort(session)
    house.bucket.trouble = StoreUnavailable()
    await house.looks()
    house.bucket.trouble = None
    assert house.bucket.resumables.lives(uri)
    await house.pass_time(MINUTE)
    assert not house.bucket.resumables.lives(uri)
    assert await house.is_at_rest()


async def test_what_remains_says_until_when_something_may_come() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    aborted = await house.abort(session)
    grave = tombstone_of(aborted, PLACE.policy)
    assert grave is not None
    assert grave.quiet_at == session.facts.expires_at
    await house.looks()
    grave = tombstone_of(await house.session(session.id), PLACE.policy)
    assert grave is not None
    assert grave.quiet_at == house.clock.now()


async def test_bytes_that_are_not_what_was_declared_go_at_once() -> None:
    house = house_of()
    minted = await minted_by_uri(house)
    house.bucket.resumables.finish(uri_of(minted.upload), SIZE - 1)
    await house.pass_time(MINUTE)
    assert await state_of(house, minted.session.id) is State.REJECTED
    assert house.bucket.stored == {}
    assert await house.is_at_rest()


async def test_a_foreign_object_stays_and_the_uri_does_not() -> None:
    """Whoever holds it added metadata of his own, or somebody else writes there."""
    house = house_of()
    minted = await minted_by_uri(house)
    house.bucket.store(minted.session.facts.key, size_bytes=SIZE, content_type="text/csv", metadata={})
    await house.pass_time(MINUTE)
    settled = await house.session(minted.session.id)
    assert (settled.state, settled.facts.reason and settled.facts.reason.code) == (State.REJECTED, FOREIGN_OBJECT)
    assert not house.bucket.resumables.lives(uri_of(minted.upload))
    assert house.bucket.removed == []
    assert await house.is_at_rest()


async def test_what_its_consumer_rejects_goes_at_once() -> None:
    house = house_of()
    session, _ = await begun(house)
    await house.pass_time(MINUTE)
    await house.report(await house.leased(), "rejected")
    await house.looks()
    assert house.bucket.removed == [session.facts.key]
    assert await house.is_at_rest()


async def test_an_erased_one_is_closed_too_so_that_nothing_brings_it_back() -> None:
    """Its object came by the first URI, and the client was given another since."""
    house = house_of()
    session, first = await begun(house, MULTIPLE)
    held = house.bucket.resumables.held.pop(first)
    second = await given_again(house, session)
    house.bucket.resumables.held[first] = held
    house.bucket.resumables.send_by(first)
    await house.pass_time(MINUTE)
    assert house.bucket.resumables.lives(second)
    await house.erase(await house.session(session.id))
    house.bucket.resumables.send_by(second)
    await house.looks()
    assert house.bucket.stored == {}
    assert not house.bucket.resumables.lives(second)
    assert await house.is_at_rest()


async def test_a_sweep_closes_what_every_look_was_lost_of() -> None:
    house = house_of()
    await house.mark()
    session, uri = await begun(house, MULTIPLE)
    await house.abort(session)
    house.store_anyhow(session)
    [due] = await house.ledger.claim(1, now=house.clock.now(), hold=DAY)
    await house.ledger.postpone(due, None)
    house.clock.advance(PLACE.policy.deadline)
    report = await house.sweep(house.buckets["default"], house.broom)
    assert report.removed.objects == 1
    assert session.facts.key not in house.bucket.stored
    assert not house.bucket.resumables.lives(uri)


# --- what nobody can close


async def without_its_key(house: House) -> None:
    """Somebody took the encryption key away too early, and restarted."""
    house.uris = UriSealer([b"another key of thirty-two bytes!"])
    house.lose_ledger(backup=house.ledger)


async def test_without_its_key_nobody_is_given_it_and_nothing_is_decided_before_it_is_dead() -> None:
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    await without_its_key(house)
    with pytest.raises(CredentialsUnavailable):
        await given_again(house, session)
    assert await house.survey.offset(await house.session(session.id)) is None
    await at_deadline(house)
    assert await state_of(house, session.id) is State.PENDING
    assert house.bucket.resumables.lives(uri)
    # Thousands of them, for a week: whoever puts the key back waits a minute.
    assert await house.ledger.next_due() == house.clock.now() + MINUTE
    house.clock.advance(LIVES_AT_MOST)
    await house.looks()
    assert await state_of(house, session.id) is State.EXPIRED
    assert await house.is_at_rest()


async def test_without_its_key_an_object_that_came_is_verified_all_the_same() -> None:
    house = house_of()
    session, _ = await begun(house)
    await without_its_key(house)
    await house.pass_time(MINUTE)
    assert await state_of(house, session.id) is State.VERIFIED


async def test_without_its_key_what_came_in_time_is_verified_after_the_deadline_too() -> None:
    """Nobody looked in time: that its URI cannot be cancelled is no reason to leave a whole object for a week."""
    house = house_of()
    session, _ = await begun(house)
    await without_its_key(house)
    await at_deadline(house)
    assert await state_of(house, session.id) is State.VERIFIED


@pytest.mark.parametrize("size", [SIZE, SIZE + 1])
async def test_a_store_that_refuses_to_cancel_hides_nothing_that_came(size: int) -> None:
    house = house_of(guarantees=JUDGED)
    session, uri = await begun(house, MULTIPLE)
    house.bucket.resumables.finish(uri, size)

    async def refuse() -> None:
        raise StoreRefused

    house.bucket.resumables.before_cancel = refuse
    await at_deadline(house)
    assert await state_of(house, session.id) is (State.VERIFIED if size == SIZE else State.REJECTED)
    await house.pass_time(MINUTE)
    assert (await house.session(session.id)).facts.is_removed is False  # while it may live, nothing is removed


async def test_a_destination_that_opens_none_any_more_waits_until_it_is_dead() -> None:
    house = house_of()
    session, _ = await begun(house, MULTIPLE)
    house.bucket.is_resumable = False
    house.configure(PLACE)
    await at_deadline(house)
    assert await state_of(house, session.id) is State.PENDING
    house.clock.advance(LIVES_AT_MOST)
    await house.looks()
    assert await state_of(house, session.id) is State.EXPIRED


# --- a ledger that forgot


async def test_a_lost_session_is_adopted_from_its_object_and_what_may_still_come_is_known() -> None:
    house = house_of()
    session, _ = await begun(house)
    house.lose_ledger()
    await house.event(session.facts.key)
    await house.looks()
    adopted = await house.session(session.id)
    assert adopted.state is State.VERIFIED
    assert adopted.facts.requests_end_at == session.facts.expires_at + LIVES_AT_MOST


async def test_what_is_adopted_claims_no_more_than_every_strategy_gives() -> None:
    house = house_of()
    house.bucket.resumables.guarantees = replace(ENFORCED, create_only=Level.AT_HEAD)
    session, _ = await begun(house)
    house.lose_ledger()
    await house.event(session.facts.key)
    await house.looks()
    assert (await house.session(session.id)).facts.guarantees.create_only is Level.AT_HEAD


# --- a secret


async def test_the_uri_stands_nowhere_but_in_the_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    house = house_of()
    session, uri = await begun(house, MULTIPLE)
    house.bucket.resumables.forget(session.facts.key)
    another = await given_again(house, session)
    pending = await house.session(session.id)
    await at_deadline(house)
    expired = await house.session(session.id)
    minted = await minted_by_uri(house)
    seen = [
        repr(pending),
        repr(expired),
        repr(minted),
        repr(minted.upload),
        msgpack.encode(pending.facts).decode("latin-1"),
        repr(await house.events()),
        payload(expired, state=State.EXPIRED, epoch=0, at=house.clock.now(), reason=expired.facts.reason).decode(),
        *(repr(vars(record)) for record in caplog.records),
    ]
    assert len(caplog.records) > 1
    for text in seen:
        assert "bearer-secret" not in text
        assert uri not in text
        assert another not in text
    sealed = pending.facts.resumable and pending.facts.resumable.sealed_uri
    assert sealed
    assert sealed not in repr(pending)


async def test_a_put_of_the_same_destination_is_signed_as_ever() -> None:
    house = house_of()
    minted = await house.minted()
    assert request_of(minted.upload).method == "PUT"
    assert house.bucket.resumables.opened == 0
