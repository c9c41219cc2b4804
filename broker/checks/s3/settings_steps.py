"""The bucket's own settings: versions, the rule for forgotten parts, who may publish.

Obeys GetBucketVersioning, GetBucketLifecycleConfiguration, GetPublicAccessBlock and GetBucketOwnershipControls of the
Amazon S3 API Reference. None of the three credentials needs these rights to work, so a step that may not look is
skipped and says which right it takes.
"""

from datetime import timedelta
from xml.etree.ElementTree import Element

from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.s3.site import S3Bench, S3Site
from broker.checks.s3.troubles import explained
from broker.checks.steps import Step
from broker.domain.policy import grace
from broker.storage.s3 import xml
from broker.storage.s3.caller import S3Answer

_BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


async def versioning(bench: S3Bench) -> Finding:
    answer = await _setting(bench, "versioning")
    if answer.status != 200:
        return _unread(bench.site, answer, "s3:GetBucketVersioning")
    status = xml.text(xml.parse(answer.body, "VersioningConfiguration"), "Status")
    has_version = bench.stored is not None and bench.stored.version is not None
    if status == "Enabled" and not has_version:
        return failed("it is on, and HEAD shows no version", "the store hides x-amz-version-id: turn versioning off")
    return passed("on: reads and removals name a version" if has_version else "off: reads are pinned by ETag")


async def lifecycle(bench: S3Bench) -> Finding:
    answer = await _setting(bench, "lifecycle")
    if answer.status not in {200, 404}:
        return _unread(bench.site, answer, "s3:GetLifecycleConfiguration")
    place = bench.site.bucket.destination
    rules = [] if answer.status == 404 else xml.parse(answer.body, "LifecycleConfiguration").findall("{*}Rule")
    days = [found for rule in rules if (found := _aborts_after(rule, f"{place.prefix}/")) is not None]
    fix = f"put the lifecycle rules on the bucket that `{bench.site.setup}` prints"
    if not days:
        return failed(f"no rule aborts incomplete multipart uploads under {place.prefix}/", fix)
    needed = place.policy.deadline + grace(place.policy, 0)
    if timedelta(days=min(days)) <= needed:
        hours = needed.total_seconds() / 3600
        return failed(f"after {min(days)} days it takes uploads that still run (up to {hours:g} h)", fix)
    return passed(f"after {min(days)} days")


async def public_access(bench: S3Bench) -> Finding:
    site = bench.site
    if site.dialect_name not in {"aws", "ceph"}:
        return skipped(f"the dialect {site.dialect_name} has no such setting")
    answer = await _setting(bench, "publicAccessBlock")
    if answer.status not in {200, 404}:
        return _unread(site, answer, "s3:GetBucketPublicAccessBlock")
    root = None if answer.status == 404 else _blocks_in(answer.body)
    on = [name for name in _BLOCKS if root is not None and xml.text(root, name).lower() == "true"]
    fix = f"set what `{site.setup}` prints as public access block"
    if site.dialect_name == "ceph":
        if "BlockPublicAcls" in on:
            return failed("BlockPublicAcls is on, and Ceph then refuses every PUT", fix)
        is_enough = "IgnorePublicAcls" in on
    else:
        is_enough = len(on) == len(_BLOCKS)
    off = [name for name in _BLOCKS if name not in on]
    return passed(", ".join(on)) if is_enough else failed(f"off: {', '.join(off)}", fix)


async def ownership(bench: S3Bench) -> Finding:
    site = bench.site
    if site.dialect_name != "aws":
        return skipped(f"the dialect {site.dialect_name} has no such setting")
    answer = await _setting(bench, "ownershipControls")
    if answer.status not in {200, 404}:
        return _unread(site, answer, "s3:GetBucketOwnershipControls")
    found = ""
    if answer.status == 200:
        rule = xml.parse(answer.body, "OwnershipControls").find("{*}Rule")
        found = "" if rule is None else xml.text(rule, "ObjectOwnership")
    if found == "BucketOwnerEnforced":
        return passed(found)
    return failed(
        f"{found or 'none'}: ACLs are in force",
        f"set BucketOwnerEnforced, as `{site.setup}` prints it",
    )


def _blocks_in(body: bytes) -> Element:
    try:
        return xml.parse(body, "PublicAccessBlockConfiguration")
    except xml.NotXml:
        return xml.parse(body, "BlockPublicAccessBlockConfiguration")  # as Ceph 16.2 spells it


async def _setting(bench: S3Bench, name: str) -> S3Answer:
    """Asked with whichever credential may: the operator's, if one was named, else ours in turn."""
    site = bench.site
    asking = [*([site.operator] if site.operator else []), *(site.credentials[r] for r in ("remove", "read", "write"))]
    for credentials in asking[:-1]:
        answer = await site.caller.call("GET", "", credentials, query=[(name, "")])
        if answer.status not in {401, 403}:
            return answer
    return await site.caller.call("GET", "", asking[-1], query=[(name, "")])


def _unread(site: S3Site, answer: S3Answer, action: str) -> Finding:
    code = xml.error_code(answer.body)
    if answer.status in {401, 403}:
        return skipped(
            "no credential here may look",
            permission=f"{action} on {site.bucket_arn}",
            fix="look with an AWS profile that may: `--profile NAME`",
        )
    if answer.status in {400, 405, 501}:
        return skipped(f"the store has no such setting ({answer.status} {code})".replace(" )", ")"))
    return explained(site, None, answer.status, code)


def _aborts_after(rule: Element, prefix: str) -> int | None:
    """The days of a rule that is on and holds for everything under `prefix`; None where it is no such rule."""
    action = rule.find("{*}AbortIncompleteMultipartUpload")
    if action is None or xml.text(rule, "Status") != "Enabled":
        return None
    chosen = rule.find("{*}Filter")
    narrowed = chosen is not None and any(xml.local(each.tag) != "Prefix" for each in chosen)
    of = xml.text(rule, "Prefix") if chosen is None else xml.text(chosen, "Prefix")
    return xml.number(action, "DaysAfterInitiation") if prefix.startswith(of) and not narrowed else None


STEPS = (
    Step(code="versioning", tried="whether the bucket keeps versions", attempt=versioning, after=("head",)),
    Step(code="lifecycle", tried="a rule aborts multipart uploads that were forgotten", attempt=lifecycle),
    Step(code="public-access", tried="nothing in the bucket can become public", attempt=public_access),
    Step(code="ownership", tried="objects belong to the bucket's owner, without ACLs", attempt=ownership),
)
