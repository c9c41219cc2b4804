"""No neighbour of a signed PUT stores anything, on any store.

What a dialect's row claims is in test_guarantees.py, headers that nobody signed in test_unsigned_headers.py. The place
for parts is test_part_tampered.py beside this file, with the same tampering.py, samples.py and `Witness.parts`.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from broker.storage.s3.sigv4 import Credential, SigV4
from tests.contracts.storage.samples import BODY, OTHER, SPEC
from tests.contracts.storage.stores import (
    Lack,
    Place,
    PlaceWith,
    Reply,
    Send,
    Store,
    Wire,
    as_signed,
    break_off,
    send_raw,
)
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

NEIGHBOURS = [
    pytest.param(with_body(BODY + b"0"), id="a byte more"),
    pytest.param(with_body(BODY[:-1]), id="a byte less"),
    pytest.param(with_body(b""), id="nothing"),
    pytest.param(with_header("content-type", "text/html"), id="another type"),
    pytest.param(with_header("content-type", "text/csv; charset=utf-8"), id="the type with a parameter"),
    pytest.param(without_header("content-type"), id="no type"),
    pytest.param(without_header("if-none-match"), id="not create-only"),
    pytest.param(with_header("if-none-match", '"abc"'), id="another condition"),
    pytest.param(without_header("x-amz-meta-upload-session"), id="no capsule"),
    pytest.param(with_header("x-amz-meta-upload-session", "forged"), id="another capsule"),
    pytest.param(with_header("x-amz-meta-mtime", "0"), id="other metadata"),
    pytest.param(in_url("/report.csv?", "/other.csv?"), id="another key"),
    pytest.param(in_url("/report.csv?", "/report.csv/?"), id="a longer key"),
    pytest.param(in_url("/report.csv?", "/%2e/report.csv?"), id="a dot in the key"),
    pytest.param(in_url("/uploads/", "//uploads/"), id="a second slash"),
    pytest.param(with_header("host", "s3.example.com"), id="another host"),
    pytest.param(with_header("host", "s3.localhost"), id="another name of this host"),
    pytest.param(with_method("POST"), id="POST"),
    pytest.param(with_method("GET"), id="GET"),
    pytest.param(with_method("HEAD"), id="HEAD"),
    pytest.param(with_method("DELETE"), id="DELETE"),
    pytest.param(with_scope_part(1, "20200101"), id="another day in the scope"),
    pytest.param(with_scope_part(2, "eu-west-9"), id="another region in the scope"),
    pytest.param(with_scope_part(3, "sts"), id="another service in the scope"),
    pytest.param(with_scope_part(4, "aws5_request"), id="another terminal in the scope"),
    pytest.param(in_url("AWS4-HMAC-SHA256", "AWS4-HMAC-SHA1"), id="another algorithm"),
    pytest.param(in_url("X-Amz-Expires=300", "X-Amz-Expires=301"), id="a longer life"),
    pytest.param(in_url("X-Amz-Expires=300&", ""), id="no end"),
    pytest.param(in_url("content-length%3B", ""), id="length not among the signed headers"),
    pytest.param(in_url("content-type%3B", ""), id="type not among the signed headers"),
    pytest.param(in_url("if-none-match%3B", ""), id="condition not among the signed headers"),
    pytest.param(in_url("host%3B", ""), id="host not among the signed headers"),
    pytest.param(with_header("authorization", "AWS4-HMAC-SHA256 Credential=x"), id="a second authorization"),
    pytest.param(flipped_signature, id="another signature"),
    pytest.param(unsigned, id="no signature"),
]

QUERIES = [
    "x-id=PutObject",
    "acl",
    "acl=",
    "tagging",
    "uploads",
    "policy",
    "cors",
    "retention",
    "legal-hold",
    "restore",
    "versionId=null",
    "partNumber=1&uploadId=x",
    "append&position=0",
    "x-amz-acl=public-read",
    "x-amz-copy-source=%2Fa%2Fb",
    "response-content-type=text%2Fhtml",
]


async def assert_nothing_is_stored(store: Store, key: str) -> None:
    """Neither under the key nor anywhere near it; and no multipart was begun."""
    folder = key.rpartition("/")[0]
    assert await store.witness.keys(store.bucket, folder) == set()
    assert await store.witness.keys(store.bucket, "/") == set()
    assert await store.witness.parts(store.bucket, folder) == set()


def assert_refused(reply: Reply) -> None:
    # 501: a store may say so of a sub-resource that it lacks before it looks at the signature.
    assert 400 <= reply.status < 500 or reply.status == 501, reply


@pytest.mark.parametrize("change", NEIGHBOURS)
async def test_a_neighbour_of_a_signed_put_is_refused_and_stores_nothing(
    store: Store, place: Place, send: Send, key: str, change: Change
) -> None:
    reply = await send(change(as_signed(await place.sign_put(key, SPEC), BODY)))

    assert_refused(reply)
    await assert_nothing_is_stored(store, key)


@pytest.mark.parametrize("add", [with_query_before, with_query_after], ids=["before", "after"])
@pytest.mark.parametrize("pair", QUERIES)
async def test_an_added_query_parameter_is_refused_and_does_nothing(
    store: Store, place: Place, send: Send, key: str, pair: str, add: Callable[[str], Change]
) -> None:
    reply = await send(add(pair)(as_signed(await place.sign_put(key, SPEC), BODY)))

    assert_refused(reply)
    await assert_nothing_is_stored(store, key)


async def test_a_signed_put_does_not_work_in_another_bucket(store: Store, place: Place, send: Send, key: str) -> None:
    change = in_url(f"/{store.bucket}/", f"/{store.versioned_bucket}/")

    reply = await send(change(as_signed(await place.sign_put(key, SPEC), BODY)))

    assert_refused(reply)
    assert await store.witness.keys(store.versioned_bucket, key) == set()
    await assert_nothing_is_stored(store, key)


async def test_another_spelling_of_the_key_means_the_same_key_or_nothing(
    store: Store, place: Place, send: Send, key: str
) -> None:
    respelled = in_url("/report.csv?", "/%72eport%2Ecsv?")(as_signed(await place.sign_put(key, SPEC), BODY))

    reply = await send(respelled)

    assert reply.status in {200, 403}
    assert await store.witness.keys(store.bucket, key.rpartition("/")[0]) == ({key} if reply.status == 200 else set())


async def test_a_signed_put_does_not_make_a_bucket(store: Store, place: Place, send: Send, key: str) -> None:
    bucket = f"{store.bucket}-new"

    reply = await send(on_path(f"/{bucket}")(as_signed(await place.sign_put(key, SPEC), BODY)))

    assert_refused(reply)
    assert bucket not in await store.witness.buckets()


@pytest.mark.parametrize(
    "service",
    [
        pytest.param(SigV4(region="eu-west-9"), id="another region"),
        pytest.param(SigV4(region="default", service="sts"), id="another service"),
    ],
)
async def test_a_put_signed_for_another_region_or_service_is_refused(
    store: Store, place: Place, send: Send, key: str, service: SigV4
) -> None:
    needs(store, "checks the scope")
    elsewhere = replace(place, put=replace(place.put, sigv4=service))

    reply = await send.put(await elsewhere.sign_put(key, SPEC), BODY)

    assert_refused(reply)
    await assert_nothing_is_stored(store, key)


async def expired(place: Place, key: str) -> Wire:
    now = place.clock.now() - timedelta(minutes=10)
    request = await place.put.sign_put(key, SPEC, "sealed", now=now, ends=now + timedelta(minutes=9))
    assert request.expires_at < place.clock.now()
    return as_signed(request, BODY)


async def test_an_expired_put_is_refused(store: Store, place: Place, send: Send, key: str) -> None:
    reply = await send(await expired(place, key))

    assert reply.status == 403
    await assert_nothing_is_stored(store, key)


@pytest.mark.parametrize("add", [with_query_before, with_query_after], ids=["before", "after"])
@pytest.mark.parametrize("pair", ["X-Amz-Expires=604800", "X-Amz-Date={now}"])
async def test_a_parameter_said_twice_brings_no_expired_put_back_to_life(
    store: Store, place: Place, send: Send, key: str, pair: str, add: Callable[[str], Change]
) -> None:
    now = place.clock.now()

    reply = await send(add(pair.format(now=f"{now:%Y%m%dT%H%M%SZ}"))(await expired(place, key)))

    assert_refused(reply)
    await assert_nothing_is_stored(store, key)


async def test_a_put_from_the_future_is_refused(store: Store, place: Place, send: Send, key: str) -> None:
    needs(store, "refuses future dates")
    now = place.clock.now() + timedelta(minutes=20)
    request = await place.put.sign_put(key, SPEC, "sealed", now=now, ends=now + timedelta(minutes=5))

    reply = await send.put(request, BODY)

    assert reply.status == 403
    await assert_nothing_is_stored(store, key)


@pytest.mark.parametrize(
    "credential_of",
    [
        pytest.param(lambda keys: Credential(access_key="NOBODY", secret_key=keys.secret_key), id="unknown key"),
        pytest.param(lambda keys: Credential(access_key=keys.access_key, secret_key="wrong"), id="wrong secret"),
    ],
)
async def test_a_put_signed_by_nobody_we_know_is_refused(
    store: Store,
    place_with: PlaceWith,
    send: Send,
    key: str,
    credential_of: Callable[[Credential], Credential],
) -> None:
    stranger = place_with(credential_of(store.credential))

    reply = await send.put(await stranger.sign_put(key, SPEC), BODY)

    assert reply.status in {400, 403}
    await assert_nothing_is_stored(store, key)


async def test_a_put_signed_with_an_invented_session_token_is_refused(
    store: Store, place_with: PlaceWith, send: Send, key: str
) -> None:
    needs(store, "checks session tokens")
    keys = store.credential
    stranger = place_with(Credential(access_key=keys.access_key, secret_key=keys.secret_key, session_token="invented"))

    reply = await send.put(await stranger.sign_put(key, SPEC), BODY)

    assert reply.status in {400, 403}
    await assert_nothing_is_stored(store, key)


async def test_another_account_may_not_put_here(store: Store, place_with: PlaceWith, send: Send, key: str) -> None:
    reply = await send.put(await place_with(store.writer).sign_put(key, SPEC), BODY)

    assert reply.status == 403
    await assert_nothing_is_stored(store, key)


async def test_what_follows_the_signed_length_is_not_stored(store: Store, place: Place, key: str) -> None:
    """It is the next request of the connection, and nonsense."""
    status = await send_raw(await place.sign_put(key, SPEC), {"content-length": str(len(BODY))}, BODY + b"more")

    if status == 200:
        assert await store.witness.get(store.bucket, key) == BODY
    else:
        await assert_nothing_is_stored(store, key)


CHUNKED = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in (BODY, OTHER)) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"transfer-encoding": "chunked"}, id="without length"),
        pytest.param({"transfer-encoding": "chunked", "content-length": str(len(BODY))}, id="beside the length"),
        pytest.param({"content-length": str(len(BODY)), "transfer-encoding": "chunked"}, id="after the length"),
    ],
)
async def test_a_chunked_body_does_not_get_around_the_signed_length(
    store: Store, place: Place, key: str, headers: dict[str, str]
) -> None:
    status = await send_raw(await place.sign_put(key, SPEC), headers, CHUNKED)

    assert 400 <= status < 600
    await assert_nothing_is_stored(store, key)


async def test_a_body_that_breaks_off_stores_nothing(store: Store, place: Place, key: str) -> None:
    await break_off(await place.sign_put(key, SPEC), {"content-length": str(len(BODY))}, BODY[:4])

    await assert_nothing_is_stored(store, key)


def needs(store: Store, ability: Lack) -> None:
    if ability in store.lacks:
        pytest.skip(f"this store never {ability}, as tests/peers/ceph/test_facts.py proves")
