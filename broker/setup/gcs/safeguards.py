"""The bucket's own settings: pages that upload, what is forgotten after days, and that nothing becomes public.

Shapes of the Bucket resource of the Cloud Storage JSON API: `cors[]`, `lifecycle.rule[]`, `iamConfiguration`. No rule
aborts what was begun and never finished: a resumable upload ends by itself after a week, and the broker cancels it at
its deadline.
"""

from typing import Final

from msgspec import Struct

from broker.domain.objects import CAPSULE_FIELD
from broker.setup.gcs.terms import GcsTerms

_OLD_VERSIONS_DAYS: Final = 7  # ours: a week to notice that something was removed
_MAX_AGE_SECONDS: Final = 3_600
# What a signed PUT has, what a resumable upload sends and answers, and what a read shows.
_HEADERS: Final = (
    "content-type", "x-goog-content-length-range", "x-goog-if-generation-match", "x-goog-hash",
    f"x-goog-meta-{CAPSULE_FIELD}", "content-range", "range", "etag", "x-goog-generation",
)  # fmt: skip


class CorsRule(Struct, frozen=True, kw_only=True, rename="camel"):
    origin: tuple[str, ...]
    method: tuple[str, ...]
    response_header: tuple[str, ...]
    max_age_seconds: int


class Action(Struct, frozen=True, kw_only=True):
    type: str


class Condition(Struct, frozen=True, kw_only=True, rename="camel"):
    days_since_noncurrent_time: int
    matches_prefix: tuple[str, ...]


class LifecycleRule(Struct, frozen=True, kw_only=True):
    action: Action
    condition: Condition


class Lifecycle(Struct, frozen=True, kw_only=True):
    rule: tuple[LifecycleRule, ...]


class UniformAccess(Struct, frozen=True, kw_only=True):
    enabled: bool = True


class IamConfiguration(Struct, frozen=True, kw_only=True, rename="camel"):
    uniform_bucket_level_access: UniformAccess = UniformAccess()
    public_access_prevention: str = "enforced"


class BucketSettings(Struct, frozen=True, kw_only=True, rename="camel"):
    """What `buckets.patch` takes. It replaces CORS and lifecycle whole."""

    cors: tuple[CorsRule, ...]
    lifecycle: Lifecycle
    iam_configuration: IamConfiguration = IamConfiguration()


def bucket_settings(terms: GcsTerms) -> BucketSettings:
    rule = LifecycleRule(
        action=Action(type="Delete"),
        condition=Condition(days_since_noncurrent_time=_OLD_VERSIONS_DAYS, matches_prefix=(f"{terms.prefix}/",)),
    )
    return BucketSettings(cors=cors_rules(terms), lifecycle=Lifecycle(rule=(rule,)))


def cors_rules(terms: GcsTerms) -> tuple[CorsRule, ...]:
    """Nothing where no page uploads. A resumable session has its page's origin from its beginning, and asks no rule."""
    if not terms.origins:
        return ()
    methods = ("PUT", "GET", "HEAD")
    return (CorsRule(origin=terms.origins, method=methods, response_header=_HEADERS, max_age_seconds=_MAX_AGE_SECONDS),)
