"""An object in parts: begun, sent, listed, completed once, and another one aborted until nothing of it is left."""

from broker.checks.bench import CAPSULE, LIFETIME, spec_of
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.s3.site import S3Bench
from broker.checks.s3.troubles import explained
from broker.checks.steps import Step
from broker.checks.stranger import Reply, Sent
from broker.domain.objects import judge
from broker.ports import MultipartRights

_CREATE = Need(right="write", actions=("s3:PutObject",))
_LIST = Need(right="write", actions=("s3:ListMultipartUploadParts",))
_ABORT = Need(right="remove", actions=("s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"))
_LISTING = Need(right="remove", actions=("s3:ListBucketMultipartUploads",), is_on_bucket=True)
_NAME, _FORGOTTEN = "parts", "forgotten"


async def create(bench: S3Bench) -> Finding:
    if bench.site.bucket.multipart is None:
        return skipped("this destination takes no objects in parts")
    bench.upload_id = await _open(bench, bench.key(_NAME))
    return passed()


async def part(bench: S3Bench) -> Finding:
    reply = await _send_part(bench, bench.key(_NAME), _upload_id(bench), bench.body)
    return passed(reply.said) if reply.is_ok else explained(bench.site, _CREATE, reply.status, reply.code)


async def part_length(bench: S3Bench) -> Finding:
    reply = await _send_part(bench, bench.key(_NAME), _upload_id(bench), bench.body + b"0", number=2)
    if reply.is_refusal:
        return passed(reply.said)
    return failed(
        f"{reply.said}: NOT refused",
        "this store does not hold clients to the length of a part: do not let it receive uploads",
    )


async def parts(bench: S3Bench) -> Finding:
    found = await _rights(bench).uploads.parts(bench.key(_NAME), _upload_id(bench))
    if found is None or [(each.number, each.size_bytes) for each in found] != [(1, len(bench.body))]:
        return failed("ListParts does not show the one part that was sent", "the store loses parts: do not use it")
    return passed("one part, as sent")


async def complete(bench: S3Bench) -> Finding:
    key, rights = bench.key(_NAME), _rights(bench)
    found = await rights.uploads.parts(key, _upload_id(bench)) or []
    is_completed = await rights.uploads.complete(key, _upload_id(bench), found)
    info = await bench.head(key)
    if not is_completed or info is None:
        return failed("there is no object after CompleteMultipartUpload", "see the store's own log for this call")
    reason = judge(spec_of(bench.body), info)
    return passed("the object is what was declared") if reason is None else failed(reason.message, "do not use parts")


async def create_only(bench: S3Bench) -> Finding:
    """A second upload to the key that `complete` has just taken."""
    if not bench.site.dialect.has_conditional_complete:
        return skipped("the dialect does not promise it: the broker asks HEAD before it completes")
    key, rights = bench.key(_NAME), _rights(bench)
    upload_id = await _open(bench, key)
    await _send_part(bench, key, upload_id, bench.body)
    found = await rights.uploads.parts(key, upload_id) or []
    if await rights.uploads.complete(key, upload_id, found):
        return failed(
            "the object was overwritten",
            'the store completes over what is there: name its own dialect, or dialect = "generic"',
        )
    return passed("the object that was there stands")


async def find(bench: S3Bench) -> Finding:
    """What was begun and forgotten: nobody recorded its id."""
    key = bench.key(_FORGOTTEN)
    upload_id = await _open(bench, key)
    await _send_part(bench, key, upload_id, bench.body)
    bench.upload_id = upload_id
    if await _rights(bench).remover.open_uploads(key) != [upload_id]:
        return failed("ListMultipartUploads does not show an upload that is open", "do not use parts on this store")
    return passed()


async def abort(bench: S3Bench) -> Finding:
    if not await _rights(bench).remover.abort(bench.key(_FORGOTTEN), _upload_id(bench)):
        return failed("parts are left after AbortMultipartUpload", "let a lifecycle rule abort what is forgotten")
    return passed("nothing of it is left")


async def _open(bench: S3Bench, key: str) -> str:
    return await _rights(bench).uploads.open(bench.leftovers.note_upload(key), spec_of(bench.body), CAPSULE)


async def _send_part(bench: S3Bench, key: str, upload_id: str, body: bytes, *, number: int = 1) -> Reply:
    """Signed for this check's 1 KiB, sent with `body`."""
    now, signer = bench.clock.now(), _rights(bench).signer
    request = await signer.sign_part(key, upload_id, number, len(bench.body), now=now, ends=now + LIFETIME)
    return await bench.stranger.send(Sent.of(request, body))


def _rights(bench: S3Bench) -> MultipartRights:
    if bench.site.bucket.multipart is None:
        raise AssertionError("steps on parts come after `multipart-create`")
    return bench.site.bucket.multipart


def _upload_id(bench: S3Bench) -> str:
    if bench.upload_id is None:
        raise AssertionError("steps on an upload come after `multipart-create`")
    return bench.upload_id


STEPS = (
    Step(code="multipart-create", tried="a multipart upload is begun", attempt=create, after=("put",), need=_CREATE),
    Step(code="multipart-part", tried="a part of 1 KiB exactly as signed, by a stranger", attempt=part,
         after=("multipart-create",), need=_CREATE),
    Step(code="multipart-part-length", tried="a part with a byte more than signed is refused", attempt=part_length,
         after=("multipart-create",), need=_CREATE),
    Step(code="multipart-list", tried="its parts are listed", attempt=parts, after=("multipart-part",), need=_LIST),
    Step(code="multipart-complete", tried="it is completed, and HEAD shows what was declared", attempt=complete,
         after=("multipart-list",), need=_CREATE),
    Step(code="multipart-create-only", tried="completing over it is refused", attempt=create_only,
         after=("multipart-complete",), need=_CREATE),
    Step(code="multipart-find", tried="another upload is found by its key", attempt=find, after=("multipart-create",),
         need=_LISTING),
    Step(code="multipart-abort", tried="and aborted", attempt=abort, after=("multipart-find",), need=_ABORT),
)  # fmt: skip
