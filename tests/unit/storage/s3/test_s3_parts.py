"""A signed part is that of botocore byte for byte, and what one series shares never leaks into another."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from unittest import mock
from urllib.parse import parse_qsl, urlsplit

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotocoreCredentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.contract import Checksum, Guarantees, Level, SignedRequest
from broker.domain.errors import CredentialsUnavailable
from broker.domain.objects import UploadSpec
from broker.storage.s3.credentials import Credentials, FixedCredentials
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.sigv4 import MAX_EXPIRES_SECONDS, Credential, SigV4
from broker.storage.signing import encode_path

REGION = "eu-central-1"
NOW = datetime(2026, 11, 20, 8, 30, 15, 700_000, tzinfo=UTC)
START = NOW.replace(microsecond=0)
ENDS = NOW + timedelta(minutes=15)
KEYS = Credential(access_key="AKID", secret_key="hush")
ENDPOINT = Endpoint.of(bucket="acme-uploads", region=REGION, url=None, addressing="virtual")

readable = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=60)
ascii_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
credentials = st.builds(
    Credential, access_key=ascii_secrets, secret_key=ascii_secrets, session_token=st.none() | ascii_secrets
)
clocks = st.datetimes(datetime(1970, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
numbers = st.integers(1, 10_000)
sizes = st.integers(0, 5 * 2**30)


def signer(credentials: Credentials | None = None, dialect: DialectName = "aws") -> S3PartSigner:
    return S3PartSigner(
        sigv4=SigV4(region=REGION),
        endpoint=ENDPOINT,
        credentials=credentials or FixedCredentials(credential=KEYS),
        dialect=DIALECTS[dialect],
    )


async def signed(
    by: S3PartSigner, *, key: str = "k", upload_id: str = "u", number: int = 1, size_bytes: int = 17
) -> SignedRequest:
    return await by.sign_part(key, upload_id, number, size_bytes, now=NOW, ends=ENDS)


def query(request: SignedRequest) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(request.url).query, keep_blank_values=True, strict_parsing=True))


@settings(deadline=None, max_examples=300)
@given(
    key=readable,
    upload_id=readable,
    pairs=st.lists(st.tuples(numbers, sizes), min_size=1, max_size=3),
    credential=credentials,
    now=clocks,
    expires_seconds=st.integers(1, MAX_EXPIRES_SECONDS),
)
@example(key="a b/../+%41", upload_id="2~A/b+c=", pairs=[(1, 0)], credential=KEYS, now=NOW, expires_seconds=900)
def test_every_url_of_a_series_is_that_of_botocore_byte_for_byte(
    key: str,
    upload_id: str,
    pairs: list[tuple[int, int]],
    credential: Credential,
    now: datetime,
    expires_seconds: int,
) -> None:
    path = encode_path(f"/{key}")
    series = SigV4(region=REGION).part_series(
        origin=ENDPOINT.origin,
        host=ENDPOINT.host,
        path=path,
        upload_id=upload_id,
        credential=credential,
        now=now,
        expires_seconds=expires_seconds,
    )
    foreign = BotocoreCredentials(credential.access_key, credential.secret_key, credential.session_token)
    for number, size_bytes in pairs:
        theirs = AWSRequest(
            method="PUT",
            url=f"{ENDPOINT.origin}{path}",
            headers={"content-length": str(size_bytes)},
            params={"partNumber": str(number), "uploadId": upload_id},
        )
        with mock.patch.object(botocore.auth, "get_current_datetime", return_value=now):
            botocore.auth.S3SigV4QueryAuth(foreign, "s3", REGION, expires_seconds).add_auth(theirs)

        assert series.url(number, size_bytes) == theirs.url


async def test_a_part_is_what_boto3_would_presign() -> None:
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )
    params = {
        "Bucket": "acme-uploads",
        "Key": "uploads/1/é b.csv",
        "PartNumber": 10_000,
        "UploadId": "2~a/b+c=",
        "ContentLength": 5_242_880,
    }
    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=NOW):
        theirs = client.generate_presigned_url("upload_part", Params=params, ExpiresIn=900)

    ours = await signed(signer(), key="uploads/1/é b.csv", upload_id="2~a/b+c=", number=10_000, size_bytes=5_242_880)

    assert ours.url == theirs


async def test_a_client_sets_no_header_and_the_length_is_signed() -> None:
    request = await signed(signer())

    assert request.method == "PUT"
    assert request.headers == {}
    assert query(request)["X-Amz-SignedHeaders"] == "content-length;host"
    assert (query(request)["partNumber"], query(request)["uploadId"]) == ("1", "u")


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from("kl"), st.sampled_from("uv"), st.integers(1, 3), st.integers(0, 3)), max_size=12)
)
async def test_what_was_signed_before_changes_no_url(wishes: list[tuple[str, str, int, int]]) -> None:
    busy = signer()

    for key, upload_id, number, size_bytes in wishes:
        ours = await signed(busy, key=key, upload_id=upload_id, number=number, size_bytes=size_bytes)
        assert ours == await signed(signer(), key=key, upload_id=upload_id, number=number, size_bytes=size_bytes)


async def test_another_moment_gives_another_expiry() -> None:
    busy = signer()
    await signed(busy)

    later = await busy.sign_part("k", "u", 1, 17, now=NOW + timedelta(seconds=5), ends=ENDS)
    shorter = await busy.sign_part("k", "u", 1, 17, now=NOW, ends=NOW + timedelta(seconds=60))

    assert (later.expires_at, query(later)["X-Amz-Expires"]) == (START + timedelta(seconds=900), "895")
    assert (shorter.expires_at, query(shorter)["X-Amz-Expires"]) == (START + timedelta(seconds=60), "60")


@dataclass(slots=True)
class Rotating:
    """A credential that is another one whenever somebody says so."""

    credential: Credential

    async def current(self, now: datetime) -> Credential:  # noqa: ARG002
        return self.credential


async def test_a_refreshed_credential_signs_the_next_part() -> None:
    rotating = Rotating(KEYS)
    busy = signer(rotating)
    await signed(busy)
    rotating.credential = Credential(
        access_key="NEXT", secret_key="hush", session_token="t", expires_at=NOW + timedelta(seconds=59)
    )

    request = await signed(busy)

    assert query(request)["X-Amz-Credential"].startswith("NEXT/")
    assert query(request)["X-Amz-Security-Token"] == "t"
    assert request.expires_at == START + timedelta(seconds=59)


async def test_a_dead_credential_signs_no_part() -> None:
    with pytest.raises(CredentialsUnavailable):
        await signed(signer(Rotating(Credential(access_key="AKID", secret_key="hush", expires_at=NOW))))


async def test_a_signer_tells_no_secret_of_what_it_remembers() -> None:
    busy = signer(Rotating(Credential(access_key="AKID", secret_key="hush", session_token="tokenized")))
    await signed(busy)

    shown = f"{busy!r} {busy._last!r}"

    assert "hush" not in shown
    assert "tokenized" not in shown
    assert "X-Amz" not in shown


@pytest.mark.parametrize(
    ("dialect", "create_only"), [("aws", "enforced"), ("ceph", "at_head"), ("r2", "at_head"), ("generic", "at_head")]
)
@pytest.mark.parametrize(
    ("checksum", "level"),
    [(Checksum(), Level.NONE), (Checksum(sha256="c2hh"), Level.ON_READ), (Checksum(crc64nvme="Yw=="), Level.ON_READ)],
)
def test_parts_claim_only_what_the_store_refuses_or_the_broker_judges(
    dialect: DialectName, create_only: str, checksum: Checksum, level: Level
) -> None:
    spec = UploadSpec(filename="r", size_bytes=17, content_type="text/csv", checksum=checksum)

    assert signer(dialect=dialect).binds(spec) == Guarantees(
        size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level(create_only), checksum=level
    )
