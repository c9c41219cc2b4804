"""What a role is narrowed to for one right: the document of `policies.py`, and what the destination's settings add.

A session policy takes away from what the role may and gives nothing (IAM User Guide, "Session policies"), so it has to
name everything that the right needs: also the key with which a bucket encrypts, of which the broker need not know. Only
through S3, though: `kms:ViaService` (AWS KMS Developer Guide, condition keys). Other stores may not know such actions.
"""

from typing import Any, Final

import msgspec

from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.keeping import Feature, Keeping
from broker.storage.s3.policies import Right, policies_of

# PutObject, "Permissions": what its headers need beside s3:PutObject.
FOR_HEADERS: Final[dict[Feature, str]] = {"tags": "s3:PutObjectTagging", "acl": "s3:PutObjectAcl"}
# S3 User Guide, "Using server-side encryption with AWS KMS": parts and reads need kms:Decrypt.
FOR_KEYS: Final[dict[Right, tuple[str, ...]]] = {
    "write": ("kms:GenerateDataKey", "kms:Decrypt"),
    "read": ("kms:Decrypt",),
}
# Measured on Ceph 16.2: an abort by a session whose policy names s3:AbortMultipartUpload is 403, one that names this is
# not. No client ever holds what this right signs.
_CEPH_ASKS_FOR_AT_ABORT: Final = "s3:PutObject"
# AWS General Reference, "Amazon Resource Names": partitions.
_PARTITIONS: Final = {"cn-": "aws-cn", "us-gov-": "aws-us-gov"}


def session_policy(
    right: Right, *, bucket: str, prefix: str, region: str, dialect: DialectName, keeping: Keeping
) -> str:
    """The document as STS takes it: one right on one prefix."""
    documents = policies_of(bucket=bucket, prefix=prefix, dialect=DIALECTS[dialect], origins=())
    document: dict[str, Any] = msgspec.to_builtins(getattr(documents, right))
    objects = document["Statement"][0]
    if right == "write":
        added = [action for feature, action in FOR_HEADERS.items() if feature in keeping.features]
        objects["Action"] = [*objects["Action"], *added]
    if right == "remove" and dialect == "ceph":
        objects["Action"] = [*objects["Action"], _CEPH_ASKS_FOR_AT_ABORT]
    if dialect == "aws" and right in FOR_KEYS:
        document["Statement"] = [*document["Statement"], _through_s3(FOR_KEYS[right], region)]
    text = msgspec.json.encode(document).decode()
    return text.replace("arn:aws:", f"arn:{partition_of(region)}:")


def partition_of(region: str) -> str:
    return next((name for start, name in _PARTITIONS.items() if region.startswith(start)), "aws")


def s3_service(region: str) -> str:
    """What `kms:ViaService` names."""
    return f"s3.{region}.{'amazonaws.com.cn' if region.startswith('cn-') else 'amazonaws.com'}"


def _through_s3(actions: tuple[str, ...], region: str) -> dict[str, Any]:
    return {
        "Sid": "KeysThroughS3",
        "Effect": "Allow",
        "Action": actions,
        "Resource": "*",
        "Condition": {"StringEquals": {"kms:ViaService": s3_service(region)}},
    }
