"""Mint and remint: what leaves the house was recorded, once, within every limit."""

import asyncio
from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Checksum, Level, MultipartUpload, PutUpload, State
from broker.domain.errors import (
    BrokerError,
    ChecksumInvalid,
    ChecksumNotProvable,
    ContentTypeNotAllowed,
    CredentialsUnavailable,
    IdempotencyKeyInvalid,
    IdempotencyKeyReused,
    LedgerUnavailable,
    MetadataInvalid,
    MetadataTooLarge,
    SessionSettled,
    SizeTooLarge,
    StrategyTooWeak,
    UnknownDestination,
)
from broker.domain.objects import CAPSULE_FIELD
from broker.domain.policy import Destination, MultipartTerms, Policy
from broker.services.admission import MAX_PUT_BYTES
from tests.clock import START
from tests.memory_bucket import ENFORCED, JUDGED
from tests.unit.domain.samples import ALL_DIGESTS
from tests.unit.services.house import APP, PLACE, WISH, Fuse, House, request_of


async def test_a_session_is_recorded_with_what_was_signed() -> None:
    house = House()
    minted = await house.minted(owner="user-17", batch="b", metadata={"case": "17"}, object_metadata={"mtime": "1"})
    facts = (await house.session(minted.session.id)).facts
    assert facts.key == f"uploads/{minted.session.id}/report.csv"
    assert facts.key in request_of(minted.upload).url
    assert (facts.principal, facts.owner, facts.batch, facts.metadata) == ("app", "user-17", "b", {"case": "17"})
    assert facts.expires_at == START + PLACE.policy.deadline
    assert request_of(minted.upload).expires_at <= facts.requests_end_at <= facts.expires_at
    assert house.tokens.opens_session(minted.token, minted.session.id, START)
    assert not house.tokens.opens_session(minted.token, minted.session.id, facts.expires_at)
    sealed = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
    capsule = house.sealer.open(sealed, bucket="acme", key=facts.key)
    assert capsule is not None
    assert capsule.id == minted.session.id


async def test_a_request_never_outlives_the_deadline() -> None:
    place = replace(PLACE, policy=Policy(deadline=timedelta(minutes=5)))
    house = House(place)
    minted = await house.minted()
    assert request_of(minted.upload).expires_at == minted.session.facts.expires_at
    house.clock.advance(timedelta(minutes=4))
    _, upload = await house.remint(minted.session)
    assert request_of(upload).expires_at == minted.session.facts.expires_at


@pytest.mark.parametrize(
    ("changes", "error", "pointer"),
    [
        ({"destination": "other"}, UnknownDestination, "/destination"),
        ({"size_bytes": 5_000_000_000_001}, SizeTooLarge, "/size_bytes"),
        ({"checksum": Checksum(sha256="x")}, ChecksumInvalid, "/checksum/sha256"),
        ({"metadata": {"a": "é" * 2048}}, MetadataTooLarge, "/metadata"),
        ({"object_metadata": {"a": "b" * 1024}}, MetadataTooLarge, "/object_metadata"),
        ({"object_metadata": {CAPSULE_FIELD: "forged"}}, MetadataInvalid, "/object_metadata"),
    ],
)
async def test_what_is_not_permitted_is_neither_signed_nor_recorded(
    changes: dict[str, object], error: type[BrokerError], pointer: str
) -> None:
    house = House()
    with pytest.raises(error) as refused:
        await house.minted(**changes)
    assert refused.value.errors[0].pointer == pointer
    assert house.bucket.signed == 0
    assert await house.is_at_rest()


async def test_the_largest_metadata_is_taken() -> None:
    house = House()
    await house.minted(metadata={"k": "v" * 4095}, object_metadata={"k": "v" * 1023})


async def test_a_key_mints_only_within_its_own_limits() -> None:
    house = House()
    small = replace(APP, max_size_bytes=11)
    elsewhere = replace(APP, destinations=("eu",))
    with pytest.raises(SizeTooLarge):
        await house.mint(small, WISH)
    await house.mint(small, replace(WISH, size_bytes=11))
    with pytest.raises(UnknownDestination):
        await house.mint(elsewhere, WISH)
    with pytest.raises(ContentTypeNotAllowed):
        await House(replace(PLACE, policy=Policy(content_types=("image/*",)))).minted()


async def test_a_guarantee_that_the_destination_requires_is_never_weakened() -> None:
    house = House(guarantees=replace(ENFORCED, create_only=JUDGED.checksum))
    with pytest.raises(StrategyTooWeak):
        await house.minted()
    await House(guarantees=JUDGED).minted()


MIB = 2**20


@pytest.mark.parametrize(
    ("strategy", "size_bytes", "kind"),
    [
        ("auto", 64 * MIB, PutUpload),
        ("auto", 64 * MIB + 1, MultipartUpload),
        ("auto", 0, PutUpload),
        ("put", 5 * 1024 * MIB, PutUpload),
        ("multipart", 1, MultipartUpload),
    ],
)
async def test_a_strategy_is_chosen_by_size_or_by_name(strategy: str, size_bytes: int, kind: type) -> None:
    assert isinstance((await House().minted(strategy=strategy, size_bytes=size_bytes)).upload, kind)


async def test_what_one_request_cannot_carry_goes_in_parts_or_not_at_all() -> None:
    terms = MultipartTerms(threshold_bytes=10 * 1024**3)
    house = House(replace(PLACE, multipart=terms))
    assert isinstance((await house.minted(size_bytes=MAX_PUT_BYTES)).upload, PutUpload)
    assert isinstance((await house.minted(size_bytes=MAX_PUT_BYTES + 1)).upload, MultipartUpload)
    with pytest.raises(SizeTooLarge) as refused:
        await house.minted(strategy="put", size_bytes=MAX_PUT_BYTES + 1)
    assert refused.value.errors[0].pointer == "/size_bytes"


@pytest.mark.parametrize("size_bytes", [1, 65 * MIB])
async def test_auto_never_picks_the_strategy_that_is_too_weak(size_bytes: int) -> None:
    house = House()
    house.bucket.uploads.guarantees = replace(ENFORCED, create_only=Level.NONE)
    assert isinstance((await house.minted(size_bytes=size_bytes)).upload, PutUpload)
    with pytest.raises(StrategyTooWeak) as refused:
        await house.minted(size_bytes=size_bytes, strategy="multipart")
    assert refused.value.errors[0].pointer == "/strategy"
    house.bucket.uploads.guarantees = ENFORCED
    house.bucket.guarantees = replace(ENFORCED, create_only=Level.NONE)
    assert isinstance((await house.minted(size_bytes=size_bytes)).upload, MultipartUpload)


async def test_a_required_checksum_is_refused_where_nobody_would_read_to_prove_it() -> None:
    policy = Policy(require=("checksum",))
    read, unread = replace(PLACE, policy=policy), replace(PLACE, policy=policy, processing="none")
    await House(read, guarantees=JUDGED).minted(checksum=ALL_DIGESTS)
    with pytest.raises(ChecksumNotProvable):
        await House(unread, guarantees=JUDGED).minted(checksum=ALL_DIGESTS)
    await House(unread).minted(checksum=ALL_DIGESTS)


async def test_without_credential_or_ledger_nothing_is_promised() -> None:
    house = House()
    house.bucket.sign_trouble = CredentialsUnavailable()
    with pytest.raises(CredentialsUnavailable):
        await house.minted()
    assert await house.events() == []
    house = House(fuse=Fuse(burns_at=2, is_answer_lost=True))
    with pytest.raises(LedgerUnavailable):
        await house.minted()


# --- idempotency


async def test_the_same_request_again_gives_the_same_session_and_fresh_requests() -> None:
    house = House(shards=16)
    first = await house.mint(APP, WISH, "key")
    house.clock.advance(timedelta(minutes=10))
    again = await house.mint(APP, WISH, "key")
    assert again.is_replay
    assert not first.is_replay
    assert again.session.id == first.session.id
    assert request_of(again.upload).url != request_of(first.upload).url
    assert request_of(again.upload).expires_at == house.clock.now() + PLACE.policy.url_ttl
    assert (await house.session(first.session.id)).facts.requests_end_at == request_of(again.upload).expires_at
    assert await house.states() == [State.PENDING]


async def test_the_same_key_with_another_body_is_refused_and_changes_nothing() -> None:
    house = House()
    first = await house.mint(APP, WISH, "key")
    with pytest.raises(IdempotencyKeyReused):
        await house.mint(APP, replace(WISH, size_bytes=13), "key")
    assert await house.session(first.session.id) == first.session


async def test_the_order_of_metadata_is_no_other_body() -> None:
    house = House()
    first = await house.mint(APP, replace(WISH, metadata={"a": "1", "b": "2"}), "key")
    again = await house.mint(APP, replace(WISH, metadata={"b": "2", "a": "1"}), "key")
    assert again.session.id == first.session.id


async def test_a_neighbour_may_use_the_same_key() -> None:
    house = House()
    first = await house.mint(APP, WISH, "key")
    other = await house.mint(replace(APP, id="neighbour"), WISH, "key")
    assert other.session.id != first.session.id
    assert not other.is_replay


async def test_concurrent_twins_make_one_session() -> None:
    house = House(shards=16)
    twins = await asyncio.gather(*(house.mint(APP, WISH, "key") for _ in range(8)))
    assert len({twin.session.id for twin in twins}) == 1
    assert [twin.is_replay for twin in twins].count(False) == 1
    assert all(twin.upload for twin in twins)
    assert await house.states() == [State.PENDING]


async def test_a_replay_of_a_settled_session_has_nothing_left_to_send() -> None:
    house = House()
    first = await house.mint(APP, WISH, "key")
    house.sent(first)
    await house.event(first.session.facts.key)
    await house.looks()
    again = await house.mint(APP, WISH, "key")
    assert (again.is_replay, again.upload, again.session.state) == (True, None, State.VERIFIED)


async def test_a_replay_after_the_deadline_has_nothing_left_to_send_either() -> None:
    house = House(replace(PLACE, policy=Policy(deadline=timedelta(hours=1))))
    first = await house.mint(APP, WISH, "key")
    house.clock.advance(timedelta(hours=1))
    again = await house.mint(APP, WISH, "key")
    assert (again.session.id, again.upload) == (first.session.id, None)


async def test_a_replay_that_loses_its_race_with_a_look_tells_how_things_stand() -> None:
    house = House()
    first = await house.mint(APP, WISH, "key")
    house.sent(first)
    sign = house.bucket.sign_put

    async def verified_meanwhile(*args: object, **kwargs: object) -> object:
        await house.event(first.session.facts.key)
        await house.looks()
        return await sign(*args, **kwargs)  # type: ignore[arg-type]

    class Slow:
        binds = house.bucket.binds
        sign_put = staticmethod(verified_meanwhile)

    bucket = house.buckets["default"]
    house.buckets["default"] = type(bucket)(
        destination=bucket.destination, put=Slow(), get=bucket.get, objects=bucket.objects, remover=bucket.remover
    )
    again = await house.mint(APP, WISH, "key")
    assert (again.session.id, again.session.state, again.upload) == (first.session.id, State.VERIFIED, None)


@pytest.mark.parametrize("key", ["", "a" * 256, "é", "a\nb", "\0", "\x7f", "\ud800"])
async def test_a_key_that_no_header_should_carry_is_refused_before_anything_is_signed(key: str) -> None:
    house = House()
    with pytest.raises(IdempotencyKeyInvalid):
        await house.mint(APP, WISH, key)
    assert house.bucket.signed == 0


# --- remint


async def test_fresh_requests_move_the_end_and_the_next_look() -> None:
    house = House()
    minted = await house.minted()
    house.clock.advance(timedelta(hours=2))
    session, upload = await house.remint(minted.session)
    request = request_of(upload)
    assert session.facts.requests_end_at == request.expires_at == house.clock.now() + PLACE.policy.url_ttl
    assert await house.ledger.next_due() == house.clock.now() + PLACE.policy.first_look
    capsule = f"x-amz-meta-{CAPSULE_FIELD}"
    assert request.headers[capsule] == request_of(minted.upload).headers[capsule]


async def test_nothing_is_minted_after_the_deadline_or_for_a_settled_session() -> None:
    house = House()
    minted = await house.minted()
    session = await house.abort(minted.session)
    with pytest.raises(SessionSettled):
        await house.remint(session)
    with pytest.raises(SessionSettled):
        await house.remint(minted.session)  # what the caller read is out of date
    other = await house.minted()
    house.clock.advance_to(other.session.facts.expires_at)
    with pytest.raises(SessionSettled):
        await house.remint(other.session)
    assert house.bucket.signed <= 3


async def test_two_who_mint_again_at_once_both_get_a_request_that_is_recorded() -> None:
    house = House()
    minted = await house.minted()
    results = await asyncio.gather(*(house.remint(minted.session) for _ in range(4)))
    stands = (await house.session(minted.session.id)).facts.requests_end_at
    assert all(request_of(upload).expires_at <= stands for _, upload in results)


async def test_a_session_of_a_destination_that_is_gone_is_not_minted_again() -> None:
    house = House()
    minted = await house.minted()
    del house.buckets["default"]
    with pytest.raises(SessionSettled):
        await house.remint(minted.session)


async def test_destinations_without_a_prefix_work() -> None:
    house = House(Destination(name="default", bucket="acme", prefix=""))
    assert (await house.uploaded()).state is State.VERIFIED
