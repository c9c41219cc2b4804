"""How a write asks for its object to be kept: server-side encryption and storage class, and who shall own the bucket.

Sources: https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html; userguide/UsingServerSideEncryption.html,
UsingKMSEncryption.html, UsingDSSEncryption.html (no bucket keys), storage-class-intro.html,
bucket-owner-condition.html.
Nothing is encrypted here, and every key exists: what a client can see of it is as on S3, and a key is named by its ARN.
"""

import secrets
import uuid
from collections.abc import Mapping
from typing import Final

from emulators.s3.catalogue import Bucket
from emulators.s3.errors import S3Error
from emulators.s3.request import S3Request

SSE: Final = "x-amz-server-side-encryption"
KEY_ID: Final = f"{SSE}-aws-kms-key-id"
BUCKET_KEY: Final = f"{SSE}-bucket-key-enabled"
OWNER: Final = "x-amz-expected-bucket-owner"
STORAGE_CLASS: Final = "x-amz-storage-class"
KMS: Final = frozenset({"aws:kms", "aws:kms:dsse"})
STORAGE_CLASSES: Final = frozenset(
    {
        "STANDARD",
        "REDUCED_REDUNDANCY",
        "STANDARD_IA",
        "ONEZONE_IA",
        "INTELLIGENT_TIERING",
        "GLACIER",
        "DEEP_ARCHIVE",
        "GLACIER_IR",
    }
)
ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})


def encryption(request: S3Request, region: str) -> Mapping[str, str]:
    """What the object will say of its encryption.

    :raises S3Error: InvalidEncryptionAlgorithmError, InvalidArgument.
    """
    mode, key_id, bucket_key = (request.header(name) for name in (SSE, KEY_ID, BUCKET_KEY))
    if mode is not None and mode not in KMS | {"AES256"}:
        raise S3Error("InvalidEncryptionAlgorithmError", fields={"ArgumentName": SSE, "ArgumentValue": mode})
    if mode not in KMS and (key_id is not None or bucket_key is not None):
        raise S3Error(
            "InvalidArgument",
            f"Server Side Encryption with AWS KMS managed key requires HTTP header {SSE} : aws:kms",
            fields={"ArgumentName": SSE, "ArgumentValue": mode or "null"},
        )
    if bucket_key not in {None, "true", "false"} or (bucket_key == "true" and mode == "aws:kms:dsse"):
        raise S3Error("InvalidArgument", fields={"ArgumentName": BUCKET_KEY, "ArgumentValue": bucket_key or ""})
    found = {SSE: mode} if mode else {}
    if mode in KMS:
        found[KEY_ID] = _arn(key_id, region)
    if bucket_key == "true":
        found[BUCKET_KEY] = "true"
    return found


def storage_class(request: S3Request) -> Mapping[str, str]:
    """Nothing where it is STANDARD: S3 "returns this header for all objects except for S3 Standard storage class".

    :raises S3Error: InvalidStorageClass.
    """
    name = request.header(STORAGE_CLASS)
    if name is not None and name not in STORAGE_CLASSES:
        raise S3Error("InvalidStorageClass", fields={"StorageClassRequested": name})
    return {} if name in {None, "STANDARD"} else {STORAGE_CLASS: str(name)}


def etag(headers: Mapping[str, str], md5: str) -> str:
    """Under a key of KMS an ETag is no MD5 of anything (Object, "ETag")."""
    return secrets.token_hex(16) if headers.get(SSE) in KMS else md5


def check_readable(headers: Mapping[str, str]) -> None:
    """:raises S3Error: InvalidObjectState, until somebody restores it, which nobody can here."""
    name = headers.get(STORAGE_CLASS)
    if name in ARCHIVES:
        raise S3Error("InvalidObjectState", fields={"StorageClass": str(name)})


def refuse_encryption(request: S3Request) -> None:
    """Reads and parts take none: it was chosen when the object, or its upload, began.

    :raises S3Error: InvalidArgument.
    """
    for name in (SSE, KEY_ID, BUCKET_KEY):
        if request.header(name) is not None:
            raise S3Error(
                "InvalidArgument",
                f"{name} header is not supported for this operation.",
                fields={"ArgumentName": name, "ArgumentValue": request.header(name) or ""},
            )


def check_owner(request: S3Request, bucket: Bucket | None) -> None:
    """:raises S3Error: AccessDenied, when the bucket is somebody else's than the caller believes."""
    expected = request.header(OWNER)
    if expected is not None and bucket is not None and expected != bucket.owner:
        raise S3Error("AccessDenied")


def _arn(key_id: str | None, region: str) -> str:
    """As S3 answers, whatever of a key was named: an ARN; none named, the account's own key for S3."""
    if key_id is not None and key_id.startswith("arn:") and ":alias/" not in key_id:
        return key_id
    name = key_id or "alias/aws/s3"
    if "alias/" in name:
        name = str(uuid.uuid5(uuid.NAMESPACE_URL, name.rpartition("alias/")[2]))
    return f"arn:aws:kms:{region}:000000000000:key/{name}"
