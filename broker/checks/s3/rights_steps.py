"""Each credential's right by itself: `write` cannot read, `remove` lists and removes exactly what it names."""

from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.s3.site import PUT, S3Bench
from broker.checks.s3.troubles import explained
from broker.checks.steps import Step
from broker.checks.upload_steps import OTHER_ETAG
from broker.domain.objects import Pin, pin_of
from broker.storage.s3 import xml

_REMOVE = Need(right="remove", actions=("s3:DeleteObject", "s3:DeleteObjectVersion", "s3:GetObject"))
_LISTS = Need(right="remove", actions=("s3:ListBucketVersions", "s3:ListBucketMultipartUploads"), is_on_bucket=True)


async def write_cannot_read(bench: S3Bench) -> Finding:
    site = bench.site
    write, read = [await site.credentials[right].current(bench.clock.now()) for right in ("write", "read")]
    answer = await site.caller.call("GET", bench.key("object"), site.credentials["write"])
    if answer.status in {401, 403}:
        return passed(f"{answer.status}")
    if answer.status != 200:
        return explained(site, None, answer.status, xml.error_code(answer.body))
    fix = (
        f"name a destinations.{site.name}.credentials.write of its own that may not s3:GetObject: "
        f"`{site.setup}` prints its policy"
    )
    if write == read and not site.dialect.accepts_unsigned_headers:
        return skipped("one credential has all rights, which is enough where nothing unsigned is obeyed", fix=fix)
    return failed("credentials.write reads what was uploaded", fix)


async def list_objects(bench: S3Bench) -> Finding:
    """The first page of each listing that the sweeper goes through."""
    lister = bench.site.bucket.lister
    if lister is None:
        return skipped("this destination is not swept")
    async for _ in lister.objects():
        break
    async for _ in lister.uploads():
        break
    return passed("objects and unfinished uploads")


async def remove(bench: S3Bench) -> Finding:
    key = bench.key("removed")
    reply = await bench.put(key)
    if not reply.is_ok:
        return explained(bench.site, PUT, reply.status, reply.code)
    info, remover = await bench.head(key), bench.site.bucket.remover
    if info is not None and await remover.remove(key, Pin(etag=OTHER_ETAG)):
        return failed(
            "it removed another state than it named",
            'the store ignores If-Match on DELETE: name its own dialect, or dialect = "generic"',
        )
    if info is None or not await remover.remove(key, pin_of(info)):
        return failed("it was not there any more", "somebody else removes what lies under the prefix: give us our own")
    left = await bench.head(key)
    if left is not None:
        return failed("it is still there after DELETE", "the store is not strongly consistent: do not use it")
    return passed("by version" if info.version else "by ETag")


STEPS = (
    Step(code="write-cannot-read", tried="`write` cannot read what it wrote", attempt=write_cannot_read,
         after=("put",)),
    Step(code="list", tried="`remove` lists objects and unfinished uploads", attempt=list_objects, need=_LISTS),
    Step(code="remove", tried="`remove` removes exactly what it names", attempt=remove, after=("head",), need=_REMOVE),
)  # fmt: skip
