"""Are we there at all? Credentials, bucket, region and host: what any other step would only stumble over."""

from broker.checks.findings import Finding, failed, passed
from broker.checks.needs import Need
from broker.checks.s3.site import S3Bench
from broker.checks.s3.troubles import allow, explained, region_fix, spelled
from broker.checks.steps import Step
from broker.domain.errors import CredentialsUnavailable
from broker.storage.s3 import xml

_LISTING = Need(right="read", actions=("s3:ListBucket",), is_on_bucket=True)


async def credentials(bench: S3Bench) -> Finding:
    for right, source in bench.site.credentials.items():
        try:
            await source.current(bench.clock.now())
        except CredentialsUnavailable as trouble:
            return failed(
                f"{right}: {trouble.detail}",
                f"correct destinations.{bench.site.name}.credentials.{right}, or what botocore's chain finds instead",
                is_fatal=True,
            )
    return passed("write, read and remove resolved")


async def bucket(bench: S3Bench) -> Finding:
    """A listing of one key with `read`: of the cheap calls, the only one whose refusal has a body with a code."""
    site = bench.site
    query = [("list-type", "2"), ("max-keys", "1"), ("prefix", site.bucket.destination.prefix)]
    answer = await site.caller.call("GET", "", site.credentials["read"], query=query)
    there = answer.headers.get("x-amz-bucket-region", "") or _named_region(answer.body)
    if there and there != site.region:
        said = f"the bucket is in {there}, and we sign for {site.region}"
        return failed(said, region_fix(site, there), is_fatal=True)
    if answer.status == 200:
        return passed(f"{site.bucket.destination.bucket} in {site.region}, at {site.caller.endpoint.host}")
    code = xml.error_code(answer.body)
    if answer.status == 403 and code in {"AccessDenied", ""}:
        said = f"the store answers 403 {code}".strip()
        return failed(said, allow(site, _LISTING), permission=spelled(site, _LISTING))
    finding = explained(site, _LISTING, answer.status, code, region=there)
    return failed(finding.said, finding.fix or "", is_fatal=True)


def _named_region(body: bytes) -> str:
    try:
        return xml.text(xml.parse(body, "Error"), "Region")
    except xml.NotXml:
        return ""


STEPS = (
    Step(code="credentials", tried="each right's credential can be had", attempt=credentials),
    Step(code="bucket", tried="bucket, region and host answer to `read`", attempt=bucket, need=_LISTING,
         is_vital=True),
)  # fmt: skip
