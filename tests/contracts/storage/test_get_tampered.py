"""No neighbour of a signed GET reads anything, or changes anything, on any store."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from broker.contract import SignedRequest
from broker.domain.objects import Pin, pin_of
from broker.storage.s3.sigv4 import SigV4
from tests.contracts.storage.samples import BODY, OTHER, SPEC
from tests.contracts.storage.stores import Place, Send, Store, as_signed
from tests.contracts.storage.tampering import (
    Change,
    flipped_signature,
    in_url,
    on_path,
    unsigned,
    with_body,
    with_header,
    with_method,
    with_query_after,
    with_query_before,
    with_scope_part,
    without_header,
)
from tests.contracts.storage.test_put_tampered import needs

SECRET = b"not yours"

NEIGHBOURS = [
    pytest.param(without_header("if-match"), id="no pin"),
    pytest.param(with_header("if-match", "*"), id="a looser pin"),
    pytest.param(with_header("if-match", '"fedcbafedcbafedcbafedcbafedcba98"'), id="another ETag"),
    pytest.param(in_url("%3Bif-match", ""), id="the pin not among the signed headers"),
    pytest.param(in_url("/report.csv?", "/other.csv?"), id="another key"),
    pytest.param(in_url("/report.csv?", "/../report.csv?"), id="a way up"),
    pytest.param(in_url("attachment", "inline"), id="inline"),
    pytest.param(in_url("report.csv&", "evil.html&"), id="another file name"),
    pytest.param(with_query_before("response-content-type=text%2Fhtml"), id="another type"),
    pytest.param(with_query_after("response-content-disposition=inline"), id="a second disposition"),
    pytest.param(with_query_before("versionId=null"), id="a version"),
    pytest.param(with_query_before("acl"), id="its ACL"),
    pytest.param(with_query_before("tagging"), id="its tags"),
    pytest.param(with_query_before("uploadId=x"), id="parts"),
    pytest.param(with_query_before("partNumber=1"), id="one part"),
    pytest.param(with_query_before("torrent"), id="its torrent"),
    pytest.param(with_header("host", "s3.example.com"), id="another host"),
    pytest.param(with_scope_part(1, "20200101"), id="another day in the scope"),
    pytest.param(with_scope_part(2, "eu-west-9"), id="another region in the scope"),
    pytest.param(with_scope_part(3, "sts"), id="another service in the scope"),
    pytest.param(in_url("X-Amz-Expires=300", "X-Amz-Expires=3000"), id="a longer life"),
    pytest.param(with_query_after("X-Amz-Expires=3000"), id="a second life"),
    pytest.param(flipped_signature, id="another signature"),
    pytest.param(unsigned, id="no signature"),
    pytest.param(with_method("PUT", OTHER), id="PUT"),
    pytest.param(with_method("POST", OTHER), id="POST"),
    pytest.param(with_method("DELETE"), id="DELETE"),
]


async def sign(
    place: Place, key: str, pin: Pin | None, *, now: datetime | None = None, life: timedelta = timedelta(minutes=5)
) -> SignedRequest:
    start = now or place.clock.now()
    return await place.get.sign_get(key, pin, filename="report.csv", now=start, ends=start + life)


async def stored(place: Place, send: Send, key: str) -> Pin:
    """The object that may be read, and a neighbour in its folder that may not."""
    reply = await send.put(await place.sign_put(key, SPEC), BODY)
    assert reply.status == 200, reply
    await place.witness.put(place.bucket, key.replace("/report.csv", "/other.csv"), SECRET)
    info = await place.objects.head(key)
    assert info is not None
    return pin_of(info)


@pytest.mark.parametrize("change", NEIGHBOURS)
async def test_a_neighbour_of_a_signed_get_reads_and_changes_nothing(
    place: Place, send: Send, key: str, change: Change
) -> None:
    pin = await stored(place, send, key)

    reply = await send(change(as_signed(await sign(place, key, pin))))

    assert 400 <= reply.status < 500 or reply.status == 501, reply
    assert BODY not in reply.body
    assert SECRET not in reply.body
    assert await place.witness.get(place.bucket, key) == BODY
    assert len(await place.witness.keys(place.bucket, key.rpartition("/")[0])) == 2


@pytest.mark.parametrize("etag", ["fedcbafedcbafedcbafedcbafedcba98", ""])
async def test_a_get_that_was_pinned_to_another_etag_reads_nothing(
    place: Place, send: Send, key: str, etag: str
) -> None:
    await stored(place, send, key)

    reply = await send(as_signed(await sign(place, key, Pin(etag=etag))))

    assert reply.status == 412
    assert BODY not in reply.body


async def test_a_signed_get_lists_no_bucket(store: Store, place: Place, send: Send, key: str) -> None:
    pin = await stored(place, send, key)

    reply = await send(on_path(f"/{store.bucket}/")(as_signed(await sign(place, key, pin))))

    assert reply.status == 403
    assert b"other.csv" not in reply.body


async def test_a_signed_get_does_not_work_in_another_bucket(store: Store, place: Place, send: Send, key: str) -> None:
    pin = await stored(place, send, key)
    await store.witness.put(store.versioned_bucket, key, BODY)
    change = in_url(f"/{store.bucket}/", f"/{store.versioned_bucket}/")

    reply = await send(change(as_signed(await sign(place, key, pin))))

    assert reply.status == 403
    assert BODY not in reply.body


@pytest.mark.parametrize("is_left_out", [True, False], ids=["left out", "another"])
async def test_a_get_of_one_version_reads_no_other(
    versioned_place: Place, send: Send, key: str, is_left_out: bool
) -> None:
    place = versioned_place
    pin = await stored(place, send, key)
    await place.witness.put(place.bucket, key, SECRET)
    latest = await place.objects.head(key)
    assert latest is not None
    assert latest.version is not None
    assert pin.version is not None
    assert latest.version != pin.version
    pair = f"versionId={pin.version}&"
    change = in_url(pair, "" if is_left_out else f"versionId={latest.version}&")

    reply = await send(change(as_signed(await sign(place, key, pin))))

    assert reply.status == 403
    assert SECRET not in reply.body
    assert (await send(as_signed(await sign(place, key, pin)))).body == BODY


@pytest.mark.parametrize("header", ["x-amz-acl", "x-amz-copy-source", "x-amz-meta-a", "x-amz-tagging"])
async def test_no_unsigned_header_makes_a_get_write(
    store: Store, place: Place, send: Send, key: str, header: str
) -> None:
    pin = await stored(place, send, key)
    value = f"/{store.bucket}/{key}" if header == "x-amz-copy-source" else "public-read"

    reply = await send(with_header(header, value)(as_signed(await sign(place, key, pin))))

    assert reply.status == (200 if place.dialect.accepts_unsigned_headers else 403)
    assert reply.body == BODY or reply.status == 403
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_body_does_not_make_a_get_write(place: Place, send: Send, key: str) -> None:
    pin = await stored(place, send, key)

    await send(with_body(OTHER)(as_signed(await sign(place, key, pin))))

    assert await place.witness.get(place.bucket, key) == BODY


async def test_an_expired_get_reads_nothing(place: Place, send: Send, key: str) -> None:
    pin, then = await stored(place, send, key), place.clock.now() - timedelta(minutes=10)

    reply = await send(as_signed(await sign(place, key, pin, now=then, life=timedelta(minutes=9))))

    assert reply.status == 403
    assert BODY not in reply.body


async def test_a_get_from_the_future_reads_nothing(store: Store, place: Place, send: Send, key: str) -> None:
    needs(store, "refuses future dates")
    pin, then = await stored(place, send, key), place.clock.now() + timedelta(minutes=20)

    reply = await send(as_signed(await sign(place, key, pin, now=then)))

    assert reply.status == 403
    assert BODY not in reply.body


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(SigV4(region="eu-west-9"), id="another region"),
        pytest.param(SigV4(region="default", service="sts"), id="another service"),
    ],
)
async def test_a_get_signed_for_another_region_or_service_reads_nothing(
    store: Store, place: Place, send: Send, key: str, service: SigV4
) -> None:
    needs(store, "checks the scope")
    pin = await stored(place, send, key)
    elsewhere = replace(place, get=replace(place.get, sigv4=service))

    reply = await send(as_signed(await sign(elsewhere, key, pin)))

    assert reply.status in {400, 403}
    assert BODY not in reply.body
