"""Each thing that a signed PUT permits, and a neighbour of it that must be refused and store nothing."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial

from broker.checks.bench import Bench, spec_of
from broker.checks.digests import digest
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.site import Site
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent
from broker.contract import CHECKSUM_ALGORITHMS, Checksum

Tampered = Callable[[Bench[Site], str], Awaitable[Sent]]

_NO_SIGNATURES = (
    "this store does not hold clients to what was signed: whoever has a URL may upload something else; "
    "do not let it receive uploads"
)
_OVERWRITES = (
    'the store ignores If-None-Match: say dialect = "generic", and policy.require = ["size", "content_type"] if you '
    "can live with a replayed URL that overwrites"
)


async def longer(bench: Bench[Site], key: str) -> Sent:
    return Sent.of(await bench.sign(key), bench.body + b"0")


async def other_type(bench: Bench[Site], key: str) -> Sent:
    return Sent.of(await bench.sign(key), bench.body).with_headers({"content-type": "text/html"})


async def other_key(bench: Bench[Site], key: str) -> Sent:
    """Signed for the neighbour of `key`, sent to `key`."""
    signed_for = f"{key}-signed"
    sent = Sent.of(await bench.sign(signed_for), bench.body)
    return replace(sent, url=bench.site.moved(sent.url, signed_for, key))


async def other_capsule(bench: Bench[Site], key: str) -> Sent:
    return Sent.of(await bench.sign(key), bench.body).with_headers({bench.site.capsule_header: "forged"})


async def no_condition(bench: Bench[Site], key: str) -> Sent:
    sent = Sent.of(await bench.sign(key), bench.body)
    condition = bench.site.condition_header
    return replace(sent, headers={name: value for name, value in sent.headers.items() if name != condition})


async def expired(bench: Bench[Site], key: str) -> Sent:
    now = bench.clock.now() - timedelta(minutes=10)
    ends = now + timedelta(minutes=5)
    request = await bench.site.bucket.put.sign_put(key, spec_of(bench.body), "check", now=now, ends=ends)
    return Sent.of(request, bench.body)


async def unsigned(bench: Bench[Site], key: str) -> Sent:
    sent = Sent.of(await bench.sign(key), bench.body)
    return replace(sent, url=sent.url.partition("?")[0])


async def refused(bench: Bench[Site], name: str, change: Tampered) -> Finding:
    key = bench.leftovers.note(bench.key(name))
    reply = await bench.stranger.send(await change(bench, key))
    return await _verdict(bench, key, reply, fix=_NO_SIGNATURES)


async def overwrite(bench: Bench[Site]) -> Finding:
    """A second PUT under a key that is taken, freshly signed."""
    reply = await bench.put(bench.key("object"))
    promised = bench.site.is_create_only
    if reply.is_refusal:
        return passed(reply.said) if promised else passed(f"{reply.said}; the dialect does not even promise it")
    if not reply.is_ok:
        return bench.site.explained(bench.site.put, reply.status, reply.code)
    if promised:
        return failed(f"{reply.said}: the object was overwritten", _OVERWRITES)
    return skipped(f"{reply.said}: overwritten; the dialect promises nothing else")


async def checksum(bench: Bench[Site], algorithm: str) -> Finding:
    """A declared digest: other bytes of the same length are refused, those that it is of are stored."""
    header = bench.site.checksum_headers.get(algorithm)
    if header is None:
        return skipped("the dialect does not promise that the store computes it")
    key = bench.leftovers.note(bench.key(f"checksum-{algorithm}"))
    request = await bench.sign(key, Checksum(**{algorithm: digest(algorithm, bench.body)}))
    fix = f'the store ignores {header}: name its own dialect, or dialect = "generic"; the consumer proves it then'
    refusal = await _verdict(bench, key, await bench.stranger.send(Sent.of(request, bench.body[::-1])), fix=fix)
    if refusal.fix is not None:
        return refusal
    honest = await bench.stranger.send(Sent.of(request, bench.body))
    if honest.is_ok:
        return passed(f"{refusal.said} for other bytes, {honest.said} for its own")
    return failed(f"{honest.said} for the very bytes that it is of", fix)


async def _verdict(bench: Bench[Site], key: str, reply: Reply, *, fix: str) -> Finding:
    if reply.is_ok:
        return failed(f"{reply.said}: NOT refused, it was stored", fix)
    if not reply.is_refusal:
        return failed(f"{reply.said} proves nothing", "see the store's own log for this answer, then try again")
    if await bench.head(key) is not None:
        return failed(f"{reply.said}, and stored all the same", fix)
    return passed(reply.said)


def steps(site_put: Need, site_head: Need) -> tuple[Step, ...]:
    """:param site_put, site_head: what a PUT and a HEAD take on such a store."""

    def neighbour(code: str, tried: str, change: Tampered) -> Step:
        return Step(
            code=code, tried=f"{tried} is refused", attempt=partial(refused, name=code, change=change), after=("head",),
            need=site_head,
        )  # fmt: skip

    return (
        neighbour("tamper-length", "a byte more than signed", longer),
        neighbour("tamper-type", "another content type", other_type),
        neighbour("tamper-key", "another key", other_key),
        neighbour("tamper-metadata", "another session's capsule", other_capsule),
        neighbour("tamper-condition", "a PUT without its condition", no_condition),
        neighbour("tamper-expired", "a PUT whose time is over", expired),
        neighbour("tamper-unsigned", "a PUT without a signature", unsigned),
        Step(code="create-only", tried="a second PUT to the same key is refused", attempt=overwrite, after=("head",),
             need=site_put),
        *(
            Step(code=f"checksum-{algorithm}", tried=f"other bytes than the declared {algorithm}'s are refused",
                 attempt=partial(checksum, algorithm=algorithm), after=("head",), need=site_head)
            for algorithm in CHECKSUM_ALGORITHMS
        ),
    )  # fmt: skip
