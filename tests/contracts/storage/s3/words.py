"""S3's words."""

from typing import Final

from broker.storage.s3.dialects import CHECKSUM_HEADERS
from tests.contracts.storage.tampering import in_url, with_header, without_header
from tests.contracts.storage.words import Words

S3_WORDS: Final = Words(
    header="x-amz-",
    query="X-Amz-",
    algorithm="AWS4-HMAC-SHA256",
    other_algorithm="AWS4-HMAC-SHA1",
    other_terminal="aws5_request",
    size="content-length",
    create_only="if-none-match",
    other_condition='"abc"',
    digests={algorithm: (header, "{}") for algorithm, header in CHECKSUM_HEADERS.items()},
    unseen_digests=frozenset({"md5"}),  # it stands in no header of HEAD
    version="versionId",
    version_header="x-amz-version-id",
    other_version="3sL4kqtJlcpXroDTDmJrmSpXd3dIbrHY",
    is_always_versioned=False,
    lists_newest_first=True,
    malformed=403,
    expired=403,
    stale=412,  # the pin is a condition
    pins={
        "no pin": without_header("if-match"),
        "a looser pin": with_header("if-match", "*"),
        "another ETag": with_header("if-match", '"fedcbafedcbafedcbafedcbafedcba98"'),
        "the pin not among the signed headers": in_url("%3Bif-match", ""),
    },
    unsigned={
        "tagging": ("x-amz-tagging", "a=b"),
        "metadata": ("x-amz-meta-extra", "1"),
        "storage class": ("x-amz-storage-class", "STANDARD_IA"),
        "redirect": ("x-amz-website-redirect-location", "https://evil.example/"),
        "encryption": ("x-amz-server-side-encryption", "AES256"),
        "checksum": ("x-amz-checksum-sha256", "A" * 43 + "="),
        "lock": ("x-amz-object-lock-mode", "COMPLIANCE"),
        "session token": ("x-amz-security-token", "invented"),
    },
)
