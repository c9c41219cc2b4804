"""Our Signature Version 4 gives the bytes that the S3 documentation prints and that botocore gives."""

import hashlib
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta, timezone
from unittest import mock

import boto3
import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from hypothesis import example, given, settings
from hypothesis import strategies as st

from broker.storage.s3.endpoint import Addressing, Endpoint
from broker.storage.s3.sigv4 import (
    EMPTY_SHA256,
    MAX_EXPIRES_SECONDS,
    UNSIGNED_PAYLOAD,
    Credential,
    SigV4,
)
from broker.storage.signing import UnsignedRequest, encode_path

REGION = "eu-central-1"
NOW = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)
EXAMPLE = Credential(access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
EXAMPLE_NOW = datetime(2013, 5, 24, tzinfo=UTC)
EXAMPLE_HOST = "examplebucket.s3.amazonaws.com"

readable = st.characters(blacklist_categories=["Cs", "Cc"])
awkward = st.sampled_from(["+", "%", "%2F", "//", "/", ".", "..", " ", "~", "é", "日本", "🗺", "=", "&", "?", "#", ";"])
keys = (
    st.lists(awkward | st.text(readable, max_size=8), min_size=1, max_size=60)
    .map("".join)
    .map(lambda text: text.encode()[:1024].decode(errors="ignore"))
    .filter(bool)
)
token_names = st.text("abcdefghijklmnopqrstuvwxyz0123456789!#$&^_.|~+-", min_size=1, max_size=20)
header_names = st.sampled_from(
    ["content-type", "content-length", "content-md5", "if-match", "if-none-match", "x-amz-checksum-sha256", "range"]
) | token_names.map("x-amz-meta-{}".format)
header_values = st.lists(st.text(readable, max_size=12) | st.just("  "), max_size=6).map(" ".join)
headers = st.dictionaries(header_names, header_values, max_size=9)
query_values = st.text(readable, max_size=20)
queries = st.dictionaries(
    st.sampled_from(["versionId", "partNumber", "uploadId", "response-content-type", "A", "zz", "a", "a-b"])
    | token_names,
    query_values,
    max_size=5,
)
ascii_secrets = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
credentials = st.builds(
    Credential,
    access_key=ascii_secrets,
    secret_key=ascii_secrets,
    session_token=st.none() | ascii_secrets,
)
clocks = st.datetimes(datetime(1970, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
origins = st.sampled_from(
    [
        ("https://acme-uploads.s3.eu-central-1.amazonaws.com", "acme-uploads.s3.eu-central-1.amazonaws.com"),
        ("http://127.0.0.1:9000", "127.0.0.1:9000"),
        ("http://store.example:80", "store.example"),
        ("https://store.example:443", "store.example"),
        ("https://store.example:8443", "store.example:8443"),
        ("https://[::1]:9000", "[::1]:9000"),
    ]
)
methods = st.sampled_from(["GET", "PUT", "HEAD", "POST", "DELETE"])


@st.composite
def unsigned_requests(draw: st.DrawFn) -> UnsignedRequest:
    origin, host = draw(origins)
    prefix = draw(st.sampled_from(["/", "/acme-uploads/", "/behind/a/proxy/acme-uploads/"]))
    return UnsignedRequest(
        method=draw(methods),
        origin=origin,
        host=host,
        path=encode_path(prefix + draw(keys)),
        query=tuple(draw(queries).items()),
        headers=draw(headers),
    )


def foreign(request: UnsignedRequest, body: bytes = b"") -> AWSRequest:
    return AWSRequest(
        method=request.method,
        url=f"{request.origin}{request.path}",
        headers=dict(request.headers),
        params=dict(request.query),
        data=body,
    )


def foreign_credentials(credential: Credential) -> Credentials:
    return Credentials(credential.access_key, credential.secret_key, credential.session_token)


def at(now: datetime) -> AbstractContextManager[object]:
    return mock.patch.object(botocore.auth, "get_current_datetime", return_value=now)


@settings(deadline=None, max_examples=400)
@given(
    unsigned_requests(),
    credentials,
    clocks,
    st.integers(1, MAX_EXPIRES_SECONDS),
    st.sampled_from(["us-east-1", REGION]),
)
def test_a_presigned_url_is_that_of_botocore_byte_for_byte(
    request: UnsignedRequest, credential: Credential, now: datetime, expires_seconds: int, region: str
) -> None:
    theirs = foreign(request)
    with at(now):
        botocore.auth.S3SigV4QueryAuth(foreign_credentials(credential), "s3", region, expires_seconds).add_auth(theirs)

    ours = SigV4(region=region).presign(request, credential=credential, now=now, expires_seconds=expires_seconds)

    assert ours == theirs.url


@settings(deadline=None, max_examples=400)
@given(unsigned_requests(), credentials, clocks, st.binary(max_size=64), st.booleans())
def test_signed_headers_are_those_of_botocore_byte_for_byte(
    request: UnsignedRequest, credential: Credential, now: datetime, body: bytes, is_payload_signed: bool
) -> None:
    theirs = foreign(request, body)
    theirs.context["client_config"] = Config(s3={"payload_signing_enabled": is_payload_signed})
    with at(now):
        botocore.auth.S3SigV4Auth(foreign_credentials(credential), "s3", REGION).add_auth(theirs)
    digest = hashlib.sha256(body).hexdigest() if is_payload_signed else UNSIGNED_PAYLOAD

    ours = SigV4(region=REGION).authorize(request, credential=credential, now=now, payload_sha256=digest)

    assert ours == {name.lower(): value for name, value in theirs.headers.items()}


@pytest.fixture(scope="module", params=["virtual", "path"])
def addressing(request: pytest.FixtureRequest) -> Addressing:
    style: Addressing = request.param
    return style


@settings(deadline=None, max_examples=60)
@given(key=keys, now=clocks, token=st.none() | ascii_secrets)
@example(key="/leading", now=NOW, token=None)
@example(key="a/../b/./c//d", now=NOW, token=None)
@example(key="é" * 512, now=NOW, token=None)
def test_boto3_presigns_the_same_put(addressing: Addressing, key: str, now: datetime, token: str | None) -> None:
    credential = Credential(access_key="AKID", secret_key="secret", session_token=token)
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=credential.access_key,
        aws_secret_access_key=credential.secret_key,
        aws_session_token=credential.session_token,
        config=Config(signature_version="s3v4", s3={"addressing_style": addressing}),
    )
    params = {
        "Bucket": "acme-uploads",
        "Key": key,
        "ContentLength": 17,
        "ContentType": "text/csv; charset=utf-8",
        "IfNoneMatch": "*",
        "ChecksumSHA256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
        "Metadata": {"upload-session": "sealed", "mtime": "1732100000"},
    }
    with at(now):
        theirs = client.generate_presigned_url("put_object", Params=params, ExpiresIn=900)
    endpoint = Endpoint.of(bucket="acme-uploads", region=REGION, url=None, addressing=addressing)
    request = UnsignedRequest(
        method="PUT",
        origin=endpoint.origin,
        host=endpoint.host,
        path=endpoint.path(key),
        headers={
            "content-type": "text/csv; charset=utf-8",
            "content-length": "17",
            "if-none-match": "*",
            "x-amz-checksum-sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "x-amz-meta-upload-session": "sealed",
            "x-amz-meta-mtime": "1732100000",
        },
    )

    assert SigV4(region=REGION).presign(request, credential=credential, now=now, expires_seconds=900) == theirs


def example_request(**differs: object) -> UnsignedRequest:
    fields: dict[str, object] = {
        "method": "GET",
        "path": "/",
        "host": EXAMPLE_HOST,
        "origin": f"https://{EXAMPLE_HOST}",
    }
    return UnsignedRequest(**(fields | differs))  # type: ignore[arg-type]


def test_the_documentations_presigned_get_is_reproduced() -> None:
    """Amazon S3 API Reference, sigv4-query-string-auth, "An example"."""
    url = SigV4(region="us-east-1").presign(
        example_request(path="/test.txt"), credential=EXAMPLE, now=EXAMPLE_NOW, expires_seconds=86_400
    )

    assert url == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        pytest.param(
            example_request(path="/test.txt", headers={"range": "bytes=0-9"}),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
            id="get-object",
        ),
        pytest.param(
            example_request(query=(("lifecycle", ""),)),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
            id="get-bucket-lifecycle",
        ),
        pytest.param(
            example_request(query=(("prefix", "J"), ("max-keys", "2"))),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
            id="list-objects",
        ),
    ],
)
def test_the_documentations_signed_headers_are_reproduced(request_: UnsignedRequest, signature: str) -> None:
    """Amazon S3 API Reference, sig-v4-header-based-auth, "Examples: Signature Calculations"."""
    headers = SigV4(region="us-east-1").authorize(
        request_, credential=EXAMPLE, now=EXAMPLE_NOW, payload_sha256=EMPTY_SHA256
    )

    assert headers["authorization"].endswith(f"Signature={signature}")


def test_a_declared_form_type_is_signed_although_botocore_would_drop_it() -> None:
    request = example_request(
        method="PUT", path="/form", headers={"content-type": "application/x-www-form-urlencoded; charset=utf-8"}
    )

    url = SigV4(region=REGION).presign(request, credential=EXAMPLE, now=NOW, expires_seconds=60)

    assert "X-Amz-SignedHeaders=content-type%3Bhost" in url


def test_the_clock_may_stand_in_any_time_zone() -> None:
    elsewhere = NOW.astimezone(timezone(timedelta(hours=-7)))
    signer = SigV4(region=REGION)

    assert signer.presign(example_request(), credential=EXAMPLE, now=elsewhere, expires_seconds=60) == signer.presign(
        example_request(), credential=EXAMPLE, now=NOW, expires_seconds=60
    )


def test_a_naive_clock_is_refused() -> None:
    with pytest.raises(ValueError, match="aware"):
        SigV4(region=REGION).presign(
            example_request(), credential=EXAMPLE, now=NOW.replace(tzinfo=None), expires_seconds=60
        )


@pytest.mark.parametrize("expires_seconds", [0, -1, MAX_EXPIRES_SECONDS + 1])
def test_a_lifetime_that_s3_refuses_is_never_signed(expires_seconds: int) -> None:
    with pytest.raises(ValueError, match="604800"):
        SigV4(region=REGION).presign(example_request(), credential=EXAMPLE, now=NOW, expires_seconds=expires_seconds)


@pytest.mark.parametrize("name", ["Content-Type", "x-amz-meta-a b", "x-amz-meta-a\n"])
def test_an_ill_spelled_header_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="header names"):
        SigV4(region=REGION).presign(
            example_request(headers={name: "x"}), credential=EXAMPLE, now=NOW, expires_seconds=60
        )


@pytest.mark.parametrize("value", ["a b ", " a b", "a \t b", "a\nb", "\na b\n"])
def test_blanks_around_a_value_go_and_those_inside_fold_to_one(value: str) -> None:
    def signed(value: str) -> str:
        request = example_request(headers={"content-type": "text/csv", "x-amz-meta-note": value})
        return SigV4(region=REGION).presign(request, credential=EXAMPLE, now=NOW, expires_seconds=60)

    assert signed(value) == signed("a b")
    assert signed("a ") == signed("a")


def test_memory_stays_bounded_however_many_credentials_and_metadata_names_pass() -> None:
    signer = SigV4(region=REGION)
    for number in range(600):
        signer.presign(
            example_request(headers={f"x-amz-meta-{number}": "x"}),
            credential=Credential(access_key=f"AKID{number}", secret_key="secret"),
            now=NOW,
            expires_seconds=60,
        )

    assert max(len(signer._scopes), len(signer._names), len(signer._windows)) <= 256


def test_secrets_are_masked_in_repr() -> None:
    credential = Credential(access_key="AKID", secret_key="hush-key", session_token="hush-token")

    assert "hush" not in repr(credential)
    assert "AKID" in repr(credential)
