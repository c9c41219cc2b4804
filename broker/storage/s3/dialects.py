"""What a store enforces of signed PUTs and parts, per dialect of the S3 protocol.

A row claims only what was measured or what the vendor documents; tests/contracts/storage proves it both ways where a
store can be run: `aws` on the emulator, `ceph` on Ceph 16.2 and the emulator, `generic` on both, `r2` nowhere.
Why a row says what it says:

- Every store that verifies SigV4 recomputes the signature from the headers it received: a PUT with another
  `content-length` or `content-type` than the signed one is refused before a byte is stored (measured on the emulator
  and Ceph 16.2; AWS: "Authenticating Requests", CanonicalHeaders). HTTP then holds the body to that length. These two
  are all that `generic` claims.
- `if-none-match: *` is different. That it is signed only means that the client must send it; a store without
  conditional writes ignores it and overwrites. HEAD cannot see an overwrite either, so the claim is `none`. It is
  signed all the same: where the store knows it, it helps.
- Likewise a checksum header binds only where the store computes the digest. Ceph 16.2 ignores `x-amz-checksum-*`
  but checks Content-MD5 (measured). R2 documents conditional PutObject ("Conditional operations") and, for single
  PUTs, no checksum that it refuses by. What no store proves, the consumer does while reading: `on_read`.
- A checksum header is sent only where it is checked: stores that do not know one answer 400 or 501.
- Headers that nobody signed: AWS and the emulator refuse an unsigned `x-amz-*` ("There were headers present in the
  request which were not signed"). Ceph 16.2 obeys it (measured): an ACL makes the object public, and
  `x-amz-copy-source` turns the upload into a copy of whatever the signer may read, under the signed size, type and
  capsule if `x-amz-metadata-directive: REPLACE` comes along, so that no HEAD can tell. R2 documents nothing, and of
  `generic` nothing is known: both are assumed to obey. A destination of such a dialect has to say
  `accept_unsigned_headers`, and to write with a credential that cannot read.
- Conditional delete: AWS since September 2025 (S3 User Guide, "How to perform conditional deletes"; needs s3:GetObject
  beside s3:DeleteObject). Ceph 16.2 ignores `if-match` on DELETE, which would delete whatever is there.
- Parts. Each is signed with its length, and the broker alone completes, exactly parts 1 to N at those lengths and
  with the type that it set when it opened the upload: size and type are `enforced` by whoever verifies SigV4. AWS
  completes create-only (CompleteMultipartUpload, If-None-Match); Ceph 16.2 ignores that header there (measured), of
  the others nothing is documented. There create-only is `at_head`: the broker completes only after a HEAD that found
  nothing, an upload once, and a client can neither complete nor write to the key otherwise. A digest of the whole is
  nobody's to enforce: S3 has SHA-256 and MD5 of parts only, and CRCs only if declared when the upload is opened, which
  makes some stores refuse parts without that header. So `on_read`, unless HEAD shows one of the full object.
- How an object is to be kept (`keeping.py`). Ceph 16.2 (measured; tests/peers/ceph/test_keeping.py): a storage class is
  kept or refused; SSE-KMS needs TLS, a key id and a configured KMS, and is refused without; AES256 is accepted and
  *ignored*, so are bucket keys and x-amz-expected-bucket-owner; tags are kept of a PUT and forgotten of an object in
  parts. R2 ("S3 API compatibility"): storage classes, none of the others. Of `generic` nothing is known: storage class
  and tags it may ignore without harm to a promise, so they may be asked for; encryption, ACL and owner may not.
"""

from dataclasses import dataclass
from typing import Final, Literal

from broker.contract import Checksum, Guarantees, Level
from broker.domain.objects import declared
from broker.storage.s3.keeping import Feature

DialectName = Literal["aws", "ceph", "r2", "generic"]

CHECKSUM_HEADERS: Final[dict[str, str]] = {
    "sha256": "x-amz-checksum-sha256",
    "crc64nvme": "x-amz-checksum-crc64nvme",
    "crc32c": "x-amz-checksum-crc32c",
    "md5": "content-md5",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One row. `verifies` are the digests that the store computes by itself, the best first and md5 last.

    `accepts_unsigned_headers`: it does, or nobody knows that it does not. `keeps`: what a destination may ask of it.
    `has_session_policies`: its STS narrows a role to the policy that is asked for, as is known (tests/peers/ceph).
    """

    size: Level
    content_type: Level
    create_only: Level
    verifies: tuple[str, ...]
    has_conditional_delete: bool
    has_conditional_complete: bool
    accepts_unsigned_headers: bool
    keeps: frozenset[Feature] = frozenset({"storage_class"})
    has_session_policies: bool = False

    def bound_checksums(self, checksum: Checksum) -> dict[str, str]:
        """Return the declared digests that the signature can bind, by header name.

        At most one `x-amz-checksum-*`, the best: S3 answers 400 to a second ("Expecting a single x-amz-checksum-
        header. Multiple checksum Types are not allowed"). Content-MD5 may stand beside it.
        """
        bound: dict[str, str] = {}
        for name in self.verifies:
            value: str | None = getattr(checksum, name)
            if value is not None and (name == "md5" or not bound):
                bound[CHECKSUM_HEADERS[name]] = value
        return bound

    def guarantees(self, checksum: Checksum) -> Guarantees:
        """Return who keeps each promise about a PUT that declares `checksum`."""
        return Guarantees(
            size=self.size,
            content_type=self.content_type,
            create_only=self.create_only,
            checksum=self._checksum_level(checksum),
        )

    def guarantees_in_parts(self, checksum: Checksum) -> Guarantees:
        """Return who keeps each promise about an object that comes in parts and declares `checksum`."""
        return Guarantees(
            size=self.size,
            content_type=self.content_type,
            create_only=Level.ENFORCED if self.has_conditional_complete else Level.AT_HEAD,
            checksum=Level.ON_READ if declared(checksum) else Level.NONE,
        )

    def _checksum_level(self, checksum: Checksum) -> Level:
        digests = declared(checksum)
        if not digests:
            return Level.NONE
        # The weakest counts: one level speaks for all that were declared.
        return Level.ENFORCED if len(self.bound_checksums(checksum)) == len(digests) else Level.ON_READ


DIALECTS: Final[dict[DialectName, Dialect]] = {
    "aws": Dialect(
        size=Level.ENFORCED,
        content_type=Level.ENFORCED,
        create_only=Level.ENFORCED,
        verifies=("sha256", "crc64nvme", "crc32c", "md5"),
        has_conditional_delete=True,
        has_conditional_complete=True,
        accepts_unsigned_headers=False,
        keeps=frozenset({"sse-s3", "sse-kms", "sse-kms-extras", "storage_class", "tags", "acl", "owner"}),
        has_session_policies=True,
    ),
    "ceph": Dialect(
        size=Level.ENFORCED,
        content_type=Level.ENFORCED,
        create_only=Level.ENFORCED,
        verifies=("md5",),
        has_conditional_delete=False,
        has_conditional_complete=False,
        accepts_unsigned_headers=True,
        keeps=frozenset({"sse-kms", "storage_class", "acl"}),
        has_session_policies=True,
    ),
    "r2": Dialect(
        size=Level.ENFORCED,
        content_type=Level.ENFORCED,
        create_only=Level.ENFORCED,
        verifies=(),
        has_conditional_delete=False,
        has_conditional_complete=False,
        accepts_unsigned_headers=True,
    ),
    "generic": Dialect(
        size=Level.ENFORCED,
        content_type=Level.ENFORCED,
        create_only=Level.NONE,
        verifies=(),
        has_conditional_delete=False,
        has_conditional_complete=False,
        accepts_unsigned_headers=True,
        keeps=frozenset({"storage_class", "tags"}),
    ),
}
