"""The bucket's own settings: pages that upload, what is forgotten after days, and that nothing becomes public.

Shapes after PutBucketCors, PutBucketLifecycleConfiguration, PutPublicAccessBlock and PutBucketOwnershipControls of the
Amazon S3 API Reference.
"""

from datetime import timedelta

from msgspec import Struct, field

from broker.setup.terms import Terms
from broker.storage.s3.dialects import CHECKSUM_HEADERS
from broker.storage.s3.policies import CorsRule
from broker.storage.s3.signer import METADATA_PREFIX

_OLD_VERSIONS_DAYS = 7  # ours: a week to notice that something was removed
_FEWEST_DAYS = 3


class Filter(Struct, frozen=True, kw_only=True, rename="pascal"):
    prefix: str


class AbortAfter(Struct, frozen=True, kw_only=True, rename="pascal"):
    days_after_initiation: int


class ExpireNoncurrent(Struct, frozen=True, kw_only=True, rename="pascal"):
    noncurrent_days: int


class LifecycleRule(Struct, frozen=True, kw_only=True, rename="pascal", omit_defaults=True):
    id: str = field(name="ID")
    status: str
    filter: Filter
    abort_incomplete_multipart_upload: AbortAfter | None = None
    noncurrent_version_expiration: ExpireNoncurrent | None = None


class Lifecycle(Struct, frozen=True, kw_only=True, rename="pascal"):
    rules: tuple[LifecycleRule, ...]


class PublicAccessBlock(Struct, frozen=True, kw_only=True, rename="pascal"):
    block_public_acls: bool
    ignore_public_acls: bool
    block_public_policy: bool
    restrict_public_buckets: bool


class OwnershipRule(Struct, frozen=True, kw_only=True, rename="pascal"):
    object_ownership: str


class OwnershipControls(Struct, frozen=True, kw_only=True, rename="pascal"):
    rules: tuple[OwnershipRule, ...]


def cors_rules(terms: Terms) -> tuple[CorsRule, ...]:
    """The headers that we sign and a page therefore sets; `x-amz-meta-*` because metadata has names of its own."""
    if not terms.origins:
        return ()
    checksums = tuple(CHECKSUM_HEADERS[name] for name in terms.dialect.verifies)
    headers = ("content-type", "if-none-match", f"{METADATA_PREFIX}*", *checksums, *terms.keeping.headers, "if-match")
    return (CorsRule(allowed_origins=terms.origins, allowed_headers=headers),)


def lifecycle(terms: Terms) -> Lifecycle:
    """Longer than any upload may take, else the rule takes those that still run."""
    under = Filter(prefix=f"{terms.prefix}/")
    days = max(_FEWEST_DAYS, terms.longest_upload // timedelta(days=1) + 2)
    return Lifecycle(
        rules=(
            LifecycleRule(
                id="abort-forgotten-parts",
                status="Enabled",
                filter=under,
                abort_incomplete_multipart_upload=AbortAfter(days_after_initiation=days),
            ),
            LifecycleRule(
                id="forget-old-versions",
                status="Enabled",
                filter=under,
                noncurrent_version_expiration=ExpireNoncurrent(noncurrent_days=_OLD_VERSIONS_DAYS),
            ),
        )
    )


def public_access_block(terms: Terms) -> PublicAccessBlock | None:
    if terms.dialect_name == "aws":
        return PublicAccessBlock(
            block_public_acls=True, ignore_public_acls=True, block_public_policy=True, restrict_public_buckets=True
        )
    if terms.dialect_name == "ceph":  # 16.2 with BlockPublicAcls refuses every PUT (tests/peers/ceph/test_facts.py)
        return PublicAccessBlock(
            block_public_acls=False, ignore_public_acls=True, block_public_policy=False, restrict_public_buckets=False
        )
    return None


def ownership_controls(terms: Terms) -> OwnershipControls | None:
    if terms.dialect_name != "aws":
        return None
    # With an ACL in every write the bucket has to know ACLs; "bucket-owner-full-control" is taken in either case.
    return OwnershipControls(rules=(OwnershipRule(object_ownership="BucketOwnerEnforced"),))
