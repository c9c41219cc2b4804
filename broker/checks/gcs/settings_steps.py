"""The bucket's own settings, read with an operator's credential, and compared with what `setup gcs` prints."""

from datetime import timedelta
from typing import Any

from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.gcs.operator import Looked, Notice
from broker.checks.gcs.site import GcsBench
from broker.checks.steps import Step
from broker.domain.policy import grace

_TOLD = frozenset({"OBJECT_FINALIZE"})  # without removals, a lost object is noticed by looking


async def access(bench: GcsBench) -> Finding:
    found = await _looked(bench)
    if isinstance(found, Finding):
        return found
    if not found.has_uniform_access:
        return failed("object ACLs are in force, and grants under a condition are not",
                      f"turn uniform bucket-level access on, as `{bench.site.setup}` prints it")  # fmt: skip
    if found.public_access_prevention != "enforced":
        return failed("the bucket can become public", "set public access prevention to enforced")
    return passed("by IAM alone, and never public")


async def versions(bench: GcsBench) -> Finding:
    found = await _looked(bench)
    if isinstance(found, Finding):
        return found
    soft = timedelta(seconds=found.soft_delete_seconds)
    kept = "older versions are kept" if found.has_versions else "no older versions"
    return passed(f"{kept}; what is deleted is paid for {soft.days} days more" if soft else kept)


async def lifecycle(bench: GcsBench) -> Finding:
    """A rule that deletes what is still to be read takes it from under its job."""
    found = await _looked(bench)
    if isinstance(found, Finding):
        return found
    place = bench.site.bucket.destination
    needed = place.policy.deadline + grace(place.policy, 0)
    for rule in found.lifecycle:
        days = _deletes_after(rule, f"{place.prefix}/")
        if days is not None and timedelta(days=days) <= needed:
            hours = needed.total_seconds() / 3600
            return failed(
                f"a rule deletes live objects after {days} days", f"let it wait longer than {hours:g} h and any job"
            )
    is_trimmed = any("daysSinceNoncurrentTime" in rule.get("condition", {}) for rule in found.lifecycle)
    if found.has_versions and not is_trimmed:
        return failed("older versions are kept for ever", f"add the rule that `{bench.site.setup}` prints")
    return passed(f"{len(found.lifecycle)} rules, none in the way")


async def notification(bench: GcsBench) -> Finding:
    found = await _looked(bench)
    if isinstance(found, Finding):
        return found
    prefix = f"{bench.site.bucket.destination.prefix}/"
    telling = [each for each in found.notices if _tells(each, prefix)]
    if telling:
        return passed(", ".join(sorted({each.topic for each in telling})))
    return failed(
        "no notification tells a topic of what is finalized here, with JSON_API_V1",
        f"`{bench.site.setup.replace('--print', '--apply')}` makes it; until then uploads are found by looking",
    )


async def _looked(bench: GcsBench) -> Looked | Finding:
    operator = bench.site.operator
    if isinstance(operator, str):
        return skipped(operator, fix="look with your own application default credentials: `--operator`")
    return await operator.bucket(bench.site.bucket.destination.bucket)


def _tells(notice: Notice, prefix: str) -> bool:
    is_told = not notice.event_types or notice.event_types >= _TOLD
    return is_told and prefix.startswith(notice.prefix) and notice.payload_format == "JSON_API_V1"


def _deletes_after(rule: dict[str, Any], prefix: str) -> int | None:
    """The days after which a rule deletes live objects under `prefix`; None where it does not."""
    condition = rule.get("condition", {})
    if rule.get("action", {}).get("type") != "Delete" or "age" not in condition or condition.get("isLive") is False:
        return None
    among = condition.get("matchesPrefix", [])
    if among and not any(prefix.startswith(each) or each.startswith(prefix) for each in among):
        return None
    days: int = condition["age"]
    return days


STEPS = (
    Step(code="access", tried="objects belong to the bucket, and none can become public", attempt=access),
    Step(code="versioning", tried="what the bucket keeps of what is replaced and deleted", attempt=versions),
    Step(code="lifecycle", tried="no rule takes what is still to be read", attempt=lifecycle),
    Step(code="notification", tried="the bucket tells a topic", attempt=notification),
)
