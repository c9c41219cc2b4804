"""Headers that nobody signed, sent along with a signed PUT: each `x-goog-*` must be among those that were signed
("Canonical requests", Cloud Storage), so all of them are refused."""

from functools import partial

from broker.checks.findings import Finding, failed, passed
from broker.checks.gcs.site import HEAD, GcsBench
from broker.checks.steps import Step
from broker.checks.stranger import Sent

_OBEYED = "this store obeys headers that nobody signed, as Cloud Storage does not: do not let it receive uploads"


async def refused(bench: GcsBench, name: str, header: str, value: str) -> Finding:
    key = bench.leftovers.note(bench.key(f"unsigned-{name}"))
    source = f"/{bench.site.bucket.destination.bucket}/{bench.key('object')}"
    sent = Sent.of(await bench.sign(key), bench.body).with_headers({header: value.format(source=source)})
    reply = await bench.stranger.send(sent)
    if reply.is_ok:
        return failed(f"{reply.said}: taken", _OBEYED)
    if not reply.is_refusal:
        return failed(f"{reply.said} proves nothing", "try again")
    if await bench.head(key) is not None:
        return failed(f"{reply.said}, and stored all the same", _OBEYED)
    return passed(reply.said)


def _step(name: str, tried: str, header: str, value: str) -> Step:
    attempt = partial(refused, name=name, header=header, value=value)
    return Step(code=f"unsigned-{name}", tried=f"an unsigned {header} {tried}", attempt=attempt, after=("head",),
                need=HEAD)  # fmt: skip


STEPS = (
    _step("copy", "reads nothing", "x-goog-copy-source", "{source}"),
    _step("acl", "publishes nothing", "x-goog-acl", "public-read"),
    _step("metadata", "adds nothing", "x-goog-meta-more", "forged"),
)
