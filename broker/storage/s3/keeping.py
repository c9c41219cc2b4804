"""How a destination wants its objects kept: encryption, storage class, tags, ACL, owner – as headers of the write.

Obeys PutObject and CreateMultipartUpload of the Amazon S3 API Reference, "URI Request Parameters", and for tags
"Categorizing your objects using tags" of the S3 User Guide. Signed into the PUT and sent by whoever opens a multipart
upload; parts, GET and HEAD must not carry any of it (UploadPart: encryption is asked for when the upload is begun).

What HEAD shows of it is not judged: a signed header reaches the store or the signature breaks, and a dialect is only
given what its store was seen to do or to refuse (`dialects.py`). Judging it would reject what was sent by a request
that was signed before the setting changed. `check` shows what became of a probe.

The expected owner ("Verifying bucket ownership") goes with every call of the broker, too. Reads carry none of it: they
are pinned to what the broker's own HEAD found in the right bucket.

SSE-C is no setting: whoever uploads would have to hold the key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]
Acl = Literal["bucket-owner-full-control"]
# What a store may know or not, for `Dialect.keeps`.
Feature = Literal["sse-s3", "sse-kms", "sse-kms-extras", "storage_class", "tags", "acl", "owner"]

OWNER_HEADER: Final = "x-amz-expected-bucket-owner"
ENCRYPTION_HEADER: Final = "x-amz-server-side-encryption"
ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})  # "Storage classes": must be restored before they are read

MAX_TAGS: Final = 10  # "Categorizing your objects using tags": at most 10, unique keys
MAX_TAG_KEY: Final = 128  # Unicode characters
MAX_TAG_VALUE: Final = 256
# "Object key and metadata": PUT headers are at most 8 KB in all. Ours is half: type, capsule and metadata come beside.
MAX_TAGGING_BYTES: Final = 4_096

# "letters, whitespaces, and numbers, plus the following special characters: + - = . _ : /" and @. Of white space only
# the plain one: another would have to survive a header.
_TAG_TEXT = re.compile(r"(?:[^\W_]|[ +\-=._:/@])*")
_KEY_ID = re.compile(r"[A-Za-z0-9:/_-]{1,2048}")  # KMS, KeyId: id, key ARN, alias/NAME or alias ARN; 1 to 2,048
_ACCOUNT = re.compile(r"[0-9]{12}")
_STORAGE_CLASS = re.compile(r"[A-Z0-9_-]{1,64}")  # a Ceph names its own


@dataclass(frozen=True, slots=True, kw_only=True)
class Keeping:
    """`headers` is what a write carries; `features` what its store must know.

    :raises ValueError: what no store would take, or what would not mean what it says; the text names the setting.
    """

    encryption: Encryption | None = None
    kms_key_id: str | None = None
    has_bucket_key: bool | None = None  # None: as the bucket says
    storage_class: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    acl: Acl | None = None
    bucket_owner: str | None = None
    headers: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_encryption()
        _check_tags(self.tags)
        if self.storage_class is not None and not _STORAGE_CLASS.fullmatch(self.storage_class):
            raise ValueError(f"storage_class: {self.storage_class!r} is no name of one")
        if self.bucket_owner is not None and not _ACCOUNT.fullmatch(self.bucket_owner):
            raise ValueError("expected_bucket_owner: the twelve digits of an AWS account")
        object.__setattr__(self, "headers", self._headers())

    @property
    def features(self) -> frozenset[Feature]:
        wanted: dict[Feature, bool] = {
            "sse-s3": self.encryption == "AES256",
            "sse-kms": self.encryption in {"aws:kms", "aws:kms:dsse"},
            # What AWS alone has: its own key as the default, bucket keys, two layers.
            "sse-kms-extras": self.encryption == "aws:kms:dsse"
            or self.has_bucket_key is not None
            or (self.encryption is not None and self.encryption != "AES256" and self.kms_key_id is None),
            "storage_class": self.storage_class is not None,
            "tags": bool(self.tags),
            "acl": self.acl is not None,
            "owner": self.bucket_owner is not None,
        }
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)

    @property
    def call_headers(self) -> dict[str, str]:
        """Those of every call of the broker, of reads and removals too."""
        return {} if self.bucket_owner is None else {OWNER_HEADER: self.bucket_owner}

    @property
    def note_headers(self) -> dict[str, str]:
        """Those of the broker's own note: a bucket policy may ask for them; but the note is read again and again."""
        return {name: value for name, value in self.headers.items() if name != "x-amz-storage-class"}

    def _check_encryption(self) -> None:
        is_kms = self.encryption in {"aws:kms", "aws:kms:dsse"}
        if not is_kms and (self.kms_key_id is not None or self.has_bucket_key is not None):
            raise ValueError('encryption: kms_key_id and bucket_key need mode = "aws:kms"')
        if self.encryption == "aws:kms:dsse" and self.has_bucket_key is not None:
            raise ValueError("encryption: aws:kms:dsse has no bucket keys")  # "Using dual-layer …": not supported
        if self.kms_key_id is not None and not _KEY_ID.fullmatch(self.kms_key_id):
            raise ValueError("encryption.kms_key_id: an id, an alias or an ARN of a key")

    def _headers(self) -> Mapping[str, str]:
        bucket_key = None if self.has_bucket_key is None else str(self.has_bucket_key).lower()
        given = {
            ENCRYPTION_HEADER: self.encryption,
            f"{ENCRYPTION_HEADER}-aws-kms-key-id": self.kms_key_id,
            f"{ENCRYPTION_HEADER}-bucket-key-enabled": bucket_key,
            "x-amz-storage-class": self.storage_class,
            "x-amz-tagging": _spelled(self.tags) or None,
            "x-amz-acl": self.acl,
            OWNER_HEADER: self.bucket_owner,
        }
        return {name: value for name, value in given.items() if value is not None}


def _check_tags(tags: Mapping[str, str]) -> None:
    """:raises ValueError:"""
    if len(tags) > MAX_TAGS:
        raise ValueError(f"tags: at most {MAX_TAGS}")
    for key, value in tags.items():
        if not 1 <= len(key) <= MAX_TAG_KEY or len(value) > MAX_TAG_VALUE:
            raise ValueError(f"tags: a key has 1 to {MAX_TAG_KEY} characters, a value at most {MAX_TAG_VALUE}")
        if not (_TAG_TEXT.fullmatch(key) and _TAG_TEXT.fullmatch(value)):
            raise ValueError(f"tags: {key!r}: letters, digits, blanks and + - = . _ : / @ only")
        if key.lower().startswith("aws:"):
            raise ValueError(f"tags: {key!r}: aws: belongs to AWS")
    if len(_spelled(tags)) > MAX_TAGGING_BYTES:
        raise ValueError(f"tags: at most {MAX_TAGGING_BYTES} bytes as a header, percent-encoded")


def _spelled(tags: Mapping[str, str]) -> str:
    """Like a query, with %20 for a blank: Ceph 16.2 keeps a `+` as it stands (measured)."""
    return "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in tags.items())


# A destination that asks for nothing.
AS_THE_BUCKET_SAYS: Final = Keeping()
