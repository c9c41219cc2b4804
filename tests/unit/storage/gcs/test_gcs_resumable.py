"""Resumable uploads: what opens one, what its URI may be, and how it is asked about and ended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pytest

from broker.contract import Checksum, Guarantees, Level
from broker.domain.errors import StoreRefused, StoreUnavailable
from broker.domain.objects import UploadSpec
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.resumable import GcsResumableUploads
from tests.unit.storage.gcs.scripted import Answers, Scripted, Sent, answer, error, scripted

KEY = "uploads/0abc/ä b.csv"
PUBLIC = "https://up.example"
SPEC = UploadSpec(
    filename="ä b.csv",
    size_bytes=1_000_000,
    content_type="text/csv",
    checksum=Checksum(crc32c="AAAAAA==", md5="CY9rzUYh03PK3k6DJie09g==", sha256="A" * 43 + "="),
    object_metadata={"case": "17"},
)
TARGET = "/upload/storage/v1/b/acme/o?uploadType=resumable&name=k&upload_id=hush"
URI = f"{PUBLIC}{TARGET}"


@asynccontextmanager
async def uploads_at(told: Answers | bytes, *proved: str) -> AsyncIterator[tuple[GcsResumableUploads, Scripted]]:
    async with scripted(told) as store:
        yield (
            GcsResumableUploads(
                caller=store.caller, tokens=store.tokens, bucket="acme", public=Endpoint.of(PUBLIC), proved=proved
            ),
            store,
        )


def opened(sent: Sent) -> bytes:
    return answer(200, location=f"http://{sent.headers['host']}{TARGET}")


async def test_everything_that_can_be_bound_is_said_when_it_is_opened() -> None:
    async with uploads_at(opened) as (uploads, store):
        uri = await uploads.open(KEY, SPEC, "sealed", origin="https://app.example")

    assert uri == URI
    (sent,) = store.sent
    assert sent.line == (
        "POST /upload/storage/v1/b/acme/o?uploadType=resumable&name=uploads%2F0abc%2F%C3%A4%20b.csv&ifGenerationMatch=0"
        " HTTP/1.1"
    )
    assert sent.headers["x-upload-content-type"] == "text/csv"
    assert sent.headers["x-upload-content-length"] == "1000000"
    assert sent.headers["origin"] == "https://app.example"
    assert sent.headers["authorization"] == "Bearer first"
    assert msgspec.json.decode(sent.body) == {
        "name": KEY,
        "contentType": "text/csv",
        "metadata": {"case": "17", "upload-session": "sealed"},
        "crc32c": "AAAAAA==",
        "md5Hash": "CY9rzUYh03PK3k6DJie09g==",
    }


async def test_without_pages_no_origin_is_said_and_without_digests_none() -> None:
    spec = msgspec.structs.replace(SPEC, checksum=Checksum(sha256="A" * 43 + "="), object_metadata={})
    async with uploads_at(opened) as (uploads, store):
        await uploads.open(KEY, spec, "sealed", origin=None)

    (sent,) = store.sent
    assert "origin" not in sent.headers
    assert msgspec.json.decode(sent.body).keys() == {"name", "contentType", "metadata"}


async def test_metadata_of_the_client_never_replaces_the_capsule() -> None:
    spec = msgspec.structs.replace(SPEC, object_metadata={"upload-session": "forged"})
    async with uploads_at(opened) as (uploads, store):
        await uploads.open(KEY, spec, "sealed", origin=None)

    assert msgspec.json.decode(store.sent[0].body)["metadata"] == {"upload-session": "sealed"}


@pytest.mark.parametrize(
    "location",
    [
        "",
        TARGET,
        f"http://169.254.169.254{TARGET}",
        f"http://HOST@evil.example{TARGET}",
        f"http://HOST.evil.example{TARGET}",
        f"file://HOST{TARGET}",
        "http://HOST/upload/storage/v1/b/other/o?uploadType=resumable&upload_id=hush",
        "http://HOST/computeMetadata/v1/?upload_id=hush",
        "http://HOST/upload/storage/v1/b/acme/o/../../../x?upload_id=hush",
        "http://HOST/upload/storage/v1/b/acme/o?uploadType=resumable",
        "http://HOST/upload/storage/v1/b/acme/o?upload_id=",
        f"http://HOST{TARGET} HTTP/1.1",
        f"http://HOST{TARGET}{'x' * 5_000}",
    ],
)
async def test_a_session_anywhere_else_is_given_to_nobody(location: str) -> None:
    def told(sent: Sent) -> bytes:
        return answer(200, location=location.replace("HOST", sent.headers["host"]))

    async with uploads_at(told) as (uploads, _):
        with pytest.raises(StoreRefused, match="session URI") as caught:
            await uploads.open(KEY, SPEC, "sealed", origin=None)

    assert "hush" not in caught.value.detail


@pytest.mark.parametrize("status", [200, 201, 308, 404, 499])
async def test_only_a_session_with_its_place_is_one(status: int) -> None:
    async with uploads_at(answer(status)) as (uploads, _):
        with pytest.raises((StoreRefused, StoreUnavailable)):
            await uploads.open(KEY, SPEC, "sealed", origin=None)


async def test_a_missing_permission_to_create_is_named() -> None:
    told = error(403, "forbidden", "Permission 'storage.objects.create' denied on resource (or it may not exist).")
    async with uploads_at(told) as (uploads, _):
        with pytest.raises(StoreRefused, match=r"lacks storage\.objects\.create"):
            await uploads.open(KEY, SPEC, "sealed", origin=None)


@pytest.mark.parametrize(
    ("told", "offset"),
    [
        (answer(308), 0),
        (answer(308, range="bytes=0-262143"), 262_144),
        (answer(308, range="bytes=0-0"), 1),
        (answer(200, b"{}"), 1_000_000),
        (answer(201, b"{}"), 1_000_000),
        (answer(404), None),
        (answer(410), None),
        (answer(499), None),
        (error(412, "conditionNotMet", "At least one of the pre-conditions you specified did not hold."), None),
    ],
)
async def test_the_store_tells_how_much_it_has(told: bytes, offset: int | None) -> None:
    async with uploads_at(told) as (uploads, store):
        assert await uploads.offset(URI, 1_000_000) == offset

    (sent,) = store.sent
    assert sent.line == f"PUT {TARGET} HTTP/1.1"
    assert sent.headers["host"] == store.host, "the broker asks the internal address"
    assert (sent.headers["content-range"], sent.headers["content-length"]) == ("bytes */1000000", "0")
    assert "authorization" not in sent.headers, "the URI is the right; a token more would travel for nothing"


async def test_asking_about_an_empty_object_does_not_upload_it() -> None:
    async with uploads_at(answer(308)) as (uploads, store):
        assert await uploads.offset(URI, 0) == 0

    assert store.sent[0].headers["content-range"] == "bytes */*"


@pytest.mark.parametrize("stored", ["0-5", "bytes=1-5", "bytes=0-", "bytes=0-5,7-9", "bytes=0-x"])
async def test_a_range_that_is_none_is_not_guessed_at(stored: str) -> None:
    async with uploads_at(answer(308, range=stored)) as (uploads, _):
        with pytest.raises(StoreUnavailable):
            await uploads.offset(URI, 1_000_000)


@pytest.mark.parametrize("status", [200, 201, 204, 404, 410, 499])
async def test_an_upload_that_is_cancelled_gone_or_whole_has_ended(status: int) -> None:
    async with uploads_at(answer(status)) as (uploads, store):
        assert await uploads.cancel(URI)

    (sent,) = store.sent
    assert sent.line == f"DELETE {TARGET} HTTP/1.1"
    assert sent.headers["host"] == store.host
    assert sent.headers["content-length"] == "0"
    assert "authorization" not in sent.headers


@pytest.mark.parametrize(("status", "has_ended"), [(308, False), (200, True), (404, True), (499, True)])
async def test_where_cancelling_says_nothing_the_status_decides(status: int, has_ended: bool) -> None:
    def told(sent: Sent) -> bytes:
        return answer(400) if sent.line.startswith("DELETE") else answer(status)

    async with uploads_at(told) as (uploads, store):
        assert await uploads.cancel(URI) is has_ended

    assert store.sent[1].headers["content-range"] == "bytes */*"


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_cancel_that_was_not_heard_is_no_end(status: int) -> None:
    async with uploads_at(answer(status, retry_after="9")) as (uploads, _):
        with pytest.raises(StoreUnavailable) as caught:
            await uploads.cancel(URI)

    assert caught.value.retry_after.total_seconds() == 9
    assert "hush" not in caught.value.detail


@pytest.mark.parametrize(
    "uri",
    [
        "https://up.example/upload/storage/v1/b/other/o?upload_id=hush",
        "https://up.example/secret?upload_id=hush",
        "https://up.example\r\nx: y",
        "",
    ],
)
async def test_nothing_is_sent_to_what_is_no_session_of_this_bucket(uri: str) -> None:
    async with uploads_at(answer(200)) as (uploads, store):
        with pytest.raises(StoreRefused):
            await uploads.offset(uri, 1)
        with pytest.raises(StoreRefused):
            await uploads.cancel(uri)

    assert store.sent == []


async def test_a_session_keeps_its_place_when_the_public_address_changes() -> None:
    async with uploads_at(answer(308)) as (uploads, store):
        assert await uploads.offset(f"https://former.example{TARGET}", 5) == 0

    assert store.sent[0].headers["host"] == store.host


async def test_only_what_was_proved_of_the_bucket_is_enforced() -> None:
    async with uploads_at(b"") as (careful, _), uploads_at(b"", "size", "create_only") as (proved, _):
        assert careful.binds(SPEC) == Guarantees(
            size=Level.AT_HEAD, content_type=Level.AT_HEAD, create_only=Level.AT_HEAD, checksum=Level.ON_READ
        )
        spec = msgspec.structs.replace(SPEC, checksum=Checksum(crc32c="AAAAAA=="))
        assert proved.binds(spec) == Guarantees(
            size=Level.ENFORCED, content_type=Level.AT_HEAD, create_only=Level.ENFORCED, checksum=Level.AT_HEAD
        )
        assert proved.chunk_multiple_bytes == 256 * 1024
