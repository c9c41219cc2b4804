"""How objects are to be kept: what is signed, byte for byte as botocore would, and what is refused when it is said."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from unittest import mock
from urllib.parse import parse_qsl

import boto3
import botocore.auth
import pytest
from botocore.config import Config
from hypothesis import given
from hypothesis import strategies as st

from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.endpoint import Addresses, Endpoint, usual_addressing
from broker.storage.s3.keeping import MAX_TAG_KEY, MAX_TAG_VALUE, MAX_TAGGING_BYTES, Keeping
from broker.storage.s3.policies import CorsRule
from tests.unit.storage.s3.test_s3_signer import ENDS, KEYS, NOW, REGION, foreign_url, put_signer, query, spec

KEY_ARN = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
EVERYTHING = Keeping(
    encryption="aws:kms",
    kms_key_id=KEY_ARN,
    has_bucket_key=True,
    storage_class="STANDARD_IA",
    tags={"project": "a b+c", "Größe": "1/2@x=y"},
    acl="bucket-owner-full-control",
    bucket_owner="111122223333",
)
IN_BOTOCORE: list[Any] = [
    pytest.param(Keeping(encryption="AES256"), {"ServerSideEncryption": "AES256"}, id="SSE-S3"),
    pytest.param(Keeping(encryption="aws:kms"), {"ServerSideEncryption": "aws:kms"}, id="the account's own key"),
    pytest.param(
        Keeping(encryption="aws:kms:dsse", kms_key_id="alias/uploads"),
        {"ServerSideEncryption": "aws:kms:dsse", "SSEKMSKeyId": "alias/uploads"},
        id="two layers",
    ),
    pytest.param(
        Keeping(encryption="aws:kms", has_bucket_key=False),
        {"ServerSideEncryption": "aws:kms", "BucketKeyEnabled": False},
        id="no bucket key",
    ),
    pytest.param(
        EVERYTHING,
        {
            "ServerSideEncryption": "aws:kms",
            "SSEKMSKeyId": KEY_ARN,
            "BucketKeyEnabled": True,
            "StorageClass": "STANDARD_IA",
            "Tagging": "project=a%20b%2Bc&Gr%C3%B6%C3%9Fe=1%2F2%40x%3Dy",
            "ACL": "bucket-owner-full-control",
            "ExpectedBucketOwner": "111122223333",
        },
        id="everything",
    ),
]


@pytest.mark.parametrize(("keeping", "params"), IN_BOTOCORE)
async def test_a_put_is_what_boto3_would_presign(keeping: Keeping, params: dict[str, Any]) -> None:
    request = await replace(put_signer(), keeping=keeping).sign_put("k", spec(), "sealed", now=NOW, ends=ENDS)

    plain = {"Bucket": "acme-uploads", "Key": "k", "ContentLength": 17, "ContentType": "text/csv", "IfNoneMatch": "*"}
    assert request.url == foreign_url("put_object", {**plain, "Metadata": {"upload-session": "sealed"}, **params}, 900)


async def test_a_client_must_send_every_header_that_says_how_it_is_kept() -> None:
    request = await replace(put_signer(), keeping=EVERYTHING).sign_put("k", spec(), "sealed", now=NOW, ends=ENDS)

    assert request.headers.items() >= EVERYTHING.headers.items()
    assert set(query(request)["X-Amz-SignedHeaders"].split(";")) == {*request.headers, "host", "content-length"}


async def test_the_bucket_lets_a_page_send_every_signed_header() -> None:
    request = await replace(put_signer(), keeping=EVERYTHING).sign_put("k", spec(), "sealed", now=NOW, ends=ENDS)

    allowed = CorsRule(allowed_origins=("https://app.example",)).allowed_headers
    assert all(name in allowed or (name.startswith("x-amz-") and "x-amz-*" in allowed) for name in request.headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"kms_key_id": "k"},
        {"encryption": "AES256", "kms_key_id": "k"},
        {"encryption": "AES256", "has_bucket_key": True},
        {"has_bucket_key": True},
        {"encryption": "aws:kms:dsse", "has_bucket_key": True},
        {"encryption": "aws:kms", "kms_key_id": "a b"},
        {"encryption": "aws:kms", "kms_key_id": "a\r\nx-amz-acl: public-read"},
        {"encryption": "aws:kms", "kms_key_id": ""},
        {"storage_class": ""},
        {"storage_class": "standard"},
        {"storage_class": "STANDARD\n"},
        {"bucket_owner": "11112222333"},
        {"bucket_owner": "11112222333３"},
        {"tags": {f"k{number}": "v" for number in range(11)}},
        {"tags": {"": "v"}},
        {"tags": {"k" * (MAX_TAG_KEY + 1): "v"}},
        {"tags": {"k": "v" * (MAX_TAG_VALUE + 1)}},
        {"tags": {"k": "a\nb"}},
        {"tags": {"k": "a&b"}},
        {"tags": {"k": "a_b", "k!": ""}},
        {"tags": {"k": "\u00a0"}},
        {"tags": {"aws:cloudformation:stack": "x"}},
        {"tags": {"AWS:x": "x"}},
        {"tags": {f"k{number}": "字" * 200 for number in range(10)}},
    ],
    ids=str,
)
def test_what_no_store_would_take_is_refused_when_it_is_said(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"^(encryption|storage_class|tags|expected_bucket_owner)"):
        Keeping(**wrong)


@given(
    st.dictionaries(
        st.text("aZ9 +-=._:/@äß字", min_size=1, max_size=MAX_TAG_KEY).filter(lambda key: key[:4].lower() != "aws:"),
        st.text("aZ9 +-=._:/@äß字", max_size=MAX_TAG_VALUE),
        max_size=10,
    )
)
def test_any_tags_that_are_taken_arrive_as_they_were_written(tags: dict[str, str]) -> None:
    try:
        header = Keeping(tags=tags).headers.get("x-amz-tagging", "")
    except ValueError as exc:
        assert "bytes as a header" in str(exc)  # noqa: PT017 - either this, or what follows
        return
    assert len(header) <= MAX_TAGGING_BYTES
    assert header.isascii()
    assert header == header.strip()
    assert dict(parse_qsl(header, keep_blank_values=True, strict_parsing=bool(header))) == tags


def test_the_note_of_the_broker_is_read_again_so_it_is_kept_at_hand() -> None:
    assert "x-amz-storage-class" not in EVERYTHING.note_headers
    assert EVERYTHING.note_headers["x-amz-tagging"] == EVERYTHING.headers["x-amz-tagging"]


def test_only_aws_is_asked_for_an_encryption_that_others_would_forget() -> None:
    """Ceph 16.2 takes AES256 and stores in the clear; bucket keys and the expected owner it does not read."""
    assert [name for name, row in DIALECTS.items() if row.keeps >= Keeping(encryption="AES256").features] == ["aws"]
    assert [name for name, row in DIALECTS.items() if row.keeps >= Keeping(bucket_owner="1" * 12).features] == ["aws"]
    with_key = Keeping(encryption="aws:kms", kms_key_id="k")
    assert [name for name, row in DIALECTS.items() if row.keeps >= with_key.features] == ["aws", "ceph"]
    assert [name for name, row in DIALECTS.items() if row.keeps >= Keeping(encryption="aws:kms").features] == ["aws"]


@pytest.mark.parametrize(
    ("config", "region", "ours"),
    [
        ({"use_dualstack_endpoint": True}, REGION, {"is_dual_stack": True}),
        ({"use_dualstack_endpoint": True}, "cn-north-1", {"is_dual_stack": True}),
        (
            {"use_accelerate_endpoint": True},
            REGION,
            {"public_endpoint": "https://s3-accelerate.amazonaws.com"},
        ),
        (
            {"use_accelerate_endpoint": True, "use_dualstack_endpoint": True},
            REGION,
            {"public_endpoint": "https://s3-accelerate.dualstack.amazonaws.com", "is_dual_stack": True},
        ),
    ],
    ids=["dual stack", "dual stack in China", "accelerated", "accelerated over IPv6"],
)
async def test_the_hosts_are_those_that_boto3_would_choose(
    config: dict[str, bool], region: str, ours: dict[str, Any]
) -> None:
    addresses = Addresses.of(
        bucket="acme-uploads", region=region, addressing=usual_addressing(bucket="acme-uploads", url=None), **ours
    )
    signer = replace(put_signer(), endpoint=addresses.public)
    client = boto3.client(
        "s3",
        region_name=region,
        aws_access_key_id=KEYS.access_key,
        aws_secret_access_key=KEYS.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual", **config}),
    )

    request = await signer.sign_put("k", spec(), "sealed", now=NOW, ends=NOW + timedelta(minutes=15))

    with mock.patch.object(botocore.auth, "get_current_datetime", return_value=NOW):
        url = client.generate_presigned_url("put_object", Params={"Bucket": "acme-uploads", "Key": "k"}, ExpiresIn=900)
    assert request.url.partition("?")[0] == url.partition("?")[0]


def test_by_path_dual_stack_has_the_bucket_behind_the_host() -> None:
    endpoint = Endpoint.of(bucket="acme.uploads", region=REGION, url=None, addressing="path", is_dual_stack=True)

    assert endpoint.origin + endpoint.path("k") == f"https://s3.dualstack.{REGION}.amazonaws.com/acme.uploads/k"
