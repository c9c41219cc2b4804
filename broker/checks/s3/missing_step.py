"""HEAD of what is not there: S3 hides it behind a 403 from those who may not list."""

from broker.checks.findings import Finding, failed, passed
from broker.checks.needs import Need
from broker.checks.s3.site import S3Bench
from broker.checks.s3.troubles import allow, explained, spelled
from broker.checks.steps import Step

_MISSING = Need(right="read", actions=("s3:ListBucket",), is_on_bucket=True)


async def head_missing(bench: S3Bench) -> Finding:
    key = bench.key("never-sent")
    answer = await bench.site.caller.call("HEAD", key, bench.site.credentials["read"])
    if answer.status == 404:
        return passed("404")
    if answer.status == 403:
        said = "403 for a key that is not there: the broker could not tell it from a refusal"
        return failed(said, allow(bench.site, _MISSING), permission=spelled(bench.site, _MISSING))
    return explained(bench.site, _MISSING, answer.status, "")


STEPS = (
    Step(code="head-missing", tried="HEAD of a key that is not there is 404", attempt=head_missing, need=_MISSING),
)  # fmt: skip
