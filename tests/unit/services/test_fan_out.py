"""One upload to several destinations: each copy is looked at by itself; together they are one session and one job."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from broker.contract import Checksum, Guarantees, Level, State
from broker.domain.capsule import capsule_of
from broker.domain.errors import (
    BrokerError,
    ChecksumNotProvable,
    CredentialsUnavailable,
    InvalidInput,
    ObjectErased,
    SessionNotVerified,
    SessionSettled,
    StoreUnavailable,
    UnknownDestination,
)
from broker.domain.fan_out import copy_in
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.policy import Destination, MultipartTerms, Policy
from broker.domain.principals import ApiKey, Role
from broker.domain.sessions import Session
from broker.services.drafts import Minted
from broker.services.revive import Revive
from tests.unit.domain.samples import digest
from tests.unit.services.house import APP, WISH, House, parts_of, request_of, survive

NAMES = ["default", "eu", "us"]
DAY = timedelta(hours=24)
PARTS = MultipartTerms(threshold_bytes=0, part_size_bytes=5 * 2**20)


def a_place(name: str, **more: Any) -> Destination:
    return Destination(name=name, bucket=f"acme-{name}", prefix="uploads", policy=Policy(max_failures=3), **more)


def a_house(
    *, required: Any = "all", places: tuple[Destination, ...] = (a_place("eu"), a_place("us")), **more: Any
) -> House:
    return House(more=places, required=required, **more)


async def minted(house: House, destinations: list[str] = NAMES, **more: Any) -> Minted:
    return await house.minted(destinations=destinations, checksum=Checksum(sha256=digest("sha256")), **more)


def send(house: House, made: Minted, *names: str) -> None:
    """The client sends its bytes to these destinations."""
    for copy in made.copies:
        if copy.destination in names:
            house.stores[copy.destination].send(request_of(copy.upload))


async def come(house: House, session: Session, *names: str) -> None:
    """The stores tell of it."""
    for name in names:
        copy = copy_in(await house.session(session.id), name)
        assert copy is not None
        await house.event(copy.key, bucket=copy.bucket)
    await house.looks()


async def whole(house: House, **more: Any) -> Session:
    made = await minted(house, **more)
    send(house, made, *NAMES)
    await come(house, made.session, *NAMES)
    return await house.session(made.session.id)


def states(session: Session) -> list[State]:
    return [copy.state for copy in session.facts.copies]


async def test_a_fan_out_is_one_session_with_a_key_of_its_own_in_each_destination() -> None:
    house = a_house()
    made = await minted(house)
    copies = made.session.facts.copies
    assert [copy.destination for copy in copies] == NAMES
    assert [copy.bucket for copy in copies] == ["acme", "acme-eu", "acme-us"]
    assert len({copy.id for copy in copies} | {made.session.id}) == 4
    assert all(copy.key == f"uploads/{copy.id}/report.csv" for copy in copies)
    assert await house.states() == [State.PENDING]


async def test_it_is_verified_when_the_last_copy_is_and_there_is_one_job() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    await come(house, made.session, "eu", "us")
    session = await house.session(made.session.id)
    assert (session.state, states(session)) == (State.PENDING, [State.PENDING, State.VERIFIED, State.VERIFIED])
    await come(house, made.session, "default")
    job = await house.leased()
    assert (job.id, job.destination) == (made.session.id, "default")
    assert (await house.report(job)).state is State.PROCESSED
    assert await house.states() == [State.PENDING, State.VERIFIED, State.PROCESSING, State.PROCESSED]


async def test_an_event_of_one_bucket_confirms_no_other() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "eu")
    for copy in made.session.facts.copies:
        await house.event(copy.key, bucket="acme-eu")  # with the names of all copies
    await house.looks()
    assert states(await house.session(made.session.id)) == [State.PENDING, State.VERIFIED, State.PENDING]


async def test_doubled_events_make_one_job() -> None:
    house = a_house()
    session = await whole(house)
    await come(house, session, *NAMES, *NAMES)
    assert len(await house.lease(10, worker="w", wait=timedelta(0))) == 1


async def test_as_many_copies_as_are_required_make_a_job_and_the_others_come_after_it() -> None:
    house = a_house(required=2)
    made = await minted(house)
    send(house, made, *NAMES)
    await come(house, made.session, "us")
    assert (await house.session(made.session.id)).state is State.PENDING
    await come(house, made.session, "eu")
    job = await house.leased()
    assert job.destination == "eu"
    await come(house, made.session, "default")  # while somebody works on it
    assert states(await house.session(made.session.id)) == [State.VERIFIED] * 3
    assert (await house.report(job)).state is State.PROCESSED
    assert await house.is_at_rest()


async def test_a_consumer_is_given_the_copy_in_its_zone_and_no_other() -> None:
    house = a_house()
    session = await whole(house)
    assert await house.lease(1, worker="w", wait=timedelta(0), zones=frozenset({"elsewhere"})) == []
    (job,) = await house.lease(1, worker="w", wait=timedelta(0), zones=frozenset({"us"}))
    us = copy_in(session, "us")
    assert us is not None
    assert (job.destination, us.key in job.read.url) == ("us", True)
    renewed = await house.renew(job.id, token=job.lease.token, epoch=job.lease.epoch, zones=frozenset({"us"}))
    assert us.key in renewed.read.url


async def test_its_owner_reads_the_first_copy_or_the_one_he_names() -> None:
    house = a_house(required=1)
    made = await minted(house)
    send(house, made, "us")
    with pytest.raises(SessionNotVerified):
        await house.read(await house.session(made.session.id))
    await come(house, made.session, "us")
    session = await house.session(made.session.id)
    us = copy_in(session, "us")
    assert us is not None
    assert us.key in (await house.read(session)).url
    assert us.key in (await house.read(session, "us")).url
    with pytest.raises(SessionNotVerified):
        await house.read(session, "eu")


# --- what is refused


@pytest.mark.parametrize(
    ("wish", "pointer"),
    [
        ({"destinations": ["eu", "eu"]}, "/destinations/1"),
        ({"destinations": ["eu", "nowhere"]}, "/destinations/1"),
        ({"destinations": ["eu", "us"], "destination": "eu"}, "/destinations"),
        ({"destinations": ["eu", "quiet"]}, "/destinations"),
        ({"destinations": ["eu", "us"], "checksum": Checksum()}, "/checksum"),
    ],
)
async def test_what_is_wrong_is_named(wish: dict[str, Any], pointer: str) -> None:
    house = a_house(places=(a_place("eu"), a_place("us"), a_place("quiet", processing="none")))
    with pytest.raises(InvalidInput) as refused:
        await house.minted(**{"checksum": Checksum(sha256=digest("sha256")), **wish})
    assert [fault.pointer for fault in refused.value.errors] == [pointer]
    assert await house.states() == []


async def test_a_destination_that_the_key_may_not_use_is_unknown() -> None:
    house = a_house()
    key = ApiKey(id="app", hashes=(), roles=frozenset({Role.MINT}), destinations=("default", "eu"))
    wish = (await minted(house, ["default", "eu"])).session
    assert wish

    with pytest.raises(UnknownDestination) as refused:
        await house.mint(key, replace(WISH, destinations=NAMES, checksum=Checksum(sha256=digest("sha256"))))
    assert [fault.pointer for fault in refused.value.errors] == ["/destinations/2"]


@pytest.mark.parametrize("level", [Level.ON_READ, Level.NONE])
async def test_a_store_that_proves_no_digest_by_itself_takes_no_copy(level: Level) -> None:
    house = a_house()
    enforced = Level.ENFORCED
    house.stores["us"].guarantees = Guarantees(
        size=enforced, content_type=enforced, create_only=enforced, checksum=level
    )
    with pytest.raises(ChecksumNotProvable, match="us") as refused:
        await minted(house, strategy="put")
    assert "eu" not in refused.value.detail
    assert [fault.pointer for fault in refused.value.errors] == ["/checksum"]


async def test_a_store_that_was_to_show_a_digest_and_does_not_verifies_nothing() -> None:
    house = a_house()
    enforced = Level.ENFORCED
    house.stores["us"].guarantees = Guarantees(
        size=enforced, content_type=enforced, create_only=enforced, checksum=Level.AT_HEAD
    )
    made = await minted(house, strategy="put")
    send(house, made, *NAMES)
    for name, info in [*house.stores["us"].stored.items()]:
        house.stores["us"].stored[name] = _without_checksum(info)
    await come(house, made.session, *NAMES)
    session = await house.session(made.session.id)
    us = copy_in(session, "us")
    assert us is not None
    assert us.reason is not None
    assert (us.state, us.reason.code) == (State.REJECTED, "checksum-not-shown")
    assert session.state is State.PENDING


def _without_checksum(info: Any) -> Any:

    return replace(info, checksum=Checksum())


# --- idempotency, limits


async def test_the_same_request_again_finds_the_same_session_with_fresh_requests_for_what_waits() -> None:
    house = a_house()
    wish = {"destinations": NAMES, "checksum": Checksum(sha256=digest("sha256"))}

    first = await house.mint(APP, replace(WISH, **wish), "twin")
    send(house, first, "eu")
    await come(house, first.session, "eu")
    again = await house.mint(APP, replace(WISH, **wish), "twin")
    assert (again.is_replay, again.session.id) == (True, first.session.id)
    assert [copy.destination for copy in again.copies] == ["default", "us"]
    assert {request_of(copy.upload).url for copy in again.copies}.isdisjoint(
        request_of(copy.upload).url for copy in first.copies
    )


async def test_a_fan_out_counts_once() -> None:
    house = a_house()
    await minted(house)
    used = await house.ledger.usage("app")
    assert (used.sessions, used.size_bytes) == (1, 12)


# --- trouble of one store


async def test_a_store_without_credentials_holds_up_its_own_copy_alone() -> None:
    house = a_house()
    house.stores["us"].sign_trouble = CredentialsUnavailable()
    made = await minted(house)
    us = made.copies[2]
    assert us.upload is None
    assert us.problem is not None
    assert us.problem.code == "credentials-unavailable"
    house.stores["us"].sign_trouble = None
    _, upload = await house.remint_copy(await house.session(made.session.id), "us")
    house.stores["us"].send(request_of(upload))
    send(house, made, "default", "eu")
    await come(house, made.session, *NAMES)
    assert (await house.leased()).id == made.session.id


async def test_where_no_copy_can_be_signed_nothing_is_promised() -> None:
    house = a_house()
    for store in house.stores.values():
        store.sign_trouble = CredentialsUnavailable()
    with pytest.raises(CredentialsUnavailable):
        await minted(house)
    assert await house.states() == []


async def test_a_store_that_does_not_answer_delays_its_own_copy_alone() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    house.stores["us"].trouble = StoreUnavailable()
    await come(house, made.session, *NAMES)
    assert states(await house.session(made.session.id)) == [State.VERIFIED, State.VERIFIED, State.PENDING]
    house.stores["us"].trouble = None
    await house.pass_time(timedelta(minutes=5))
    assert (await house.session(made.session.id)).state is State.VERIFIED


async def test_uploads_in_parts_are_begun_at_each_store_by_itself() -> None:
    house = a_house(places=(a_place("eu", multipart=PARTS), a_place("us", multipart=PARTS)))
    house.stores["us"].trouble = StoreUnavailable()
    size = 11 * 2**20
    made = await minted(house, size_bytes=size)
    default, eu, us = made.copies
    assert request_of(default.upload)  # below its own threshold
    assert parts_of(eu.upload).part_count == 3
    assert us.problem is not None
    assert us.problem.code == "store-unavailable"
    house.stores["us"].trouble = None
    house.clock.advance(timedelta(seconds=20))
    _, upload = await house.remint_copy(await house.session(made.session.id), "us")
    assert parts_of(upload).part_count == 3
    parts = await house.remint_copy.parts(await house.session(made.session.id), "us", [3])
    assert [part.number for part in parts] == [3]


# --- deadlines


async def test_what_is_missing_at_the_deadline_is_named_and_makes_it_whole_when_it_comes_late() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "eu", "us")
    await come(house, made.session, "eu", "us")
    await house.pass_time(DAY + timedelta(hours=1))
    session = await house.session(made.session.id)
    assert session.state is State.EXPIRED
    assert session.facts.reason is not None
    assert session.facts.reason.code == "copies-missing"
    assert "default" in session.facts.reason.message
    copy = copy_in(session, "default")
    assert copy is not None
    late = await house.session(copy.id)
    house.stores["default"].store(copy.key, size_bytes=12, content_type="text/csv", metadata=_capsule(house, late))
    await come(house, session, "default")
    assert (await house.leased()).id == session.id
    assert await house.states() == [State.PENDING, State.EXPIRED, State.VERIFIED, State.PROCESSING]


def _capsule(house: House, copy: Session) -> dict[str, str]:
    facts = copy.facts
    sealed = house.sealer.seal(capsule_of(copy.id, facts), bucket=facts.bucket, key=facts.key)
    return {CAPSULE_FIELD: sealed}


async def test_nothing_that_came_leaves_a_fan_out_expired_and_at_rest() -> None:
    house = a_house()
    made = await minted(house)
    await house.pass_time(DAY + timedelta(hours=2))
    session = await house.session(made.session.id)
    assert (session.state, states(session)) == (State.EXPIRED, [State.EXPIRED] * 3)
    assert await house.is_at_rest()
    assert (await house.ledger.usage("app")).sessions == 0


# --- minted again, alone


async def rejected(house: House) -> Session:
    """All but `us` are there, and that one is not what was declared."""
    made = await minted(house)
    send(house, made, *NAMES)
    store = house.stores["us"]

    for name, info in [*store.stored.items()]:
        store.stored[name] = replace(info, size_bytes=1)
    await come(house, made.session, *NAMES)
    session = await house.session(made.session.id)
    assert (session.state, states(session)[2]) == (State.PENDING, State.REJECTED)
    return session


async def test_a_rejected_copy_gets_a_session_of_its_own_in_its_place() -> None:
    house = a_house()
    session = await rejected(house)
    old = copy_in(session, "us")
    session, upload = await house.remint_copy(session, "us")
    fresh = copy_in(session, "us")
    assert old is not None
    assert fresh is not None
    assert fresh.id != old.id
    assert (await house.ledger.tombstones.find_many([old.id]))[0] is not None
    house.stores["us"].send(request_of(upload))
    await come(house, session, "us")
    assert (await house.leased()).id == session.id
    await house.pass_time(DAY)
    assert old.key not in house.stores["us"].stored  # the bytes that were wrong are gone
    assert fresh.key in house.stores["us"].stored


async def test_a_copy_is_minted_again_when_the_fan_out_has_expired() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "default", "eu")
    await come(house, made.session, "default", "eu")
    await house.pass_time(DAY + timedelta(hours=2))
    session, upload = await house.remint_copy(await house.session(made.session.id), "us")
    assert session.state is State.EXPIRED
    house.stores["us"].send(request_of(upload))
    await come(house, session, "us")
    assert (await house.leased()).id == session.id
    assert await house.states() == [State.PENDING, State.EXPIRED, State.VERIFIED, State.PROCESSING]


async def test_a_copy_that_is_minted_again_after_the_job_is_only_noted() -> None:
    house = a_house(required=2)
    made = await minted(house)
    send(house, made, "default", "eu")
    await come(house, made.session, "default", "eu")
    await house.report(await house.leased())
    await house.pass_time(DAY + timedelta(hours=2))
    session, upload = await house.remint_copy(await house.session(made.session.id), "us")
    house.stores["us"].send(request_of(upload))
    await come(house, session, "us")
    session = await house.session(session.id)
    assert (session.state, states(session)) == (State.PROCESSED, [State.VERIFIED] * 3)
    assert await house.is_at_rest()


async def test_what_a_replaced_copy_still_brings_is_removed() -> None:
    house = a_house()
    made = await minted(house)
    await house.pass_time(DAY + timedelta(hours=2))
    old = copy_in(await house.session(made.session.id), "us")
    assert old is not None
    late = await house.session(old.id)
    session, _ = await house.remint_copy(await house.session(made.session.id), "us")
    house.stores["us"].store(old.key, size_bytes=12, content_type="text/csv", metadata=_capsule(house, late))
    await house.event(old.key, bucket=old.bucket)
    await house.pass_time(timedelta(hours=2))
    assert old.key not in house.stores["us"].stored
    assert states(await house.session(session.id))[2] is State.PENDING


async def test_a_pending_copy_gets_fresh_requests_and_stays_the_same() -> None:
    house = a_house()
    made = await minted(house)
    session, upload = await house.remint_copy(made.session, "us")
    assert session.facts.copies == made.session.facts.copies
    house.stores["us"].send(request_of(upload))


@pytest.mark.parametrize("destination", [None, "nowhere"])
async def test_a_copy_must_be_named(destination: str | None) -> None:
    house = a_house()
    made = await minted(house)
    with pytest.raises(UnknownDestination) as refused:
        await house.remint_copy(made.session, destination)
    assert [fault.pointer for fault in refused.value.errors] == ["/destination"]


async def test_a_copy_whose_destination_is_gone_from_the_settings_is_not_minted_again() -> None:
    house = a_house()
    made = await minted(house)
    del house.buckets["us"]
    with pytest.raises(UnknownDestination):
        await house.remint_copy(made.session, "us")


async def test_a_copy_that_is_there_is_not_minted_again() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "us")
    await come(house, made.session, "us")
    with pytest.raises(SessionSettled):
        await house.remint_copy(await house.session(made.session.id), "us")


async def test_two_that_mint_a_copy_again_at_once_make_one() -> None:
    house = a_house()
    session = await rejected(house)
    made = await asyncio.gather(*(house.remint_copy(session, "us") for _ in range(3)))
    assert len({copy.id for found, _ in made for copy in found.facts.copies}) == 3


# --- abort, erase, reject


async def test_an_aborted_fan_out_leaves_nothing_behind() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "default", "eu")
    await come(house, made.session, "eu")
    session = await house.abort(made.session)
    assert (session.state, states(session)) == (State.ABORTED, [State.ABORTED] * 3)
    assert (await house.abort(session)).state is State.ABORTED
    send(house, made, "us")  # its request still works
    with pytest.raises(SessionSettled):
        await house.remint_copy(session, "us")
    await house.pass_time(timedelta(hours=2))
    assert [store.stored for store in house.stores.values()] == [{}, {}, {}]
    assert await house.is_at_rest()
    assert await house.states() == [State.PENDING, State.ABORTED]


async def test_a_fan_out_that_is_verified_is_not_aborted() -> None:
    house = a_house()
    session = await whole(house)
    with pytest.raises(SessionSettled):
        await house.abort(session)


async def test_erasing_removes_every_copy_and_takes_the_job_away() -> None:
    house = a_house()
    session = await whole(house)
    job = await house.leased()
    session = await house.erase(session)
    assert session.facts.is_removed
    assert [store.stored for store in house.stores.values()] == [{}, {}, {}]
    assert session.state is State.FAILED
    with pytest.raises(ObjectErased):
        await house.read(session)
    with pytest.raises(ObjectErased):
        await house.remint_copy(session, "us")
    with pytest.raises(BrokerError):
        await house.report(job)
    assert (await house.erase(session)).facts.is_removed
    await house.pass_time(DAY)
    assert await house.is_at_rest()


async def test_erasing_goes_on_until_the_last_store_answers() -> None:
    house = a_house()
    session = await whole(house)
    house.stores["us"].trouble = StoreUnavailable()
    session = await house.erase(session)
    assert not session.facts.is_removed
    house.stores["us"].trouble = None
    await house.pass_time(timedelta(minutes=5))
    assert house.stores["us"].stored == {}
    assert (await house.session(session.id)).facts.is_removed


async def test_what_did_come_of_an_expired_fan_out_can_be_erased() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, "eu")
    await come(house, made.session, "eu")
    await house.pass_time(DAY + timedelta(hours=2))
    await house.erase(await house.session(made.session.id))
    assert house.stores["eu"].stored == {}


async def test_what_its_consumer_rejects_goes_from_every_store_that_keeps_nothing() -> None:
    house = a_house(places=(a_place("eu"), a_place("us", on_reject="keep")))
    session = await whole(house)
    await house.report(await house.leased(), "rejected")
    await house.pass_time(timedelta(hours=2))
    assert house.stores["default"].stored == house.stores["eu"].stored == {}
    assert len(house.stores["us"].stored) == 1
    with pytest.raises(SessionSettled):
        await house.remint_copy(await house.session(session.id), "us")
    assert await house.is_at_rest()


# --- completion


async def test_a_client_says_of_one_copy_that_it_is_done() -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    await house.complete(made.session, "us")
    assert states(await house.session(made.session.id)) == [State.PENDING, State.PENDING, State.VERIFIED]
    house.clock.advance(timedelta(seconds=2))
    session = await house.complete(await house.session(made.session.id))
    assert session.state is State.VERIFIED


# --- crashes


@pytest.mark.parametrize("is_answer_lost", [False, True])
@pytest.mark.parametrize("burns_at", range(1, 40))
async def test_whoever_dies_wherever_there_is_one_job(burns_at: int, is_answer_lost: bool) -> None:
    house = a_house()
    made = await minted(house)
    send(house, made, *NAMES)
    for copy in made.session.facts.copies:
        await house.event(copy.key, bucket=copy.bucket)
    house.fuse.calls, house.fuse.burns_at, house.fuse.is_answer_lost = 0, burns_at, is_answer_lost
    await survive(house, house.looks)
    house.fuse.burns_at = None
    await house.pass_time(timedelta(minutes=5))
    session = await house.session(made.session.id)
    assert (session.state, states(session)) == (State.VERIFIED, [State.VERIFIED] * 3)
    assert (await house.states()).count(State.VERIFIED) == 1
    assert len(await house.lease(10, worker="w", wait=timedelta(0))) == 1


@pytest.mark.parametrize("burns_at", range(1, 30))
async def test_whoever_dies_while_minting_again_there_is_one_copy_in_that_place(burns_at: int) -> None:
    house = a_house()
    session = await rejected(house)
    house.fuse.calls, house.fuse.burns_at = 0, burns_at
    session, upload = await survive(house, lambda: house.remint_copy(session, "us"))
    house.fuse.burns_at = None
    house.stores["us"].send(request_of(upload))
    await come(house, session, "us")
    assert (await house.session(session.id)).state is State.VERIFIED
    assert len(await house.lease(10, worker="w", wait=timedelta(0))) == 1


@pytest.mark.parametrize("burns_at", range(1, 40))
async def test_whoever_dies_while_erasing_nothing_is_left(burns_at: int) -> None:
    house = a_house()
    session = await whole(house)
    house.fuse.calls, house.fuse.burns_at = 0, burns_at
    await survive(house, lambda: house.erase(session))
    house.fuse.burns_at = None
    await house.pass_time(DAY)
    assert [store.stored for store in house.stores.values()] == [{}, {}, {}]
    assert await house.is_at_rest()


async def test_a_forged_event_with_the_fan_out_s_own_id_moves_nothing() -> None:
    house = a_house()
    made = await minted(house)
    heads = [len(store.heads) for store in house.stores.values()]
    for name in NAMES:
        place = house.buckets[name].destination
        await house.event(f"{place.prefix}/{made.session.id}/report.csv", bucket=place.bucket)
    await house.looks()
    assert [len(store.heads) for store in house.stores.values()] == heads
    assert (await house.session(made.session.id)).state is State.PENDING
    await house.pass_time(DAY + timedelta(hours=1))
    assert (await house.session(made.session.id)).state is State.EXPIRED


async def test_a_failed_job_is_given_another_chance_where_a_copy_is_still_there() -> None:
    house = a_house()
    session = await whole(house)
    await house.report(await house.leased(), "failed")
    revive = Revive(buckets=house.buckets, sessions=house.ledger, clock=house.clock)
    house.stores["default"].stored.clear()
    await revive(session.id)
    assert (await house.leased()).id == session.id
