"""No neighbour of a signed GET reads anything, or changes anything, on any store."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from broker.contract import SignedRequest
from broker.domain.objects import Pin, pin_of
from tests.contracts.storage.rows import over_stores
from tests.contracts.storage.samples import BODY, OTHER, SPEC
from tests.contracts.storage.stores import Place, Store
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
    with_query_value,
    with_scope_part,
)
from tests.contracts.storage.test_put_tampered import needs
from tests.contracts.storage.wire import Send, as_signed
from tests.contracts.storage.words import Words

SECRET = b"not yours"


def neighbours(words: Words) -> Mapping[str, Change]:
    return {
        **words.pins,
        "another key": in_url("/report.csv?", "/other.csv?"),
        "a way up": in_url("/report.csv?", "/../report.csv?"),
        "inline": in_url("attachment", "inline"),
        "another file name": in_url("report.csv&", "evil.html&"),
        "another type": with_query_before("response-content-type=text%2Fhtml"),
        "a second disposition": with_query_after("response-content-disposition=inline"),
        "a version": with_query_before(f"{words.version}={words.other_version}"),
        "no version": with_query_before(f"{words.version}=null"),
        "its ACL": with_query_before("acl"),
        "its tags": with_query_before("tagging"),
        "parts": with_query_before("uploadId=x"),
        "one part": with_query_before("partNumber=1"),
        "its torrent": with_query_before("torrent"),
        "another host": with_header("host", "s3.example.com"),
        "another day in the scope": with_scope_part(1, "20200101"),
        "another region in the scope": with_scope_part(2, "eu-west-9"),
        "another service in the scope": with_scope_part(3, "sts"),
        "a longer life": in_url(f"{words.query}Expires=300", f"{words.query}Expires=3000"),
        "a second life": with_query_after(f"{words.query}Expires=3000"),
        "another signature": flipped_signature,
        "no signature": unsigned,
        "PUT": with_method("PUT", OTHER),
        "POST": with_method("POST", OTHER),
        "DELETE": with_method("DELETE"),
    }


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


@over_stores("change", neighbours)
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
async def test_a_get_that_was_pinned_to_another_state_reads_nothing(
    store: Store, place: Place, send: Send, key: str, etag: str
) -> None:
    await stored(place, send, key)

    reply = await send(as_signed(await sign(place, key, store.words.other_pin(etag))))

    assert reply.status == store.words.stale
    assert BODY not in reply.body


async def test_a_signed_get_lists_no_bucket(store: Store, place: Place, send: Send, key: str) -> None:
    pin = await stored(place, send, key)

    reply = await send(on_path(f"/{store.bucket}/")(as_signed(await sign(place, key, pin))))

    assert reply.status in {403, 405}  # 405: it never lists there
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
    store: Store, versioned_place: Place, send: Send, key: str, is_left_out: bool
) -> None:
    place = versioned_place
    pin = await stored(place, send, key)
    await place.witness.put(place.bucket, key, SECRET)
    latest = await place.objects.head(key)
    assert latest is not None
    assert latest.version is not None
    assert pin.version is not None
    assert latest.version != pin.version
    change = with_query_value(store.words.version, None if is_left_out else latest.version)

    reply = await send(change(as_signed(await sign(place, key, pin))))

    assert reply.status == 403
    assert SECRET not in reply.body
    assert (await send(as_signed(await sign(place, key, pin)))).body == BODY


@pytest.mark.parametrize("header", ["acl", "copy-source", "meta-a", "tagging"])
async def test_no_unsigned_header_makes_a_get_write(
    store: Store, place: Place, send: Send, key: str, header: str
) -> None:
    pin = await stored(place, send, key)
    value = f"/{store.bucket}/{key}" if header == "copy-source" else "public-read"

    reply = await send(with_header(f"{store.words.header}{header}", value)(as_signed(await sign(place, key, pin))))

    assert reply.status == (200 if store.accepts_unsigned_headers else store.words.malformed)
    assert (reply.body == BODY) is (reply.status == 200)
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_body_does_not_make_a_get_write(place: Place, send: Send, key: str) -> None:
    pin = await stored(place, send, key)

    await send(with_body(OTHER)(as_signed(await sign(place, key, pin))))

    assert await place.witness.get(place.bucket, key) == BODY


async def test_an_expired_get_reads_nothing(store: Store, place: Place, send: Send, key: str) -> None:
    pin, then = await stored(place, send, key), place.clock.now() - timedelta(minutes=10)

    reply = await send(as_signed(await sign(place, key, pin, now=then, life=timedelta(minutes=9))))

    assert reply.status == store.words.expired
    assert BODY not in reply.body


async def test_a_get_from_the_future_reads_nothing(store: Store, place: Place, send: Send, key: str) -> None:
    needs(store, "refuses future dates")
    pin, then = await stored(place, send, key), place.clock.now() + timedelta(minutes=20)

    reply = await send(as_signed(await sign(place, key, pin, now=then)))

    assert reply.status == 403
    assert BODY not in reply.body
