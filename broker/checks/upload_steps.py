"""The loop of one upload: a PUT as signed, a HEAD that judges it, reads of what was verified and of nothing else."""

from broker.checks.bench import LIFETIME, Bench, spec_of
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.site import Site
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, Pin, judge, pin_of
from broker.ports import GetSigner

OTHER_ETAG = "0" * 32  # the MD5 of nothing that anybody has


async def put(bench: Bench[Site]) -> Finding:
    reply = await bench.put(bench.key("object"))
    return passed(reply.said) if reply.is_ok else bench.site.explained(bench.site.put, reply.status, reply.code)


async def head(bench: Bench[Site]) -> Finding:
    info = await bench.head(bench.key("object"))
    if info is None:
        return failed("404 for what was stored a moment ago", "the store is not strongly consistent: do not use it")
    reason = judge(spec_of(bench.body), info)
    if reason is not None:
        return failed(reason.message, "something between rewrites uploads: send to the store itself")
    if CAPSULE_FIELD not in info.metadata:
        return failed(
            "HEAD shows no metadata", "the store drops metadata, by which the broker knows its uploads: do not use"
        )
    bench.stored = info
    return passed("size, type and metadata are what was signed")


async def get(bench: Bench[Site]) -> Finding:
    return await _read(bench, bench.site.bucket.get)


async def get_consumer(bench: Bench[Site]) -> Finding:
    consumer_get = bench.site.bucket.consumer_get
    if consumer_get is None or bench.site.has_one_address:
        return skipped("consumers read from the same address as clients")
    return await _read(bench, consumer_get)


async def get_other(bench: Bench[Site]) -> Finding:
    """A read that is pinned to another state than the one that lies there."""
    stored = _stored(bench)
    other = Pin(etag=OTHER_ETAG, version=stored.version and _other_version(stored.version))
    reply = await _get(bench, bench.site.bucket.get, other)
    if reply.is_refusal:
        return passed(reply.said)
    if not reply.is_ok:
        return bench.site.explained(bench.site.head, reply.status, reply.code)
    return failed(
        f"{reply.said}: a read pinned to one state got another",
        "the store ignores If-Match or versionId: what was verified is not what is read; turn versioning on, or do "
        "not use it",
    )


async def _read(bench: Bench[Site], signer: GetSigner) -> Finding:
    reply = await _get(bench, signer, pin_of(_stored(bench)))
    if reply.code == "InvalidObjectState":
        return skipped("the storage class is an archive: nothing can be read before somebody restores it")
    if not reply.is_ok:
        return bench.site.explained(bench.site.head, reply.status, reply.code)
    if reply.body != bench.body:
        return failed("other bytes came back than were sent", "something between rewrites downloads: read directly")
    if not reply.headers.get("content-disposition", "").startswith("attachment"):
        return failed(
            "the answer is no attachment",
            "the store ignores response-content-disposition: let no browser read from its domain",
        )
    return passed("the same bytes, as an attachment")


async def _get(bench: Bench[Site], signer: GetSigner, pin: Pin) -> Reply:
    now = bench.clock.now()
    request = await signer.sign_get(bench.key("object"), pin, filename="check.bin", now=now, ends=now + LIFETIME)
    return await bench.stranger.send(Sent.of(request))


def _stored(bench: Bench[Site]) -> ObjectInfo:
    if bench.stored is None:
        raise AssertionError("a step that reads comes after `head`")
    return bench.stored


def _other_version(version: str) -> str:
    """As long as the real one, and none that the store gave."""
    return version[::-1] if version[::-1] != version else f"{version}0"


def steps(site_put: Need, site_head: Need) -> tuple[Step, ...]:
    """:param site_put, site_head: what a PUT and a HEAD take on such a store."""
    return (
        Step(code="put", tried="a PUT of 1 KiB exactly as signed, by a stranger", attempt=put, need=site_put),
        Step(code="head", tried="HEAD shows what was signed", attempt=head, after=("put",), need=site_head),
        Step(code="get", tried="a signed GET, pinned to what was verified", attempt=get, after=("head",),
             need=site_head),
        Step(code="get-consumer", tried="the same by the consumers' address", attempt=get_consumer, after=("head",),
             need=site_head),
        Step(code="get-other", tried="a GET pinned to another state is refused", attempt=get_other, after=("get",),
             need=site_head),
    )  # fmt: skip
