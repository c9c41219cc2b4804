"""A signed PUT permits one object, one size, one type, once: it is accepted as signed, and no neighbour of it is."""

import asyncio
import base64
import hashlib
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from urllib.parse import urlsplit

import pytest

from broker.contract import Checksum, Level
from broker.domain.objects import UploadSpec, judge
from broker.storage.s3.sigv4 import Credential
from tests.contracts.storage.stores import Lack, Place, PlaceWith, Send, Wire, as_signed

BODY = b"123456789"
SPEC = UploadSpec(
    filename="report.csv", size_bytes=len(BODY), content_type="text/csv", object_metadata={"mtime": "1732100000"}
)
CHECKSUMS = {
    "sha256": base64.b64encode(hashlib.sha256(BODY).digest()).decode(),
    "md5": base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode(),
    # The check values of the catalogue of parametrised CRC algorithms: CRC-32C e3069283, CRC-64/NVME ae8b14860a799888.
    "crc32c": base64.b64encode(bytes.fromhex("e3069283")).decode(),
    "crc64nvme": base64.b64encode(bytes.fromhex("ae8b14860a799888")).decode(),
}

Change = Callable[[Wire], Wire]


def with_header(name: str, value: str) -> Change:
    return lambda wire: replace(wire, headers={**wire.headers, name: value})


def without_header(name: str) -> Change:
    return lambda wire: replace(wire, headers={each: value for each, value in wire.headers.items() if each != name})


def with_body(body: bytes) -> Change:
    return lambda wire: replace(wire, body=body)


def with_method(method: str) -> Change:
    return lambda wire: replace(wire, method=method)


def in_url(old: str, new: str) -> Change:
    def change(wire: Wire) -> Wire:
        assert old in wire.url
        return replace(wire, url=wire.url.replace(old, new))

    return change


def flipped_signature(wire: Wire) -> Wire:
    return replace(wire, url=wire.url[:-1] + ("0" if wire.url[-1] != "0" else "1"))


def unsigned(wire: Wire) -> Wire:
    return replace(wire, url=wire.url.partition("?")[0])


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
    pytest.param(with_method("POST"), id="POST"),
    pytest.param(with_method("GET"), id="GET"),
    pytest.param(with_method("DELETE"), id="DELETE"),
    pytest.param(in_url("X-Amz-Expires=300", "X-Amz-Expires=301"), id="a longer life"),
    pytest.param(in_url("content-length%3B", ""), id="length not among the signed headers"),
    pytest.param(in_url("if-none-match%3B", ""), id="condition not among the signed headers"),
    pytest.param(in_url("X-Amz-Algorithm", "x-id=PutObject&X-Amz-Algorithm"), id="an added query parameter"),
    pytest.param(in_url("X-Amz-Algorithm", "acl=&X-Amz-Algorithm"), id="the ACL of the key"),
    pytest.param(in_url("X-Amz-Algorithm", "partNumber=1&uploadId=x&X-Amz-Algorithm"), id="a part of a multipart"),
    pytest.param(flipped_signature, id="another signature"),
    pytest.param(unsigned, id="no signature"),
]

UNSIGNED_HEADERS = [
    pytest.param("x-amz-acl", "public-read", id="acl"),
    pytest.param("x-amz-tagging", "a=b", id="tagging"),
    pytest.param("x-amz-meta-extra", "1", id="metadata"),
    pytest.param("x-amz-storage-class", "GLACIER", id="storage class"),
    pytest.param("x-amz-website-redirect-location", "https://evil.example/", id="redirect"),
    pytest.param("x-amz-server-side-encryption", "AES256", id="encryption"),
]


async def test_a_put_sent_as_signed_is_stored_as_declared(place: Place, send: Send, key: str) -> None:
    reply = await send.put(await place.sign_put(key, SPEC, capsule="sealed"), BODY)

    info = await place.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert judge(SPEC, info) is None
    assert info.metadata == {"upload-session": "sealed", "mtime": "1732100000"}
    assert info.etag == reply.headers["etag"].strip('"')
    assert info.version is None
    assert info.last_modified is not None
    assert abs(info.last_modified - place.clock.now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "name", ["a b+c%41&d=e?f#g;h.csv", "é日本🗺.csv", "a//b/./../c.csv", "~'()*!@$,[]{}|^`\"\\<>.csv", "x" * 900]
)
async def test_every_key_arrives_as_it_was_signed(place: Place, send: Send, key: str, name: str) -> None:
    reply = await send.put(await place.sign_put(f"{key}/{name}", SPEC), BODY)

    assert reply.status == 200
    assert await place.objects.head(f"{key}/{name}") is not None
    assert await place.objects.head(key) is None


async def test_an_empty_object_is_an_object(place: Place, send: Send, key: str) -> None:
    empty = UploadSpec(filename="empty", size_bytes=0, content_type="application/octet-stream")

    reply = await send(with_header("content-length", "0")(as_signed(await place.sign_put(key, empty))))

    info = await place.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert info.size_bytes == 0


@pytest.mark.parametrize("change", NEIGHBOURS)
async def test_a_neighbour_of_a_signed_put_is_refused_and_stores_nothing(
    place: Place, send: Send, key: str, change: Change
) -> None:
    reply = await send(change(as_signed(await place.sign_put(key, SPEC), BODY)))

    # 501: a store may say so of a sub-resource that it lacks before it looks at the signature.
    assert 400 <= reply.status < 500 or reply.status == 501
    assert await place.objects.head(key) is None
    assert await place.objects.head(key.replace("/report.csv", "/other.csv")) is None


@pytest.mark.parametrize(("name", "value"), UNSIGNED_HEADERS)
async def test_an_unsigned_amz_header_is_refused(place: Place, send: Send, key: str, name: str, value: str) -> None:
    needs(place, "refuses unsigned x-amz headers")

    reply = await send(with_header(name, value)(as_signed(await place.sign_put(key, SPEC), BODY)))

    assert reply.status == 403
    assert await place.objects.head(key) is None


async def test_a_signed_put_cannot_be_turned_into_a_copy(place: Place, send: Send, key: str) -> None:
    """Facts, "Unsigned x-amz-copy-source": it would read as the signer."""
    needs(place, "refuses unsigned x-amz headers")
    private = f"{key}.private"
    await send.put(await place.sign_put(private, SPEC), BODY)
    source = f"{urlsplit((await place.sign_put(private, SPEC)).url).path}"

    request = await place.sign_put(key, SPEC)
    reply = await send(with_header("x-amz-copy-source", source)(as_signed(request, BODY)))

    assert reply.status == 403
    assert await place.objects.head(key) is None


async def test_a_second_put_is_refused_and_the_first_bytes_stay(place: Place, send: Send, key: str) -> None:
    request = await place.sign_put(key, SPEC)
    first = await send.put(request, BODY)

    second = await send.put(request, BODY[::-1])

    info = await place.objects.head(key)
    assert place.put.binds(SPEC).create_only is Level.ENFORCED
    assert second.status == 412
    assert info is not None
    assert info.etag == first.headers["etag"].strip('"')


async def test_of_concurrent_puts_exactly_one_is_stored(place: Place, send: Send, key: str) -> None:
    request = await place.sign_put(key, SPEC)

    replies = await asyncio.gather(*(send.put(request, bytes([each]) * len(BODY)) for each in range(8)))

    statuses = sorted(reply.status for reply in replies)
    winner = next(reply for reply in replies if reply.status == 200)
    info = await place.objects.head(key)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 412}
    assert info is not None
    assert info.etag == winner.headers["etag"].strip('"')


@pytest.mark.parametrize("algorithm", CHECKSUMS)
async def test_a_checksum_is_enforced_where_that_is_claimed_and_only_there(
    place: Place, send: Send, key: str, algorithm: str
) -> None:
    spec = UploadSpec(
        filename="report.csv",
        size_bytes=len(BODY),
        content_type="text/csv",
        checksum=Checksum(**{algorithm: CHECKSUMS[algorithm]}),
    )
    request = await place.sign_put(key, spec)

    wrong = await send.put(request, BODY[::-1])

    if place.put.binds(spec).checksum is Level.ENFORCED:
        assert wrong.status == 400
        assert await place.objects.head(key) is None
        assert (await send.put(request, BODY)).status == 200
    else:
        assert wrong.status == 200


@pytest.mark.parametrize("algorithm", ["sha256", "crc32c", "crc64nvme"])
async def test_head_shows_the_checksum_that_the_store_has_proved(
    place: Place, send: Send, key: str, algorithm: str
) -> None:
    if algorithm not in place.dialect.verifies:
        pytest.skip(f"this dialect does not verify {algorithm}")
    spec = UploadSpec(
        filename="report.csv",
        size_bytes=len(BODY),
        content_type="text/csv",
        checksum=Checksum(**{algorithm: CHECKSUMS[algorithm]}),
    )

    await send.put(await place.sign_put(key, spec), BODY)

    info = await place.objects.head(key)
    assert info is not None
    assert getattr(info.checksum, algorithm) == CHECKSUMS[algorithm]
    assert judge(spec, info) is None


@pytest.mark.parametrize("change", [with_header, without_header])
async def test_a_bound_checksum_can_be_neither_changed_nor_left_out(
    place: Place, send: Send, key: str, change: Callable[..., Change]
) -> None:
    spec = UploadSpec(
        filename="r", size_bytes=len(BODY), content_type="text/csv", checksum=Checksum(md5=CHECKSUMS["md5"])
    )
    if "md5" not in place.dialect.verifies:
        pytest.skip("this dialect does not verify md5")
    other = base64.b64encode(hashlib.md5(BODY[::-1], usedforsecurity=False).digest()).decode()
    tampered = change("content-md5", other) if change is with_header else change("content-md5")

    reply = await send(tampered(as_signed(await place.sign_put(key, spec), BODY[::-1])))

    assert reply.status == 403
    assert await place.objects.head(key) is None


async def test_an_expired_put_is_refused(place: Place, send: Send, key: str) -> None:
    now = place.clock.now() - timedelta(minutes=10)
    request = await place.put.sign_put(key, SPEC, "sealed", now=now, ends=now + timedelta(minutes=9))

    reply = await send.put(request, BODY)

    assert request.expires_at < place.clock.now()
    assert reply.status == 403
    assert await place.objects.head(key) is None


async def test_a_put_from_the_future_is_refused(place: Place, send: Send, key: str) -> None:
    needs(place, "refuses future dates")
    now = place.clock.now() + timedelta(minutes=20)
    request = await place.put.sign_put(key, SPEC, "sealed", now=now, ends=now + timedelta(minutes=5))

    reply = await send.put(request, BODY)

    assert reply.status == 403
    assert await place.objects.head(key) is None


@pytest.mark.parametrize(
    "credential_of",
    [
        pytest.param(lambda keys: Credential(access_key="NOBODY", secret_key=keys.secret_key), id="unknown key"),
        pytest.param(lambda keys: Credential(access_key=keys.access_key, secret_key="wrong"), id="wrong secret"),
        pytest.param(
            lambda keys: Credential(access_key=keys.access_key, secret_key=keys.secret_key, session_token="invented"),
            id="invented session token",
        ),
    ],
)
async def test_a_put_signed_by_nobody_we_know_is_refused(
    place: Place,
    place_with: PlaceWith,
    send: Send,
    key: str,
    credential_of: Callable[[Credential], Credential],
) -> None:
    stranger = place_with(credential_of(await place.put.credentials.current(place.clock.now())))

    reply = await send.put(await stranger.sign_put(key, SPEC), BODY)

    assert reply.status in {400, 403}
    assert await place.objects.head(key) is None


async def test_a_body_that_breaks_off_stores_nothing(place: Place, key: str) -> None:
    request = await place.sign_put(key, SPEC)
    parts = urlsplit(request.url)
    lines = [f"PUT {parts.path}?{parts.query} HTTP/1.1", f"host: {parts.netloc}", f"content-length: {len(BODY)}"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write("\r\n".join([*lines, "", ""]).encode() + BODY[:4])
    await writer.drain()
    writer.close()
    await writer.wait_closed()

    await asyncio.sleep(0.3)  # the store has to notice; nothing tells us when it has
    assert await place.objects.head(key) is None


async def test_a_put_to_a_versioned_bucket_names_its_version(versioned_place: Place, send: Send, key: str) -> None:
    reply = await send.put(await versioned_place.sign_put(key, SPEC), BODY)

    info = await versioned_place.objects.head(key)
    assert info is not None
    assert info.version == reply.headers["x-amz-version-id"]


def needs(place: Place, ability: Lack) -> None:
    if ability in place.lacks:
        pytest.skip(f"this store never {ability}")
