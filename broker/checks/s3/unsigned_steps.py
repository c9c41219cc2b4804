"""Headers that nobody signed, sent along with a signed PUT: what the dialect says of them, and what the store does.

A store that obeys `x-amz-copy-source` turns an upload into a read by its signer, which no HEAD can tell; then only a
write credential that cannot read helps. See `broker.storage.s3.dialects`.
"""

from broker.checks.bench import LIFETIME
from broker.checks.findings import Finding, failed, passed
from broker.checks.s3.site import HEAD, S3Bench
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent

_OBEYED = (
    'the store takes headers that nobody signed: name its own dialect, or dialect = "generic", with a '
    "credentials.write of its own that cannot read and accept_unsigned_headers = true"
)
_READS = (
    "deny s3:GetObject and s3:GetObjectVersion on {bucket_arn}/* to credentials.write: "
    "`upload-broker setup s3 --print {name}` prints that policy"
)
_PUBLIC = (
    "let the bucket ignore public ACLs (PutPublicAccessBlock, IgnorePublicAcls = true), and allow no s3:PutObjectAcl "
    "to credentials.write: whoever gets a signed PUT can publish what he uploads"
)


async def copy_source(bench: S3Bench) -> Finding:
    """Another body goes along than the source has, so that its content tells what the store did."""
    site, source = bench.site, bench.key("object")
    sent, key = await _with(bench, "copy", {"x-amz-copy-source": f"/{site.bucket.destination.bucket}/{source}"})
    reply = await bench.stranger.send(sent)
    if not reply.is_ok:
        return _refusal(reply)
    content = await _content(bench, key)
    if content.is_ok and content.body == bench.body:
        fix = _READS.format(bucket_arn=site.bucket_arn, name=site.name)
        said = f"{reply.said}: the upload became a copy of another object, read by credentials.write"
        return failed(said, fix if site.dialect.accepts_unsigned_headers else _OBEYED)
    if content.is_ok and content.body == sent.body:
        return _harmless(bench, f"{reply.said}: taken, and without effect")
    return failed(f"{reply.said}, and what is stored cannot be read ({content.said})", "let credentials.read read it")


async def acl(bench: S3Bench) -> Finding:
    sent, key = await _with(bench, "acl", {"x-amz-acl": "public-read"})
    reply = await bench.stranger.send(sent)
    if not reply.is_ok:
        return _refusal(reply)
    anonymous = Sent(method="GET", url=f"{bench.site.public.origin}{bench.site.public.path(key)}", headers={})
    if (await bench.stranger.send(anonymous)).is_ok:
        return failed(f"{reply.said}: and the object is readable by everybody", _PUBLIC)
    return _harmless(bench, f"{reply.said}: taken, but the object is readable by nobody else")


async def tagging(bench: S3Bench) -> Finding:
    sent, _ = await _with(bench, "tagging", {"x-amz-tagging": "check=unsigned"})
    reply = await bench.stranger.send(sent)
    return _harmless(bench, f"{reply.said}: taken; tags change nothing") if reply.is_ok else _refusal(reply)


async def _with(bench: S3Bench, name: str, headers: dict[str, str]) -> tuple[Sent, str]:
    key = bench.leftovers.note(bench.key(f"unsigned-{name}"))
    return Sent.of(await bench.sign(key), bench.body[::-1]).with_headers(headers), key


async def _content(bench: S3Bench, key: str) -> Reply:
    now = bench.clock.now()
    get = bench.site.bucket.get
    request = await get.sign_get(key, None, filename="check.bin", now=now, ends=now + LIFETIME)
    return await bench.stranger.send(Sent.of(request))


def _refusal(reply: Reply) -> Finding:
    if reply.is_refusal:
        return passed(reply.said)
    return failed(f"{reply.said} proves nothing", "see the store's own log for this answer, then try again")


def _harmless(bench: S3Bench, said: str) -> Finding:
    if bench.site.dialect.accepts_unsigned_headers:
        return passed(said)
    return failed(f"{said}; the dialect says that it is refused", _OBEYED)


STEPS = (
    Step(code="unsigned-copy", tried="an unsigned x-amz-copy-source reads nothing", attempt=copy_source,
         after=("head",), need=HEAD),
    Step(code="unsigned-acl", tried="an unsigned x-amz-acl publishes nothing", attempt=acl, after=("head",), need=HEAD),
    Step(code="unsigned-tagging", tried="an unsigned x-amz-tagging changes nothing that is judged", attempt=tagging,
         after=("head",), need=HEAD),
)  # fmt: skip
