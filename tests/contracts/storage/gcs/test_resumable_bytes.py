"""What the holder of a session URI sends besides what was declared: refused, or given away by HEAD."""

import aiohttp
import pytest

from broker.contract import Level
from broker.domain.errors import StoreRefused, StoreUnavailable
from broker.domain.objects import CAPSULE_FIELD, UploadSpec, judge
from tests.contracts.storage.gcs.conftest import Misbehave
from tests.contracts.storage.gcs.stores import GcsPlace, GcsStore
from tests.contracts.storage.resumables import BODY, MULTIPLE, OTHER, SPEC, HttpHolder
from tests.contracts.storage.samples import BODY as SMALL
from tests.contracts.storage.samples import CHECKSUMS, with_digest
from tests.contracts.storage.samples import OTHER as OTHER_SMALL
from tests.contracts.storage.stores import Who

ORIGIN, ELSEWHERE = "https://app.example", "https://evil.example"


@pytest.fixture
def holder(http: aiohttp.ClientSession) -> HttpHolder:
    return HttpHolder(http=http)


@pytest.fixture
async def uri(place: GcsPlace, key: str) -> str:
    return await place.resumable.open(key, SPEC, "sealed", origin=None)


async def test_a_gap_is_refused_and_keeps_nothing(place: GcsPlace, holder: HttpHolder, key: str, uri: str) -> None:
    reply = await holder.piece(uri, BODY[MULTIPLE:], first=MULTIPLE, total=len(BODY))

    assert reply.status not in {200, 308}
    assert await place.resumable.offset(uri, SPEC.size_bytes) == 0
    assert await place.objects.head(key) is None


@pytest.mark.parametrize("size", [1, MULTIPLE - 1, MULTIPLE + 1])
async def test_of_a_piece_that_is_no_multiple_only_multiples_are_kept(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str, size: int
) -> None:
    await holder.piece(uri, BODY[:size], first=0, total=len(BODY))

    offset = await place.resumable.offset(uri, SPEC.size_bytes)
    assert offset is not None
    assert (offset % MULTIPLE, offset <= size) == (0, True)
    assert await holder.send(uri, first=offset) == 200
    assert await place.witness.get(place.bucket, key) == BODY


async def test_of_a_piece_sent_twice_the_first_bytes_stay(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str
) -> None:
    await holder.send(uri, end=MULTIPLE)

    again = await holder.piece(uri, OTHER[:MULTIPLE], first=0, total=len(BODY))

    assert (again.status, again.headers["range"]) == (308, f"bytes=0-{MULTIPLE - 1}")
    assert await holder.send(uri, first=MULTIPLE) == 200
    assert await place.witness.get(place.bucket, key) == BODY


@pytest.mark.parametrize(
    "body",
    [BODY + b"0", BODY + OTHER[:MULTIPLE], BODY[:-1], BODY[:MULTIPLE], b""],
    ids=["a byte more", "a piece more", "a byte less", "a piece of it", "nothing"],
)
async def test_another_size_is_refused_or_given_away_by_head(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str, body: bytes
) -> None:
    reply = await holder.whole(uri, body)

    info = await place.objects.head(key)
    assert (reply.status == 200) is (info is not None)
    assert info is None or judge(SPEC, info) is not None


@pytest.mark.parametrize("body", [BODY + b"0", BODY[:-1], b""], ids=["a byte more", "a byte less", "nothing"])
async def test_a_size_that_such_a_store_takes_is_given_away_by_head_as_the_mint_said(
    lax_store: GcsStore, http: aiohttp.ClientSession, holder: HttpHolder, key: str, body: bytes
) -> None:
    place = lax_store.place(lax_store.bucket, http)
    assert place.resumable.binds(SPEC).size is Level.AT_HEAD
    uri = await place.resumable.open(key, SPEC, "sealed", origin=None)

    assert (await holder.whole(uri, body)).status == 200

    info = await place.objects.head(key)
    assert info is not None
    assert judge(SPEC, info) is not None


async def test_another_type_is_refused_ignored_or_given_away_by_head(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str
) -> None:
    reply = await holder.whole(uri, BODY, **{"content-type": "text/html", "x-upload-content-type": "text/html"})

    info = await place.objects.head(key)
    assert (reply.status == 200) is (info is not None)
    assert info is None or info.content_type == "text/csv" or judge(SPEC, info) is not None


@pytest.mark.parametrize("algorithm", ["crc32c", "md5"])
async def test_other_bytes_than_declared_are_refused_and_end_it(
    place: GcsPlace, holder: HttpHolder, key: str, algorithm: str
) -> None:
    spec = with_digest(algorithm)
    wrong, right = [await place.resumable.open(key, spec, "sealed", origin=None) for _ in range(2)]

    assert (await holder.whole(wrong, OTHER_SMALL)).status == 400
    assert await place.objects.head(key) is None
    assert await place.resumable.cancel(wrong)

    assert (await holder.whole(right, SMALL)).status == 200
    info = await place.objects.head(key)
    assert info is not None
    assert judge(spec, info) is None
    assert getattr(info.checksum, algorithm) == CHECKSUMS[algorithm]


async def test_a_digest_that_comes_with_the_last_bytes_hides_no_others(
    place: GcsPlace, holder: HttpHolder, key: str
) -> None:
    """ "Integrity checks": the last request may bring one. So HEAD judges, and the claim says so."""
    spec = with_digest("crc32c")
    assert place.resumable.binds(spec).checksum is Level.AT_HEAD
    uri = await place.resumable.open(key, spec, "sealed", origin=None)

    reply = await holder.whole(uri, OTHER_SMALL, **{"x-goog-hash": "crc32c=RbrJEg=="})

    info = await place.objects.head(key)
    assert (reply.status == 200) is (info is not None)
    assert info is None or judge(spec, info) is not None


async def test_metadata_that_comes_with_the_last_bytes_is_no_identity(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str
) -> None:
    """The holder of a URI may add some, and perhaps replace: a capsule proves itself, nothing else is believed."""
    forged = {f"x-goog-meta-{CAPSULE_FIELD}": "forged", "x-goog-meta-extra": "1"}

    reply = await holder.whole(uri, BODY, **forged)

    info = await place.objects.head(key)
    assert (reply.status == 200) is (info is not None)
    assert info is None or judge(SPEC, info) is None
    assert info is None or info.metadata[CAPSULE_FIELD] in {"sealed", "forged"}


async def test_an_empty_object_is_made_by_whoever_sends_it_and_not_by_asking(
    place: GcsPlace, holder: HttpHolder, key: str
) -> None:
    spec = UploadSpec(filename="empty", size_bytes=0, content_type="text/csv")
    uri = await place.resumable.open(key, spec, "sealed", origin=None)

    assert await place.resumable.offset(uri, 0) == 0
    assert await place.objects.head(key) is None
    assert (await holder.whole(uri, b"")).status == 200

    info = await place.objects.head(key)
    assert info is not None
    assert judge(spec, info) is None
    assert await place.resumable.offset(uri, 0) == 0


async def test_a_session_reads_lists_and_removes_nothing(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str
) -> None:
    await place.witness.put(place.bucket, f"{key}.other", b"not yours")
    for method in ("GET", "HEAD", "POST", "PATCH"):
        reply = await holder.ask(uri, {}, method=method)
        assert 400 <= reply.status < 500
        assert b"not yours" not in reply.body

    assert await place.witness.keys(place.bucket, key) == {f"{key}.other"}


async def test_another_name_in_the_uri_is_the_same_upload_or_none(
    place: GcsPlace, holder: HttpHolder, key: str, uri: str
) -> None:
    await holder.ask(f"{uri}&name={key}.other", {"content-range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"}, BODY)

    assert await place.objects.head(f"{key}.other") is None


async def test_a_session_of_one_bucket_is_none_of_another(
    store: GcsStore, versioned_place: GcsPlace, holder: HttpHolder, key: str, uri: str
) -> None:
    moved = uri.replace(f"/b/{store.bucket}/", f"/b/{store.versioned_bucket}/")

    assert (await holder.whole(moved, BODY)).status == 404
    assert await versioned_place.resumable.offset(moved, SPEC.size_bytes) is None
    assert await versioned_place.objects.head(key) is None


@pytest.mark.parametrize(
    "foreign", ["https://evil.example/x", "{store}/storage/v1/b/{bucket}/o?upload_id=x", "{store}/upload/x", "", "\x00"]
)
async def test_what_is_no_session_of_this_bucket_is_never_called(
    store: GcsStore, place: GcsPlace, foreign: str
) -> None:
    uri = foreign.format(store=store.url, bucket=store.bucket)

    with pytest.raises(StoreRefused):
        await place.resumable.offset(uri, 1)
    with pytest.raises(StoreRefused):
        await place.resumable.cancel(uri)


@pytest.mark.parametrize("who", ["neighbour", "unknown", "impostor"])
async def test_a_stranger_opens_nothing(store: GcsStore, http: aiohttp.ClientSession, key: str, who: Who) -> None:
    stranger = store.place(store.bucket, http, who=who)

    with pytest.raises(StoreRefused):
        await stranger.resumable.open(key, SPEC, "sealed", origin=None)


async def test_only_pages_of_the_named_origin_may_read_the_answers(
    place: GcsPlace, holder: HttpHolder, key: str
) -> None:
    uri = await place.resumable.open(key, SPEC, "sealed", origin=ORIGIN)

    ours = await holder.piece(uri, BODY[:MULTIPLE], first=0, total=len(BODY), origin=ORIGIN)
    theirs = await holder.piece(uri, b"", first=0, total=len(BODY), origin=ELSEWHERE)

    assert (ours.status, ours.headers["access-control-allow-origin"]) == (308, ORIGIN)
    assert theirs.headers.get("access-control-allow-origin") not in {ELSEWHERE, "*"}


async def test_without_an_origin_no_page_may(holder: HttpHolder, uri: str) -> None:
    reply = await holder.piece(uri, BODY[:MULTIPLE], first=0, total=len(BODY), origin=ELSEWHERE)

    assert reply.headers.get("access-control-allow-origin") not in {ELSEWHERE, "*"}


# --- trouble


@pytest.mark.parametrize("fault", ["unavailable_after_commit", "response_lost"])
async def test_a_commit_whose_answer_was_lost_is_found_by_asking(
    place: GcsPlace, holder: HttpHolder, misbehave: Misbehave, key: str, uri: str, fault: str
) -> None:
    await holder.send(uri, end=MULTIPLE)
    await misbehave(**{fault: 1})
    try:
        assert (await holder.piece(uri, BODY[MULTIPLE:], first=MULTIPLE, total=len(BODY))).status == 503
    except aiohttp.ClientError:
        assert fault == "response_lost"
    await misbehave()

    assert await place.resumable.offset(uri, SPEC.size_bytes) == SPEC.size_bytes
    assert await place.witness.get(place.bucket, key) == BODY


async def test_fewer_bytes_kept_than_sent_are_told(
    place: GcsPlace, holder: HttpHolder, misbehave: Misbehave, key: str, uri: str
) -> None:
    await misbehave(kept_fewer=1)
    reply = await holder.piece(uri, BODY[: 2 * MULTIPLE], first=0, total=len(BODY))
    await misbehave()

    assert (reply.status, reply.headers["range"]) == (308, f"bytes=0-{MULTIPLE - 1}")
    assert await place.resumable.offset(uri, SPEC.size_bytes) == MULTIPLE
    assert await holder.send(uri, first=MULTIPLE) == 200
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_store_that_is_busy_is_unavailable_for_every_call(
    place: GcsPlace, misbehave: Misbehave, key: str, uri: str
) -> None:
    await misbehave(unavailable=1)
    for call in (
        place.resumable.open(key, SPEC, "sealed", origin=None),
        place.resumable.offset(uri, SPEC.size_bytes),
        place.resumable.cancel(uri),
    ):
        with pytest.raises(StoreUnavailable, match="503"):
            await call


async def test_a_cancel_whose_answer_was_lost_is_repeated_until_it_is_told(
    place: GcsPlace, misbehave: Misbehave, holder: HttpHolder, uri: str
) -> None:
    await misbehave(unavailable_after_commit=1)
    with pytest.raises(StoreUnavailable):
        await place.resumable.cancel(uri)
    await misbehave()

    assert await place.resumable.cancel(uri)
    assert await holder.send(uri) not in {200, 308}
