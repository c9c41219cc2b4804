"""Are we there at all? Clock, credentials, bucket, region and host: what any other step would only stumble over."""

from datetime import timedelta

from broker.checks.bench import Bench
from broker.checks.findings import Finding, failed, passed
from broker.checks.steps import Step
from broker.checks.stranger import Sent
from broker.checks.troubles import Need, allow, explained, region_fix
from broker.domain.errors import CredentialsUnavailable
from broker.storage.s3 import xml

_LISTING = Need(right="read", actions=("s3:ListBucket",), is_on_bucket=True)
# Ours. A request works as much longer or shorter than it says as the clocks differ.
_MOST_SKEW = timedelta(seconds=30)
_FORGIVEN = timedelta(minutes=15)  # "RequestTimeTooSkewed", Error responses of the S3 API Reference
_PAST_TOLERANCE = timedelta(seconds=1)  # Date has whole seconds


async def clock(bench: Bench) -> Finding:
    """An answer to anybody carries the store's own time, whatever else it says."""
    before = bench.clock.now()
    reply = await bench.stranger.send(Sent(method="GET", url=f"{bench.site.public.origin}/", headers={}))
    after = bench.clock.now()
    if reply.date is None:
        return failed("the store's answers carry no Date", "look at what stands between: it takes headers away")
    skew = max(before - reply.date - _PAST_TOLERANCE, reply.date - after, timedelta(0))
    if skew <= _MOST_SKEW:
        return passed(f"within {_MOST_SKEW.total_seconds():g} s of the store's")
    direction = "ahead of" if reply.date < before else "behind"
    return failed(
        f"our clock is {skew.total_seconds():.0f} s {direction} the store's",
        "set the clock of this machine (NTP); if it is right, the store's operator must set his",
        is_fatal=skew >= _FORGIVEN,
    )


async def credentials(bench: Bench) -> Finding:
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


async def bucket(bench: Bench) -> Finding:
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
        return failed(f"the store answers 403 {code}".strip(), allow(site, _LISTING), permission=_LISTING.spelled(site))
    finding = explained(site, _LISTING, answer.status, code, region=there)
    return failed(finding.said, finding.fix or "", is_fatal=True)


def _named_region(body: bytes) -> str:
    try:
        return xml.text(xml.parse(body, "Error"), "Region")
    except xml.NotXml:
        return ""


STEPS = (
    Step(code="clock", tried="our clock and the store's", attempt=clock),
    Step(code="credentials", tried="each right's credential can be had", attempt=credentials),
    Step(code="bucket", tried="bucket, region and host answer to `read`", attempt=bucket, need=_LISTING,
         is_vital=True),
)  # fmt: skip
