"""Whether our clock and the store's agree: a request works as much longer or shorter than it says as they differ."""

from datetime import timedelta

from broker.checks.bench import Bench
from broker.checks.findings import Finding, failed, passed
from broker.checks.site import Site
from broker.checks.steps import Step
from broker.checks.stranger import Sent

_MOST_SKEW = timedelta(seconds=30)  # ours
_FORGIVEN = timedelta(minutes=15)  # "RequestTimeTooSkewed", Error responses of the S3 API Reference
_PAST_TOLERANCE = timedelta(seconds=1)  # Date has whole seconds


async def clock(bench: Bench[Site]) -> Finding:
    """An answer to anybody carries the store's own time, whatever else it says."""
    before = bench.clock.now()
    reply = await bench.stranger.send(Sent(method="GET", url=f"{bench.site.origin}/", headers={}))
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


STEPS = (Step(code="clock", tried="our clock and the store's", attempt=clock),)
