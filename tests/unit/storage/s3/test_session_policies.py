"""What a role is narrowed to: one right on one prefix, and no longer than STS takes."""

import json
from typing import Any, get_args

import pytest

from broker.storage.s3.credentials_sts import MAX_POLICY_CHARACTERS
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping
from broker.storage.s3.policies import Right
from broker.storage.s3.session_policies import session_policy

RIGHTS: tuple[Right, ...] = get_args(Right)


def policy(
    right: Right,
    dialect: DialectName = "aws",
    region: str = "eu-central-1",
    prefix: str = "uploads",
    keeping: Keeping = AS_THE_BUCKET_SAYS,
) -> str:
    return session_policy(right, bucket="acme-uploads", prefix=prefix, region=region, dialect=dialect, keeping=keeping)


def allowed(text: str) -> set[str]:
    statements: list[dict[str, Any]] = json.loads(text)["Statement"]
    return {action for each in statements if each["Effect"] == "Allow" for action in each["Action"]}


def test_writing_neither_reads_nor_removes_and_reading_neither_writes_nor_removes() -> None:
    write, read, remove = (allowed(policy(right)) for right in RIGHTS)

    assert not {"s3:GetObject", "s3:GetObjectVersion", "s3:DeleteObject", "s3:DeleteObjectVersion"} & write
    assert not {"s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion"} & read
    assert "s3:PutObject" not in remove
    assert not any("*" in action for each in (write, read, remove) for action in each)


@pytest.mark.parametrize("right", RIGHTS)
def test_nothing_reaches_beyond_prefix_and_bucket(right: Right) -> None:
    reached = {each["Resource"] for each in json.loads(policy(right))["Statement"] if each["Sid"] != "KeysThroughS3"}

    assert reached == {"arn:aws:s3:::acme-uploads/uploads/*", "arn:aws:s3:::acme-uploads"}


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("right", RIGHTS)
def test_the_longest_prefix_still_fits(right: Right, dialect: DialectName) -> None:
    keeping = Keeping(tags={"a": "b"}, acl="bucket-owner-full-control", encryption="aws:kms", kms_key_id="alias/x")

    text = session_policy(
        right, bucket="b" * 63, prefix="p" * 256, region="us-gov-west-1", dialect=dialect, keeping=keeping
    )

    assert len(text) <= MAX_POLICY_CHARACTERS
    assert " " not in text


def test_what_the_destination_signs_the_session_may_send() -> None:
    keeping = Keeping(tags={"team": "red"}, acl="bucket-owner-full-control")

    assert {"s3:PutObjectTagging", "s3:PutObjectAcl"} <= allowed(policy("write", keeping=keeping))
    assert not {"s3:PutObjectTagging", "s3:PutObjectAcl"} & (
        allowed(policy("write")) | allowed(policy("read", keeping=keeping))
    )


def test_keys_are_used_through_s3_only_and_on_aws_only() -> None:
    (statement,) = [each for each in json.loads(policy("write"))["Statement"] if each["Sid"] == "KeysThroughS3"]

    assert statement["Condition"] == {"StringEquals": {"kms:ViaService": "s3.eu-central-1.amazonaws.com"}}
    assert not any(action.startswith("kms:") for right in RIGHTS for action in allowed(policy(right, "ceph")))


@pytest.mark.parametrize(
    ("region", "partition"), [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("eu-west-1", "aws")]
)
def test_a_partition_has_its_own_names(region: str, partition: str) -> None:
    assert f"arn:{partition}:s3:::acme-uploads/uploads/*" in policy("write", region=region)


@pytest.mark.parametrize("dialect", [name for name, row in DIALECTS.items() if row.accepts_unsigned_headers])
def test_where_unsigned_headers_are_obeyed_reading_is_denied_in_words(dialect: DialectName) -> None:
    denied = [each for each in json.loads(policy("write", dialect))["Statement"] if each["Effect"] == "Deny"]

    assert [each["Resource"] for each in denied] == ["arn:aws:s3:::acme-uploads/*"]
