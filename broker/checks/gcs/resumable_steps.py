"""A resumable upload: opened, filled in two pieces by a stranger, asked about; another one cancelled; and what the
documentation leaves open of it, tried.

What is open is said, not demanded: without `proved` the broker judges it from HEAD. What `proved` claims must hold.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

from broker.checks.bench import CAPSULE, LIFETIME, spec_of
from broker.checks.digests import digest
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.gcs.site import HEAD, PUT, GcsBench
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent
from broker.contract import Checksum
from broker.domain.errors import BrokerError
from broker.domain.objects import CAPSULE_FIELD, UploadSpec, judge
from broker.ports import ResumableUploads
from broker.storage.gcs.endpoint import xml_path
from broker.storage.gcs.v4 import GoogV4
from broker.storage.signing import UnsignedRequest

_NAME: Final = "resumable"
_LAST: Final = 1_024  # ours: bytes behind the first piece


async def whole(bench: GcsBench) -> Finding:
    """Two pieces, the offset asked for in between, and HEAD at the end."""
    rights = _rights(bench)
    key, body = bench.key(_NAME), secrets.token_bytes(rights.chunk_multiple_bytes + _LAST)
    async with _opened(bench, key, spec_of(body)) as uri:
        first = await _send(bench, uri, body[:-_LAST], begin=0, size=len(body))
        if first.status != 308:
            return bench.site.explained(PUT, first.status, first.code)
        stored = await rights.offset(uri, len(body))
        if stored != len(body) - _LAST:
            return failed(f"the store says that it has {stored} bytes of {len(body) - _LAST} that it took",
                          "the store loses what it took: do not use resumable uploads")  # fmt: skip
        last = await _send(bench, uri, body[-_LAST:], begin=len(body) - _LAST, size=len(body))
        if not last.is_ok:
            return bench.site.explained(PUT, last.status, last.code)
    info = await bench.head(key)
    reason = judge(spec_of(body), info) if info else None
    if info is None or reason is not None:
        return failed(reason.message if reason else "there is no object", "do not use resumable uploads here")
    return passed("two pieces, as declared")


async def cancelled(bench: GcsBench) -> Finding:
    rights, key = _rights(bench), bench.key("cancelled")
    async with _opened(bench, key, spec_of(bench.body)) as uri:
        if not await rights.cancel(uri):
            return failed("it is not cancelled", "an upload may still come after its deadline: do not use it")
        reply = await _send(bench, uri, bench.body, begin=0, size=len(bench.body))
    if reply.is_ok or await bench.head(key) is not None:
        return failed(f"{reply.said}: bytes come by a URI that was cancelled",
                      "an upload may still come after its deadline: do not use it")  # fmt: skip
    return passed(f"{reply.said} for what comes after")


async def other_bytes(bench: GcsBench) -> Finding:
    key = bench.key("resumable-digest")
    spec = spec_of(bench.body, Checksum(crc32c=digest("crc32c", bench.body)))
    async with _opened(bench, key, spec) as uri:
        reply = await _send(bench, uri, bench.body[::-1], begin=0, size=len(bench.body))
    if reply.is_ok or await bench.head(key) is not None:
        return failed(f"{reply.said}: other bytes than the declared crc32c's were stored",
                      'say policy.require without "checksum", and do not rely on it')  # fmt: skip
    return passed(reply.said)


async def size(bench: GcsBench) -> Finding:
    """Open: whether bytes beyond X-Upload-Content-Length are refused."""
    key = bench.key("resumable-size")
    longer = bench.body + b"0"
    async with _opened(bench, key, spec_of(bench.body)) as uri:
        reply = await _send(bench, uri, longer, begin=0, size=len(longer))
    is_kept = not reply.is_ok and await bench.head(key) is None
    return _open_fact(bench, "size", reply, is_kept=is_kept)


async def content_type(bench: GcsBench) -> Finding:
    """Open: whether the last request may change the type."""
    key = bench.key("resumable-type")
    async with _opened(bench, key, spec_of(bench.body)) as uri:
        reply = await _send(bench, uri, bench.body, begin=0, size=len(bench.body), more={"content-type": "text/html"})
    info = await bench.head(key)
    is_kept = info is None or info.content_type == spec_of(bench.body).content_type
    return _open_fact(bench, "content_type", reply, is_kept=is_kept)


async def create_only(bench: GcsBench) -> Finding:
    """Open: when `ifGenerationMatch` is evaluated. Two are opened while nothing is there, and both are finished."""
    key, spec = bench.key("resumable-once"), spec_of(bench.body)
    async with _opened(bench, key, spec) as one, _opened(bench, key, spec) as other:
        first = await _send(bench, one, bench.body, begin=0, size=len(bench.body))
        if not first.is_ok:
            return bench.site.explained(PUT, first.status, first.code)
        before = await bench.head(key)
        second = await _send(bench, other, bench.body, begin=0, size=len(bench.body))
    after = await bench.head(key)
    is_kept = before is not None and after is not None and before.version == after.version
    return _open_fact(bench, "create_only", second, is_kept=is_kept)


async def metadata(bench: GcsBench) -> Finding:
    """Open: whether whoever holds the URI may change the metadata. The capsule is sealed: a changed one is nobody's."""
    key, field = bench.key("resumable-metadata"), f"x-goog-meta-{CAPSULE_FIELD}"
    async with _opened(bench, key, spec_of(bench.body)) as uri:
        reply = await _send(bench, uri, bench.body, begin=0, size=len(bench.body), more={field: "forged"})
    info = await bench.head(key)
    if info is None:
        return passed(f"{reply.said}: refused")
    if info.metadata.get(CAPSULE_FIELD) == CAPSULE:
        return passed(f"{reply.said}: it stays as it was declared")
    return passed(f"{reply.said}: it can be changed; the broker then takes the object for nobody's")


async def length_range(bench: GcsBench) -> Finding:
    """Open: whether a signed POST that opens a session binds the length. The broker opens them itself, all the same."""
    site, key = bench.site, bench.leftovers.note(bench.key("resumable-post"))
    headers = {
        "content-type": spec_of(bench.body).content_type,
        "x-goog-content-length-range": f"{len(bench.body)},{len(bench.body)}",
        "x-goog-resumable": "start",
    }
    request = UnsignedRequest(
        method="POST",
        origin=site.public.origin,
        host=site.public.host,
        path=xml_path(site.bucket.destination.bucket, key),
        headers=headers,
    )
    signatory = site.signatories["write"]
    draft = GoogV4().draft(
        request, signer=signatory.email, now=bench.clock.now(), expires_seconds=int(LIFETIME.total_seconds())
    )
    url = draft.signed(await signatory.sign(draft.string_to_sign))
    opened = await bench.stranger.send(Sent(method="POST", url=url, headers=headers))
    uri = opened.headers.get("location", "")
    if not opened.is_ok or not uri:
        return passed(f"{opened.said}: no session comes of it")
    longer = bench.body + b"0"
    reply = await _send(bench, uri, longer, begin=0, size=len(longer))
    if reply.is_ok:
        return passed(f"{reply.said}: NOT bound; nothing of ours relies on it")
    with suppress(BrokerError):
        await bench.stranger.send(Sent(method="DELETE", url=uri, headers={}))
    return passed(f"{reply.said}: bound")


async def quota(bench: GcsBench) -> Finding:  # noqa: ARG001
    return skipped("open: only the quota page of the console tells whose quota signBlob charges; we count one for all")


def _open_fact(bench: GcsBench, name: str, reply: Reply, *, is_kept: bool) -> Finding:
    place = bench.site.name
    if is_kept:
        hint = "" if name in bench.site.proved else f'; destinations.{place}.proved may say "{name}"'
        return passed(f"{reply.said}: the bucket keeps it{hint}")
    if name in bench.site.proved:
        return failed(f"{reply.said}: the bucket does not keep it", f'take "{name}" out of destinations.{place}.proved')
    return passed(f"{reply.said}: the bucket does not keep it; the broker judges it from HEAD")


@asynccontextmanager
async def _opened(bench: GcsBench, key: str, spec: UploadSpec) -> AsyncIterator[str]:
    """A session that does not outlive its step."""
    rights = _rights(bench)
    uri = await rights.open(bench.leftovers.note(key), spec, CAPSULE, origin=None)
    try:
        yield uri
    finally:
        with suppress(BrokerError):
            await rights.cancel(uri)


async def _send(
    bench: GcsBench, uri: str, body: bytes, *, begin: int, size: int, more: dict[str, str] | None = None
) -> Reply:
    headers = {"content-range": f"bytes {begin}-{begin + len(body) - 1}/{size}", **(more or {})}
    return await bench.stranger.send(Sent(method="PUT", url=uri, headers=headers, body=body))


def _rights(bench: GcsBench) -> ResumableUploads:
    if bench.site.bucket.resumable is None:
        raise AssertionError("a destination in Cloud Storage takes resumable uploads")
    return bench.site.bucket.resumable


STEPS = (
    Step(code="resumable", tried="a resumable upload in two pieces, by a stranger", attempt=whole, after=("put",),
         need=PUT),
    Step(code="resumable-cancel", tried="nothing comes by a URI that was cancelled", attempt=cancelled,
         after=("resumable",), need=PUT),
    Step(code="resumable-digest", tried="other bytes than the declared crc32c's are refused", attempt=other_bytes,
         after=("resumable",), need=HEAD),
    Step(code="resumable-size", tried="bytes beyond the declared size", attempt=size, after=("resumable",), need=HEAD),
    Step(code="resumable-type", tried="another content type in the last request", attempt=content_type,
         after=("resumable",), need=HEAD),
    Step(code="resumable-once", tried="a second upload to a key that was free when both began", attempt=create_only,
         after=("resumable",), need=HEAD),
    Step(code="resumable-metadata", tried="another capsule in the last request", attempt=metadata,
         after=("resumable",), need=HEAD),
    Step(code="resumable-post", tried="the length in a signed POST that opens a session", attempt=length_range,
         after=("resumable", "signatures"), need=PUT),
    Step(code="signing-quota", tried="whose quota a signature is", attempt=quota),
)  # fmt: skip
