"""What the Cloud Storage signers bind, what they tell the client to send, and how long they say it works."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.contract import Checksum, Level, SignedRequest
from broker.domain.errors import CredentialsUnavailable
from broker.domain.objects import Pin, UploadSpec
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.signer import GcsGetSigner, GcsPutSigner, Signatory
from tests.unit.storage.gcs.signing_peer import LocalSignatory, foreign_url

NOW = datetime(2026, 11, 20, 8, 30, 15, 700_000, tzinfo=UTC)
START = NOW.replace(microsecond=0)
ENDS = NOW + timedelta(minutes=15)
SHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="
CRC32C = "AAAAAA=="
GOOGLE = "https://storage.googleapis.com"
EMAIL = LocalSignatory().email


class SilentSignatory:
    """Signs at once, and nothing that anybody would accept."""

    email = EMAIL

    async def sign(self, payload: bytes) -> bytes:
        return payload[:2]


class LostSignatory:
    """Cannot sign."""

    email = EMAIL

    async def sign(self, payload: bytes) -> bytes:
        raise CredentialsUnavailable(f"no answer to {len(payload)} bytes")


def put_signer(signatory: Signatory | None = None) -> GcsPutSigner:
    return GcsPutSigner(bucket="acme-uploads", endpoint=Endpoint.of(GOOGLE), signatory=signatory or SilentSignatory())


def get_signer(signatory: Signatory | None = None) -> GcsGetSigner:
    return GcsGetSigner(bucket="acme-uploads", endpoint=Endpoint.of(GOOGLE), signatory=signatory or SilentSignatory())


def spec(**differs: Any) -> UploadSpec:
    fields: dict[str, Any] = {"filename": "report.csv", "size_bytes": 17, "content_type": "text/csv"}
    return UploadSpec(**(fields | differs))


def query(request: SignedRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True))


def works_until(request: SignedRequest) -> datetime:
    """When Cloud Storage stops taking the request, by what stands in the URL."""
    date = datetime.strptime(query(request)["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return date + timedelta(seconds=int(query(request)["X-Goog-Expires"]))


async def test_a_put_is_what_google_cloud_storage_would_sign() -> None:
    declared = spec(checksum=Checksum(crc32c=CRC32C, md5=MD5), object_metadata={"mtime": "1732100000"})

    request = await put_signer(LocalSignatory()).sign_put("uploads/1/a b.csv", declared, "sealed", now=NOW, ends=ENDS)

    assert request.url == foreign_url(
        "PUT",
        "acme-uploads",
        "uploads/1/a b.csv",
        endpoint=GOOGLE,
        email=EMAIL,
        now=NOW,
        seconds=900,
        content_type="text/csv",
        headers={
            "X-Goog-Content-Length-Range": "17,17",
            "X-Goog-If-Generation-Match": "0",
            "X-Goog-Hash": f"crc32c={CRC32C},md5={MD5}",
            "X-Goog-Meta-Upload-Session": "sealed",
            "X-Goog-Meta-mtime": "1732100000",
        },
    )


async def test_a_put_tells_the_client_every_signed_header_but_host() -> None:
    declared = spec(size_bytes=0, checksum=Checksum(md5=MD5), object_metadata={"mtime": "1732100000"})

    request = await put_signer().sign_put("k", declared, "sealed", now=NOW, ends=ENDS)

    assert request.method == "PUT"
    assert request.headers == {
        "content-type": "text/csv",
        "x-goog-content-length-range": "0,0",
        "x-goog-if-generation-match": "0",
        "x-goog-hash": f"md5={MD5}",
        "x-goog-meta-upload-session": "sealed",
        "x-goog-meta-mtime": "1732100000",
    }
    assert set(query(request)["X-Goog-SignedHeaders"].split(";")) == {*request.headers, "host"}


@pytest.mark.parametrize(
    ("checksum", "header", "level"),
    [
        (Checksum(), None, Level.NONE),
        (Checksum(crc32c=CRC32C), f"crc32c={CRC32C}", Level.ENFORCED),
        (Checksum(md5=MD5), f"md5={MD5}", Level.ENFORCED),
        (Checksum(crc32c=CRC32C, md5=MD5), f"crc32c={CRC32C},md5={MD5}", Level.ENFORCED),
        (Checksum(sha256=SHA256), None, Level.ON_READ),
        (Checksum(sha256=SHA256, md5=MD5), f"md5={MD5}", Level.ON_READ),
        (Checksum(crc64nvme="AAAAAAAAAAA="), None, Level.ON_READ),
    ],
)
async def test_digests_are_sent_where_they_are_verified_and_the_weakest_sets_the_level(
    checksum: Checksum, header: str | None, level: Level
) -> None:
    request = await put_signer().sign_put("k", spec(checksum=checksum), "sealed", now=NOW, ends=ENDS)

    assert request.headers.get("x-goog-hash") == header
    assert put_signer().binds(spec(checksum=checksum)).checksum is level


def test_size_type_and_create_only_are_enforced_by_the_signature() -> None:
    binds = put_signer().binds(spec())

    assert (binds.size, binds.content_type, binds.create_only) == (Level.ENFORCED, Level.ENFORCED, Level.ENFORCED)


async def test_a_get_is_what_google_cloud_storage_would_sign() -> None:
    request = await get_signer(LocalSignatory()).sign_get(
        "k", Pin(etag="e", version="1732100000000001"), filename="Straße 1.csv", now=NOW, ends=ENDS
    )

    assert request.url == foreign_url(
        "GET",
        "acme-uploads",
        "k",
        endpoint=GOOGLE,
        email=EMAIL,
        now=NOW,
        seconds=900,
        headers={},
        generation="1732100000000001",
        response_disposition="attachment; filename*=UTF-8''Stra%C3%9Fe%201.csv",
    )


async def test_a_get_of_a_generation_is_pinned_by_its_url_alone() -> None:
    request = await get_signer().sign_get("k", Pin(etag="e", version="7"), filename="r.csv", now=NOW, ends=ENDS)

    assert request.headers == {}
    assert query(request)["generation"] == "7"
    assert query(request)["X-Goog-SignedHeaders"] == "host"


async def test_a_get_without_a_generation_is_pinned_by_a_signed_etag() -> None:
    request = await get_signer().sign_get("k", Pin(etag="e"), filename="r.csv", now=NOW, ends=ENDS)

    assert request.headers == {"if-match": '"e"'}
    assert query(request)["X-Goog-SignedHeaders"] == "host;if-match"


async def test_a_get_without_a_pin_is_nothing_but_its_url() -> None:
    request = await get_signer().sign_get("k", None, filename="r.csv", now=NOW, ends=ENDS)

    assert request.headers == {}
    assert "generation" not in query(request)


async def test_who_cannot_sign_permits_nothing() -> None:
    with pytest.raises(CredentialsUnavailable):
        await put_signer(LostSignatory()).sign_put("k", spec(), "sealed", now=NOW, ends=ENDS)


@pytest.mark.parametrize(
    ("ends", "expires_at"),
    [
        (NOW + timedelta(seconds=900), START + timedelta(seconds=900)),
        (NOW + timedelta(milliseconds=1_299), START + timedelta(seconds=1)),
        (NOW + timedelta(days=6), START + timedelta(hours=12)),
    ],
)
async def test_expiry_is_whole_seconds_rounded_down_and_never_over_twelve_hours(
    ends: datetime, expires_at: datetime
) -> None:
    request = await put_signer().sign_put("k", spec(), "sealed", now=NOW, ends=ends)

    assert request.expires_at == expires_at
    assert works_until(request) == expires_at


@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    life=st.timedeltas(timedelta(milliseconds=1), timedelta(days=10)),
)
async def test_no_request_works_longer_than_it_may_or_says(now: datetime, life: timedelta) -> None:
    request = await put_signer().sign_put("k", spec(), "sealed", now=now, ends=now + life)

    assert works_until(request) == request.expires_at <= now + min(life, timedelta(hours=12))
