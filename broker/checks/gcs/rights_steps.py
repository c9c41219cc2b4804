"""Each account's right by using it: `write` cannot read, `remove` lists, and removes exactly what it names."""

from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.gcs.site import LIST, MISSING, REMOVE, GcsBench
from broker.checks.steps import Step
from broker.domain.objects import Pin, pin_of
from broker.storage.gcs.endpoint import object_path

_NEVER_GIVEN = "1"  # generations are microseconds since 1970


async def write_cannot_read(bench: GcsBench) -> Finding:
    site = bench.site
    path = object_path(site.bucket.destination.bucket, bench.key("object"))
    answer = await site.caller.call("GET", path, site.tokens["write"], query=[("alt", "media")])
    if answer.status in {401, 403}:
        return passed(f"{answer.status}")
    return failed(
        f"{answer.status}: the writer reads what was uploaded",
        f"take storage.objects.get from {site.accounts['write']}: `{site.setup}` prints its one permission",
    )


async def head_missing(bench: GcsBench) -> Finding:
    """Who may not list may be told 403 of what is not there: the broker must be able to tell that from a refusal."""
    if await bench.head(bench.key("never-sent")) is None:
        return passed("nothing is there")
    return failed("there is something that nobody sent", "somebody else writes under the prefix: give us our own")


async def list_objects(bench: GcsBench) -> Finding:
    """The first page of the listing that the sweeper goes through."""
    lister = bench.site.bucket.lister
    if lister is None:
        return skipped("this destination is not swept")
    async for _ in lister.objects():
        break
    return passed("objects")


async def remove(bench: GcsBench) -> Finding:
    key = bench.key("removed")
    reply = await bench.put(key)
    if not reply.is_ok:
        return bench.site.explained(bench.site.put, reply.status, reply.code)
    info, remover = await bench.head(key), bench.site.bucket.remover
    if info is not None and await remover.remove(key, Pin(etag=info.etag, version=_NEVER_GIVEN)):
        return failed("it removed another generation than it named", "this is no Cloud Storage: do not use it")
    if info is None or not await remover.remove(key, pin_of(info)):
        return failed("it was not there any more", "somebody else removes what lies under the prefix: give us our own")
    if await bench.head(key) is not None:
        return failed("it is still there after DELETE", "the store is not strongly consistent: do not use it")
    return passed("by generation")


STEPS = (
    Step(code="write-cannot-read", tried="`write` cannot read what it wrote", attempt=write_cannot_read,
         after=("put",)),
    Step(code="head-missing", tried="HEAD tells what is not there from a refusal", attempt=head_missing,
         after=("head",), need=MISSING),
    Step(code="list", tried="`remove` lists objects", attempt=list_objects, need=LIST, is_vital=True),
    Step(code="remove", tried="`remove` removes exactly what it names", attempt=remove, after=("head",), need=REMOVE),
)  # fmt: skip
