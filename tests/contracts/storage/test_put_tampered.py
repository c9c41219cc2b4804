"""No neighbour of a signed PUT stores anything, on any store.

What a dialect's row claims is in test_guarantees.py, headers that nobody signed in test_unsigned_headers.py, parts in
s3/test_multipart.py.
"""

from collections.abc import Callable, Mapping
from datetime import timedelta

import pytest

from tests.contracts.storage.rows import over_stores
from tests.contracts.storage.samples import BODY, OTHER, SPEC
from tests.contracts.storage.stores import Lack, Place, PlaceWith, Store, Who
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
from tests.contracts.storage.wire import Reply, Send, Wire, as_signed, break_off, send_raw
from tests.contracts.storage.words import Words


def neighbours(words: Words) -> Mapping[str, Change]:
    return {
        "a byte more": with_body(BODY + b"0"),
        "a byte less": with_body(BODY[:-1]),
        "nothing": with_body(b""),
        "another type": with_header("content-type", "text/html"),
        "the type with a parameter": with_header("content-type", "text/csv; charset=utf-8"),
        "no type": without_header("content-type"),
        "not create-only": without_header(words.create_only),
        "another condition": with_header(words.create_only, words.other_condition),
        "no capsule": without_header(f"{words.metadata}upload-session"),
        "another capsule": with_header(f"{words.metadata}upload-session", "forged"),
        "other metadata": with_header(f"{words.metadata}mtime", "0"),
        "another key": in_url("/report.csv?", "/other.csv?"),
        "a longer key": in_url("/report.csv?", "/report.csv/?"),
        "a dot in the key": in_url("/report.csv?", "/%2e/report.csv?"),
        "a second slash": in_url("/uploads/", "//uploads/"),
        "another host": with_header("host", "s3.example.com"),
        "another name of this host": with_header("host", "s3.localhost"),
        "POST": with_method("POST"),
        "GET": with_method("GET"),
        "HEAD": with_method("HEAD"),
        "DELETE": with_method("DELETE"),
        "another day in the scope": with_scope_part(1, "20200101"),
        "another region in the scope": with_scope_part(2, "eu-west-9"),
        "another service in the scope": with_scope_part(3, "sts"),
        "another terminal in the scope": with_scope_part(4, words.other_terminal),
        "another algorithm": in_url(words.algorithm, words.other_algorithm),
        "a longer life": in_url(f"{words.query}Expires=300", f"{words.query}Expires=301"),
        "no end": in_url(f"{words.query}Expires=300&", ""),
        "length not among the signed headers": in_url(f"{words.size}%3B", ""),
        "type not among the signed headers": in_url("content-type%3B", ""),
        "condition not among the signed headers": in_url(f"{words.create_only}%3B", ""),
        "host not among the signed headers": in_url("host%3B", ""),
        "a second authorization": with_header("authorization", f"{words.algorithm} Credential=x"),
        "another signature": flipped_signature,
        "no signature": unsigned,
    }


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
    "generation=1",
    "compose",
    "uploadType=resumable",
    "x-goog-acl=public-read",
    "ifGenerationMatch=1",
    "partNumber=1&uploadId=x",
    "append&position=0",
    "x-amz-acl=public-read",
    "x-amz-copy-source=%2Fa%2Fb",
    "response-content-type=text%2Fhtml",
]


async def assert_nothing_is_stored(store: Store, key: str) -> None:
    """Neither under the key nor anywhere near it; and nothing was begun."""
    folder = key.rpartition("/")[0]
    assert await store.witness.keys(store.bucket, folder) == set()
    assert await store.witness.keys(store.bucket, "/") == set()
    assert await store.witness.unfinished(store.bucket, folder) == set()


def assert_refused(reply: Reply) -> None:
    # 501: a store may say so of a sub-resource that it lacks before it looks at the signature.
    assert 400 <= reply.status < 500 or reply.status == 501, reply


@over_stores("change", neighbours)
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
    assert not await store.witness.has_bucket(bucket)


async def expired(place: Place, key: str) -> Wire:
    now = place.clock.now() - timedelta(minutes=10)
    request = await place.put.sign_put(key, SPEC, "sealed", now=now, ends=now + timedelta(minutes=9))
    assert request.expires_at < place.clock.now()
    return as_signed(request, BODY)


async def test_an_expired_put_is_refused(store: Store, place: Place, send: Send, key: str) -> None:
    reply = await send(await expired(place, key))

    assert reply.status == store.words.expired
    await assert_nothing_is_stored(store, key)


@pytest.mark.parametrize("add", [with_query_before, with_query_after], ids=["before", "after"])
@pytest.mark.parametrize("pair", ["Expires=604800", "Date={now}"])
async def test_a_parameter_said_twice_brings_no_expired_put_back_to_life(
    store: Store, place: Place, send: Send, key: str, pair: str, add: Callable[[str], Change]
) -> None:
    now = place.clock.now()

    again = f"{store.words.query}{pair.format(now=f'{now:%Y%m%dT%H%M%SZ}')}"
    reply = await send(add(again)(await expired(place, key)))

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
    "who", [pytest.param("unknown", id="unknown key"), pytest.param("impostor", id="wrong secret")]
)
async def test_a_put_signed_by_nobody_we_know_is_refused(
    store: Store, place_with: PlaceWith, send: Send, key: str, who: Who
) -> None:
    reply = await send.put(await place_with(who).sign_put(key, SPEC), BODY)

    assert reply.status in {400, 403}
    await assert_nothing_is_stored(store, key)


async def test_another_account_may_not_put_here(store: Store, place_with: PlaceWith, send: Send, key: str) -> None:
    reply = await send.put(await place_with("neighbour").sign_put(key, SPEC), BODY)

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
