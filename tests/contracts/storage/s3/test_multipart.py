"""Multipart uploads are opened, completed and aborted by the broker alone; a client sends parts exactly as signed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import aiohttp
import pytest

from broker.contract import Level
from broker.domain.errors import StoreUnavailable
from broker.domain.multipart import MIN_PART_BYTES, StoredPart
from broker.domain.objects import judge
from tests.contracts.storage.s3.multiparts import (
    BODY,
    LAST_BYTES,
    SPEC,
    Change,
    PartsPlace,
    in_part_url,
    with_part_body,
    with_part_header,
    with_part_method,
)
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.wire import as_signed

PART = b"123456789"
OTHER_NAME = "other.csv"

Misbehave = Callable[[dict[str, float]], Awaitable[None]]

NEIGHBOURS = [
    pytest.param(with_part_body(PART + b"0"), id="a byte more"),
    pytest.param(with_part_body(PART[:-1]), id="a byte less"),
    pytest.param(with_part_body(b""), id="nothing"),
    pytest.param(in_part_url("partNumber=1&", "partNumber=2&"), id="another number"),
    pytest.param(in_part_url("partNumber=1&", "partNumber=0&"), id="number zero"),
    pytest.param(in_part_url("partNumber=1&", "partNumber=10001&"), id="a number too high"),
    pytest.param(in_part_url("partNumber=1&", "partNumber=01&"), id="the number spelled otherwise"),
    pytest.param(in_part_url("partNumber=1&", ""), id="no number"),
    pytest.param(in_part_url("partNumber=1&", "partNumber=1&partNumber=2&"), id="two numbers"),
    pytest.param(lambda wire: replace(wire, url=f"{wire.url}&partNumber=2"), id="another number at the end"),
    pytest.param(lambda wire: replace(wire, url=f"{wire.url}&uploadId=x"), id="another upload id at the end"),
    pytest.param(lambda wire: replace(wire, url=f"{wire.url}&acl="), id="the ACL of the key at the end"),
    pytest.param(in_part_url("?partNumber", "?uploads=&partNumber"), id="another upload begun"),
    pytest.param(in_part_url("uploadId=", "uploadId=x"), id="an upload id that is none"),
    pytest.param(in_part_url("uploadId=", "upload="), id="no upload id"),
    pytest.param(in_part_url("/report.csv?", f"/{OTHER_NAME}?"), id="another key"),
    pytest.param(in_part_url("/report.csv?", "/report.csv/?"), id="a longer key"),
    pytest.param(with_part_method("POST"), id="POST"),
    pytest.param(with_part_method("GET"), id="GET"),
    pytest.param(with_part_method("DELETE"), id="DELETE"),
    pytest.param(in_part_url("X-Amz-Expires=300", "X-Amz-Expires=301"), id="a longer life"),
    pytest.param(in_part_url("content-length%3B", ""), id="length not among the signed headers"),
    pytest.param(in_part_url("X-Amz-Algorithm", "x-id=UploadPart&X-Amz-Algorithm"), id="an added query parameter"),
    pytest.param(in_part_url("X-Amz-Algorithm", "acl=&X-Amz-Algorithm"), id="the ACL of the key"),
    pytest.param(in_part_url("X-Amz-Signature=", "X-Amz-Signature=0"), id="another signature"),
]


@pytest.fixture
def parts_place(store: S3Store, http: aiohttp.ClientSession) -> PartsPlace:
    return PartsPlace.on(store, store.bucket, http, store.credential)


@pytest.fixture
async def misbehave(store: S3Store, http: aiohttp.ClientSession) -> AsyncIterator[Misbehave]:
    """Tells an emulator what to do wrong; harmless again afterwards."""
    url = f"{store.url}/_emulator/faults"

    async def tell(faults: dict[str, float]) -> None:
        async with http.put(url, json=faults) as answer:
            assert answer.status == 200

    async with http.get(url) as answer:
        if answer.status != 200:
            pytest.skip("this store cannot be told to misbehave")
    yield tell
    await tell({})


# --- parts


async def test_parts_sent_as_signed_are_listed_with_their_lengths(parts_place: PartsPlace, key: str) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    before = await parts_place.uploads.parts(key, upload_id)

    second = await parts_place.send_part(key, upload_id, 2, PART)
    first = await parts_place.send_part(key, upload_id, 1, PART[:4])

    assert before == []
    assert await parts_place.uploads.parts(key, upload_id) == [
        StoredPart(number=1, size_bytes=4, etag=first),
        StoredPart(number=2, size_bytes=9, etag=second),
    ]
    assert await parts_place.objects.head(key) is None


async def test_a_part_sent_again_replaces_itself(parts_place: PartsPlace, key: str) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    request = await parts_place.sign(key, upload_id, 1, len(PART))

    await parts_place.send.put(request, PART)
    again = await parts_place.send.put(request, PART[::-1])

    assert await parts_place.uploads.parts(key, upload_id) == [
        StoredPart(number=1, size_bytes=9, etag=again.headers["etag"].strip('"'))
    ]


@pytest.mark.parametrize("change", NEIGHBOURS)
async def test_a_neighbour_of_a_signed_part_is_refused_and_stores_nothing(
    parts_place: PartsPlace, key: str, change: Change
) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")

    reply = await parts_place.send(change(as_signed(await parts_place.sign(key, upload_id, 1, len(PART)), PART)))

    assert 400 <= reply.status < 500 or reply.status == 501
    assert await parts_place.uploads.parts(key, upload_id) == []
    assert await parts_place.objects.head(key) is None
    assert await parts_place.objects.head(key.replace("report.csv", OTHER_NAME)) is None


async def test_a_part_cannot_be_sent_to_another_upload_of_the_same_key(parts_place: PartsPlace, key: str) -> None:
    one, other = [await parts_place.uploads.open(key, SPEC, "sealed") for _ in range(2)]
    request = await parts_place.sign(key, one, 1, len(PART))

    reply = await parts_place.send(in_part_url(one, other)(as_signed(request, PART)))

    assert reply.status == 403
    assert await parts_place.uploads.parts(key, other) == []


async def test_bodies_of_swapped_parts_are_refused_by_their_lengths(parts_place: PartsPlace, key: str) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    first = await parts_place.sign(key, upload_id, 1, len(PART))
    last = await parts_place.sign(key, upload_id, 2, LAST_BYTES)

    replies = [await parts_place.send.put(first, BODY[-LAST_BYTES:]), await parts_place.send.put(last, PART)]

    assert [reply.status for reply in replies] == [403, 403]
    assert await parts_place.uploads.parts(key, upload_id) == []


async def test_an_expired_part_is_refused(parts_place: PartsPlace, key: str) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    now = parts_place.clock.now() - timedelta(minutes=10)
    ends = now + timedelta(minutes=9)
    request = await parts_place.signer.sign_part(key, upload_id, 1, len(PART), now=now, ends=ends)

    reply = await parts_place.send.put(request, PART)

    assert request.expires_at < parts_place.clock.now()
    assert reply.status == 403
    assert await parts_place.uploads.parts(key, upload_id) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-acl", "public-read"),
        ("x-amz-tagging", "a=b"),
        ("x-amz-meta-extra", "1"),
        ("x-amz-checksum-sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="),
        ("x-amz-storage-class", "GLACIER"),
    ],
)
async def test_an_unsigned_amz_header_on_a_part_is_refused_or_changes_nothing(
    store: S3Store, parts_place: PartsPlace, key: str, name: str, value: str
) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    wire = as_signed(await parts_place.sign(key, upload_id, 1, len(PART)), PART)

    reply = await parts_place.send(with_part_header(name, value)(wire))

    stored = await parts_place.uploads.parts(key, upload_id)
    assert stored is not None
    if not store.dialect.accepts_unsigned_headers:
        assert reply.status == 403
    assert [part.size_bytes for part in stored] == ([len(PART)] if reply.status == 200 else [])


async def test_a_part_cannot_be_turned_into_a_copy(store: S3Store, parts_place: PartsPlace, key: str) -> None:
    if store.dialect.accepts_unsigned_headers:
        pytest.skip("this store obeys unsigned headers: its destination needs a write credential that cannot read")
    private, stored = f"{key}.private", (await parts_place.uploaded(f"{key}.private"))
    await parts_place.uploads.complete(private, *stored)
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    wire = as_signed(await parts_place.sign(key, upload_id, 1, 0))
    source = urlsplit((await parts_place.sign(private, "x", 1, 0)).url).path

    reply = await parts_place.send(with_part_header("x-amz-copy-source", source)(wire))

    assert reply.status == 403
    assert await parts_place.uploads.parts(key, upload_id) == []


async def test_more_parts_than_a_page_holds_are_all_listed(parts_place: PartsPlace, key: str) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    numbers = [*range(1, 1_003), 10_000]

    await parts_place.send_many(key, upload_id, numbers)

    stored = await parts_place.uploads.parts(key, upload_id)
    assert stored is not None
    assert [(part.number, part.size_bytes) for part in stored] == [(number, len(str(number))) for number in numbers]


# --- completion


async def test_a_completed_upload_is_what_was_declared(parts_place: PartsPlace, key: str) -> None:
    upload_id, stored = await parts_place.uploaded(key)

    is_completed = await parts_place.uploads.complete(key, upload_id, stored)

    info = await parts_place.objects.head(key)
    assert is_completed
    assert info is not None
    assert judge(SPEC, info) is None
    assert info.metadata == {"upload-session": "sealed", "mtime": "1732100000"}
    assert await parts_place.uploads.parts(key, upload_id) is None
    assert await parts_place.remover.open_uploads(key) == []


@pytest.mark.parametrize("name", ["a b+c%41&d=e?f#g;h.csv", "é日本🗺.csv", "~'()*!@$,[]{}|^`\"\\<>.csv"])
async def test_every_key_can_be_uploaded_in_parts(parts_place: PartsPlace, key: str, name: str) -> None:
    key = f"{key}/{name}"
    upload_id, stored = await parts_place.uploaded(key)

    assert await parts_place.remover.open_uploads(key) == [upload_id]
    assert await parts_place.uploads.complete(key, upload_id, stored)
    assert await parts_place.objects.head(key) is not None


async def test_in_a_versioned_bucket_a_completed_upload_names_its_version(
    store: S3Store, http: aiohttp.ClientSession, key: str
) -> None:
    versioned = PartsPlace.on(store, store.versioned_bucket, http, store.credential)

    assert await versioned.uploads.complete(key, *(await versioned.uploaded(key)))

    info = await versioned.objects.head(key)
    assert info is not None
    assert info.version is not None


@pytest.mark.parametrize(
    "named",
    [
        pytest.param(lambda parts: [parts[0], StoredPart(number=2, size_bytes=7, etag="0" * 32)], id="another ETag"),
        pytest.param(lambda parts: [*parts, StoredPart(number=3, size_bytes=7, etag=parts[1].etag)], id="a part more"),
        pytest.param(
            lambda parts: [
                StoredPart(number=1, size_bytes=MIN_PART_BYTES, etag=parts[1].etag),
                StoredPart(number=2, size_bytes=LAST_BYTES, etag=parts[0].etag),
            ],
            id="swapped ETags",
        ),
    ],
)
async def test_what_is_not_in_the_store_is_not_completed(
    parts_place: PartsPlace, key: str, named: Callable[[list[StoredPart]], list[StoredPart]]
) -> None:
    upload_id, stored = await parts_place.uploaded(key)

    with pytest.raises(StoreUnavailable, match="InvalidPart"):
        await parts_place.uploads.complete(key, upload_id, named(stored))

    assert await parts_place.objects.head(key) is None
    assert await parts_place.uploads.complete(key, upload_id, stored)


async def test_completing_twice_changes_nothing(parts_place: PartsPlace, key: str) -> None:
    upload_id, stored = await parts_place.uploaded(key)
    assert await parts_place.uploads.complete(key, upload_id, stored)
    first = await parts_place.objects.head(key)

    # AWS says so again, others do not know the upload any more: HEAD decides.
    assert await parts_place.uploads.complete(key, upload_id, stored) in {True, False}

    assert first is not None
    assert await parts_place.objects.head(key) == first


async def test_an_upload_that_never_was_is_not_completed(parts_place: PartsPlace, key: str) -> None:
    upload_id, stored = await parts_place.uploaded(key)
    await parts_place.remover.abort(key, upload_id)

    assert not await parts_place.uploads.complete(key, upload_id, stored)
    assert await parts_place.objects.head(key) is None


async def test_completion_is_create_only_where_that_is_claimed_and_only_there(
    parts_place: PartsPlace, key: str
) -> None:
    assert await parts_place.uploads.complete(key, *(await parts_place.uploaded(key)))
    first = await parts_place.objects.head(key)

    is_completed = await parts_place.uploads.complete(key, *(await parts_place.uploaded(key, body=BODY[::-1])))

    is_enforced = parts_place.signer.binds(SPEC).create_only is Level.ENFORCED
    assert is_completed is not is_enforced
    assert (await parts_place.objects.head(key) == first) is is_enforced


async def test_a_completion_that_fails_after_its_200_is_an_error(
    parts_place: PartsPlace, misbehave: Misbehave, key: str
) -> None:
    upload_id, stored = await parts_place.uploaded(key)

    await misbehave({"complete_error": 1})
    with pytest.raises(StoreUnavailable, match="200 InternalError"):
        await parts_place.uploads.complete(key, upload_id, stored)
    await misbehave({})

    assert await parts_place.objects.head(key) is None
    assert await parts_place.uploads.complete(key, upload_id, stored)


async def test_a_completion_whose_answer_was_lost_is_found_by_head(
    parts_place: PartsPlace, misbehave: Misbehave, key: str
) -> None:
    upload_id, stored = await parts_place.uploaded(key)

    await misbehave({"response_lost": 1})
    with pytest.raises(StoreUnavailable):
        await parts_place.uploads.complete(key, upload_id, stored)
    await misbehave({})

    assert await parts_place.uploads.parts(key, upload_id) is None
    assert await parts_place.uploads.complete(key, upload_id, stored) in {True, False}
    info = await parts_place.objects.head(key)
    assert info is not None
    assert judge(SPEC, info) is None


async def test_a_store_that_is_busy_is_unavailable_for_every_call(
    parts_place: PartsPlace, misbehave: Misbehave, key: str
) -> None:
    upload_id, stored = await parts_place.uploaded(key)

    await misbehave({"slow_down": 1})
    for call in (
        parts_place.uploads.open(key, SPEC, "sealed"),
        parts_place.uploads.parts(key, upload_id),
        parts_place.uploads.complete(key, upload_id, stored),
        parts_place.remover.open_uploads(key),
        parts_place.remover.abort(key, upload_id),
    ):
        with pytest.raises(StoreUnavailable, match="503 SlowDown"):
            await call


# --- clearing away


async def test_an_aborted_upload_takes_no_part_and_leaves_nothing(parts_place: PartsPlace, key: str) -> None:
    upload_id = await parts_place.uploads.open(key, SPEC, "sealed")
    request = await parts_place.sign(key, upload_id, 1, len(PART))
    await parts_place.send.put(request, PART)

    is_clear = await parts_place.remover.abort(key, upload_id)
    late = await parts_place.send.put(request, PART)

    assert is_clear
    assert late.status == 404
    assert await parts_place.uploads.parts(key, upload_id) is None
    assert await parts_place.remover.open_uploads(key) == []
    assert await parts_place.remover.abort(key, upload_id)


async def test_uploads_that_nobody_recorded_are_found_by_exactly_their_key(parts_place: PartsPlace, key: str) -> None:
    orphans = {await parts_place.uploads.open(key, SPEC, "sealed") for _ in range(3)}
    for neighbour in (f"{key}2", f"{key}/below", key.removesuffix("v")):
        await parts_place.uploads.open(neighbour, SPEC, "sealed")
    with suppress(StoreUnavailable):  # begun all the same, but XML has no way to spell the answer
        await parts_place.uploads.open(f"{key}\x01", SPEC, "sealed")

    assert set(await parts_place.remover.open_uploads(key)) == orphans


async def test_an_upload_id_opens_nothing_under_another_key(parts_place: PartsPlace, key: str) -> None:
    upload_id, stored = await parts_place.uploaded(key)
    other = f"{key}.other"

    assert await parts_place.uploads.parts(other, upload_id) is None
    assert not await parts_place.uploads.complete(other, upload_id, stored)
    assert await parts_place.remover.abort(other, upload_id)
    assert await parts_place.uploads.parts(key, upload_id) == stored
