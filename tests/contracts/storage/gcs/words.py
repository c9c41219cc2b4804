"""The words of Cloud Storage's XML API, which signed URLs go to."""

from typing import Final

from tests.contracts.storage.tampering import with_query_value
from tests.contracts.storage.words import Words

GCS_WORDS: Final = Words(
    header="x-goog-",
    query="X-Goog-",
    algorithm="GOOG4-RSA-SHA256",
    other_algorithm="GOOG4-HMAC-SHA256",
    other_terminal="goog5_request",
    size="x-goog-content-length-range",
    create_only="x-goog-if-generation-match",
    other_condition="1",
    digests={name: ("x-goog-hash", f"{name}={{}}") for name in ("crc32c", "md5")},
    version="generation",
    version_header="x-goog-generation",
    other_version="1",
    is_always_versioned=True,
    lists_newest_first=False,
    malformed=400,
    expired=400,
    stale=403,  # the pin names what is read; who may not list is not told that it is not there
    pins={
        "no pin": with_query_value("generation", None),
        "a looser pin": with_query_value("generation", "0"),
        "another generation": with_query_value("generation", "1"),
    },
    unsigned={
        "a resumable upload": ("x-goog-resumable", "start"),
        "metadata": ("x-goog-meta-extra", "1"),
        "storage class": ("x-goog-storage-class", "ARCHIVE"),
        "encryption": ("x-goog-encryption-kms-key-name", "projects/p/locations/l/keyRings/r/cryptoKeys/k"),
        "checksum": ("x-goog-hash", "crc32c=AAAAAA=="),
        "condition": ("x-goog-if-metageneration-match", "0"),
        "time": ("x-goog-custom-time", "2040-01-01T00:00:00Z"),
        "who pays": ("x-goog-user-project", "theirs"),
        "whose project": ("x-goog-project-id", "theirs"),
    },
    betrayed=frozenset({"content-encoding"}),  # it would be decompressed on its way to whoever reads
)
