"""What the S3 signers bind, what they tell the client to send, and how long they say it works."""

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore.auth
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from broker.contract import Checksum, Level, SignedRequest
from broker.domain.errors import CredentialsUnavailable
from broker.domain.objects import Pin, UploadSpec
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4

REGION = "eu-central-1"
NOW = datetime(2026, 11, 20, 8, 30, 15, 700_000, tzinfo=UTC)
START = NOW.replace(microsecond=0)
ENDS = NOW + timedelta(minutes=15)
SHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="
CRC32C = "AAAAAA=="
ENDPOINT = Endpoint.of(bucket="acme-uploads", region=REGION, url=None, addressing="virtual")
KEYS = Credential(access_key="AKID", secret_key="hush")


def put_signer(dialect: DialectName = "aws", credential: Credential = KEYS) -> S3PutSigner:
    return S3PutSigner(
        sigv4=SigV4(region=REGION),
        endpoint=ENDPOINT,
        credentials=FixedCredentials(credential=credential),
        dialect=DIALECTS[dialect],
    )


def get_signer() -> S3GetSigner:
    return S3GetSigner(sigv4=SigV4(region=REGION), endpoint=ENDPOINT, credentials=FixedCredentials(credential=KEYS))


def spec(**differs: Any) -> UploadSpec:
    fields: dict[str, Any] = {"filename": "report.csv", "size_bytes": 17, "content_type": "text/csv"}
    return UploadSpec(**(fields | differs))


def query(request: SignedRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True))


def foreign_url(operation: str, params: dict[str, Any], expires_seconds: int) -> str:
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=NOW):
        url: str = client.generate_presigned_url(operation, Params=params, ExpiresIn=expires_seconds)
    return url


async def test_a_put_is_what_boto3_would_presign() -> None:
    declared = spec(checksum=Checksum(sha256=SHA256, md5=MD5), object_metadata={"mtime": "1732100000"})

    request = await put_signer().sign_put("uploads/1/a b.csv", declared, "sealed", now=NOW, ends=ENDS)

    assert request.url == foreign_url(
        "put_object",
        {
            "Bucket": "acme-uploads",
            "Key": "uploads/1/a b.csv",
            "ContentLength": 17,
            "ContentType": "text/csv",
            "ContentMD5": MD5,
            "IfNoneMatch": "*",
            "ChecksumSHA256": SHA256,
            "Metadata": {"upload-session": "sealed", "mtime": "1732100000"},
        },
        900,
    )


async def test_a_put_tells_the_client_every_signed_header_but_host_and_length() -> None:
    declared = spec(checksum=Checksum(sha256=SHA256), object_metadata={"mtime": "1732100000"})

    request = await put_signer().sign_put("k", declared, "sealed", now=NOW, ends=ENDS)

    assert request.method == "PUT"
    assert request.headers == {
        "content-type": "text/csv",
        "if-none-match": "*",
        "x-amz-checksum-sha256": SHA256,
        "x-amz-meta-upload-session": "sealed",
        "x-amz-meta-mtime": "1732100000",
    }
    signed = set(query(request)["X-Amz-SignedHeaders"].split(";"))
    assert signed == {*request.headers, "host", "content-length"}


async def test_only_one_amz_checksum_is_bound_because_s3_refuses_two() -> None:
    declared = spec(checksum=Checksum(crc32c=CRC32C, sha256=SHA256))

    request = await put_signer().sign_put("k", declared, "sealed", now=NOW, ends=ENDS)

    assert "x-amz-checksum-sha256" in request.headers
    assert "x-amz-checksum-crc32c" not in request.headers
    assert put_signer().binds(declared).checksum is Level.ON_READ


@pytest.mark.parametrize("dialect", ["ceph", "r2", "generic"])
async def test_a_checksum_header_is_not_sent_where_it_is_not_checked(dialect: DialectName) -> None:
    declared = spec(checksum=Checksum(sha256=SHA256))

    request = await put_signer(dialect).sign_put("k", declared, "sealed", now=NOW, ends=ENDS)

    assert not any("checksum" in name for name in request.headers)
    assert put_signer(dialect).binds(declared).checksum is Level.ON_READ


@pytest.mark.parametrize(
    ("dialect", "checksum", "level"),
    [
        ("aws", Checksum(), Level.NONE),
        ("aws", Checksum(sha256=SHA256, md5=MD5), Level.ENFORCED),
        ("aws", Checksum(crc32c=CRC32C), Level.ENFORCED),
        ("aws", Checksum(crc64nvme="AAAAAAAAAAA="), Level.ENFORCED),
        ("ceph", Checksum(md5=MD5), Level.ENFORCED),
        ("ceph", Checksum(md5=MD5, sha256=SHA256), Level.ON_READ),
        ("generic", Checksum(md5=MD5), Level.ON_READ),
    ],
)
def test_the_weakest_declared_checksum_sets_the_level(dialect: DialectName, checksum: Checksum, level: Level) -> None:
    assert put_signer(dialect).binds(spec(checksum=checksum)).checksum is level


@pytest.mark.parametrize(("dialect", "level"), [("aws", "enforced"), ("ceph", "enforced"), ("generic", "none")])
def test_create_only_is_claimed_only_where_conditional_writes_are_known(dialect: DialectName, level: str) -> None:
    binds = put_signer(dialect).binds(spec())

    assert binds.create_only == level
    assert (binds.size, binds.content_type) == (Level.ENFORCED, Level.ENFORCED)


async def test_a_get_of_a_version_is_pinned_by_its_url_alone() -> None:
    request = await get_signer().sign_get("k", Pin(etag="e", version="v+1"), filename="r.csv", now=NOW, ends=ENDS)

    assert request.headers == {}
    assert query(request)["versionId"] == "v+1"
    assert query(request)["X-Amz-SignedHeaders"] == "host"


async def test_a_get_without_a_version_is_pinned_by_a_signed_etag() -> None:
    request = await get_signer().sign_get("k", Pin(etag="e"), filename="r.csv", now=NOW, ends=ENDS)

    assert request.headers == {"if-match": '"e"'}
    assert query(request)["X-Amz-SignedHeaders"] == "host;if-match"


async def test_a_get_without_a_pin_is_nothing_but_its_url() -> None:
    request = await get_signer().sign_get("k", None, filename="r.csv", now=NOW, ends=ENDS)

    assert request.headers == {}
    assert "versionId" not in query(request)


async def test_a_get_is_what_boto3_would_presign() -> None:
    request = await get_signer().sign_get("k", Pin(etag="e", version="v"), filename="Straße 1.csv", now=NOW, ends=ENDS)

    assert request.url == foreign_url(
        "get_object",
        {
            "Bucket": "acme-uploads",
            "Key": "k",
            "ResponseContentDisposition": "attachment; filename*=UTF-8''Stra%C3%9Fe%201.csv",
            "VersionId": "v",
        },
        900,
    )


@given(st.text(st.characters(blacklist_categories=["Cs"]), min_size=1, max_size=40))
async def test_no_file_name_ends_the_disposition_header_early(filename: str) -> None:
    request = await get_signer().sign_get("k", None, filename=filename, now=NOW, ends=ENDS)

    disposition = query(request)["response-content-disposition"]
    assert disposition.startswith("attachment; filename*=UTF-8''")
    assert not set(disposition.removeprefix("attachment; ")) & set('"\\;, \r\n\t')
    assert disposition.isascii()


@pytest.mark.parametrize(
    ("ends", "expires_at"),
    [
        (NOW + timedelta(seconds=900), START + timedelta(seconds=900)),
        (NOW + timedelta(milliseconds=1_299), START + timedelta(seconds=1)),
        (NOW + timedelta(days=30), START + timedelta(days=7)),
    ],
)
async def test_expiry_is_whole_seconds_rounded_down_and_never_over_a_week(ends: datetime, expires_at: datetime) -> None:
    request = await put_signer().sign_put("k", spec(), "sealed", now=NOW, ends=ends)

    assert request.expires_at == expires_at
    assert works_until(request) == expires_at


def works_until(request: SignedRequest) -> datetime:
    """When a store stops taking the request, by what stands in the URL."""
    date = datetime.strptime(query(request)["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    return date + timedelta(seconds=int(query(request)["X-Amz-Expires"]))


async def test_in_the_last_second_of_a_session_the_request_is_dead_on_arrival() -> None:
    ends = NOW + timedelta(milliseconds=100)

    request = await put_signer().sign_put("k", spec(), "sealed", now=NOW, ends=ends)

    assert works_until(request) == request.expires_at <= ends


async def test_a_request_ends_with_its_credential() -> None:
    dying = Credential(access_key="AKID", secret_key="hush", session_token="t", expires_at=NOW + timedelta(seconds=59))

    request = await put_signer(credential=dying).sign_put("k", spec(), "sealed", now=NOW, ends=ENDS)

    assert request.expires_at == START + timedelta(seconds=59)


async def test_a_dead_credential_signs_nothing() -> None:
    dead = Credential(access_key="AKID", secret_key="hush", expires_at=NOW)

    with pytest.raises(CredentialsUnavailable):
        await put_signer(credential=dead).sign_put("k", spec(), "sealed", now=NOW, ends=ENDS)


@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    life=st.timedeltas(timedelta(milliseconds=1), timedelta(days=10)),
    credential_life=st.none() | st.timedeltas(timedelta(milliseconds=1), timedelta(days=1)),
)
async def test_no_request_works_longer_than_it_may_or_says(
    now: datetime, life: timedelta, credential_life: timedelta | None
) -> None:
    ends = now + life
    credential_ends = None if credential_life is None else now + credential_life
    credential = Credential(access_key="AKID", secret_key="hush", expires_at=credential_ends)

    request = await put_signer(credential=credential).sign_put("k", spec(), "sealed", now=now, ends=ends)

    assert works_until(request) == request.expires_at <= min(ends, credential_ends or ends)
