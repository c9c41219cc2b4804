"""Resumable uploads: open a session, ask it, add to it, end it.

Sources, under https://cloud.google.com/storage/docs/: resumable-uploads, performing-resumable-uploads,
json_api/v1/how-tos/resumable-upload. What the service does with bytes beyond a declared size nobody has published:
held to it here, unless `--lax-resumable-size`.
"""

import secrets
import time
from typing import Final
from urllib.parse import quote

import msgspec

from emulators.gcs import writing
from emulators.gcs.conditions import conditions_of, number
from emulators.gcs.content_range import Chunk, Question, content_range
from emulators.gcs.context import Call, Reply, Store, object_reply
from emulators.gcs.drafts import check_metadata, hashes_of, json_draft, metadata_of, read_resource, xml_draft
from emulators.gcs.errors import GcsError
from emulators.gcs.filling import MULTIPLE_BYTES, fill
from emulators.gcs.headers import length_range, object_headers
from emulators.gcs.records import Draft, Session, SessionState, Stored
from emulators.gcs.request import GcsRequest

SECRET_BYTES: Final = 48


async def open_json(store: Store, call: Call) -> Reply:
    request = call.request
    bucket = call.bucket(store, "storage.objects.create")
    resource = read_resource(await store.intake.document(call.http, request))
    content_type = request.header("x-upload-content-type") or "application/octet-stream"
    draft = json_draft(resource, name=request.params.get("name"), content_type=content_type)
    session = _session(store, call, draft)
    store.catalogue.put_session(session)
    path = f"/upload/storage/v1/b/{quote(bucket.name)}/o?uploadType=resumable&upload_id={session.id}"
    return Reply(headers={"Location": call.endpoint + path}, is_write=True)


async def open_xml(store: Store, call: Call) -> Reply:
    """xml-api/post-object-resumable; its signature may bind a range of lengths."""
    request = call.request
    bucket = call.bucket(store, "storage.objects.create")
    if request.header("x-goog-resumable") != "start" or request.header("content-length") not in {None, "0"}:
        raise GcsError("InvalidArgument", "A POST here has no body, and x-goog-resumable: start.")
    low, high = length_range(request)
    session = msgspec.structs.replace(_session(store, call, xml_draft(request)), min_bytes=low, max_bytes=high)
    store.catalogue.put_session(session)
    path = f"/{bucket.name}/{quote(session.draft.name)}?upload_id={session.id}"
    return Reply(status=201, headers={"Location": call.endpoint + path}, is_write=True)


def _session(store: Store, call: Call, draft: Draft) -> Session:
    declared, now = call.request.header("x-upload-content-length"), time.time()
    return Session(
        id=secrets.token_urlsafe(SECRET_BYTES),
        bucket=call.request.target.bucket,
        owner="" if call.caller is None else call.caller.email,
        api=call.request.api,
        created=now,
        expires=now + store.settings.session_seconds,
        draft=draft,
        conditions=conditions_of(call.request),
        declared_bytes=None if declared is None else number(declared, "X-Upload-Content-Length"),
        origin=call.request.origin,
    )


def find(store: Store, request: GcsRequest) -> Session:
    """Who knows the id needs nothing else.

    :raises GcsError: NoSuchUpload, UploadExpired.
    """
    session = store.catalogue.session(request.upload_id or "")
    target = request.target
    if session is None or (session.api, session.bucket) != (request.api, target.bucket):
        raise GcsError("NoSuchUpload")
    if session.api == "xml" and session.draft.name != target.name:
        raise GcsError("NoSuchUpload")
    if session.expires <= time.time():
        _end(store, session, session.state)
        raise GcsError("UploadExpired")
    if session.state not in {SessionState.OPEN, SessionState.COMPLETE}:
        raise GcsError("NoSuchUpload")
    return session


async def cancel(store: Store, call: Call) -> Reply:
    """ "If successful, the response contains a 499 HTTP status code"; afterwards there is nothing to ask."""
    session = find(store, call.request)
    if session.state is SessionState.COMPLETE:
        raise GcsError("NoSuchUpload")
    _end(store, session, SessionState.CANCELLED)
    return Reply(status=499, is_write=True)


def _end(store: Store, session: Session, state: SessionState) -> None:
    store.turns.end(session.id)
    store.hashers.forget(session.id)
    store.blobs.remove(store.catalogue.end_session(msgspec.structs.replace(session, state=state)))


async def put(store: Store, call: Call) -> Reply:
    """Bytes, or a question how many there are."""
    session, given = find(store, call.request), content_range(call.request)
    if session.state is SessionState.COMPLETE and session.result is not None:
        await _ignore(store, call, session)
        return _done(call, session, session.result)
    _check_sizes(store, session, given)
    if isinstance(given, Chunk):
        session = await _append(store, call, session, given)
    if given.total is not None and store.catalogue.offset(session.id) == given.total:
        return _done(call, session, await _finalise(store, session))
    return _incomplete(store, call, session)


async def _ignore(store: Store, call: Call, session: Session) -> None:
    async for _ in store.intake.arriving(call.http, call.request, session.draft.name):
        pass


def _check_sizes(store: Store, session: Session, given: Chunk | Question) -> None:
    """All that can be said before a byte is read.

    :raises GcsError: InvalidArgument, EntityTooSmall, EntityTooLarge, OffsetGap.
    """
    offset = store.catalogue.offset(session.id)
    if given.total is not None and given.total < offset:
        raise GcsError("InvalidArgument", f"Already {offset} bytes arrived, more than {given.total}.")
    if store.settings.holds_to_declared_size:
        _check_declared(session, given)
    if not isinstance(given, Chunk):
        return
    if given.first > offset:
        raise GcsError(
            "OffsetGap",
            f"Invalid request.  According to the Content-Range header, the upload offset is {given.first} byte(s), "
            f"which exceeds already uploaded size of {offset} byte(s).",
        )
    if not given.is_last and given.size_bytes < MULTIPLE_BYTES:
        raise GcsError(
            "InvalidArgument",
            f"Invalid request.  The number of bytes uploaded is required to be equal or greater than "
            f"{MULTIPLE_BYTES}, except for the final request (it's recommended to be the exact multiple of "
            f"{MULTIPLE_BYTES}).  The received request contained {given.size_bytes} bytes, which does not meet "
            "this requirement.",
        )


def _check_declared(session: Session, given: Chunk | Question) -> None:
    most = max(given.total or 0, given.end if isinstance(given, Chunk) else 0)
    declared = session.declared_bytes
    if declared is not None and (most > declared or given.total not in {None, declared}):
        raise GcsError("InvalidArgument", f"X-Upload-Content-Length said {declared} bytes, not {most}.")
    if session.max_bytes is not None and most > session.max_bytes:
        raise GcsError("EntityTooLarge")
    if session.min_bytes is not None and given.total is not None and given.total < session.min_bytes:
        raise GcsError("EntityTooSmall")


async def _append(store: Store, call: Call, session: Session, chunk: Chunk) -> Session:
    """Keep what is new of a chunk: all of the last one, whole multiples of any other."""
    offset = store.catalogue.offset(session.id)
    until = chunk.end if chunk.is_last else _whole(chunk.end)
    if store.faults.hits("kept_fewer"):
        until = _whole(offset + (until - offset) // 2)
    if chunk.is_last:
        session = msgspec.structs.replace(session, draft=_last_words(call.request, session.draft))
        store.catalogue.put_session(session)
    await fill(store, call, session, first=chunk.first, end=chunk.end, until=until)
    return session


def _whole(offset: int) -> int:
    return offset - offset % MULTIPLE_BYTES


def _last_words(request: GcsRequest, draft: Draft) -> Draft:
    """resumable-uploads, "Integrity checks" and metadata: the last request may bring both."""
    hashes = hashes_of(request)
    return msgspec.structs.replace(
        draft,
        metadata=check_metadata({**draft.metadata, **metadata_of(request)}),
        crc32c=hashes.get("crc32c", draft.crc32c),
        md5=hashes.get("md5", draft.md5),
    )


async def _finalise(store: Store, session: Session) -> Stored:
    """:raises GcsError: BadDigest, which ends the session; PreconditionFailed, AccessDenied, which do not."""
    segments = tuple(store.catalogue.chunks(session.id))
    crc32c, md5 = await store.hashers.digests(session.id, segments)
    now = store.catalogue.session(session.id)  # while we hashed, it may have been finished or cancelled
    if now is not None and now.state is SessionState.COMPLETE and now.result is not None:
        return now.result
    if now is None or now.state is not SessionState.OPEN:
        raise GcsError("NoSuchUpload")
    if tuple(store.catalogue.chunks(session.id)) != segments:
        raise GcsError("ServiceUnavailable")
    try:
        stored = writing.finalise(store, now, store.bucket(session.bucket), segments, crc32c, md5)
    except GcsError as exc:
        if exc.code == "BadDigest":
            _end(store, now, SessionState.FAILED)
        raise
    store.hashers.forget(session.id)
    return stored


def _done(call: Call, session: Session, stored: Stored) -> Reply:
    if session.api == "json":
        return object_reply(call, session.bucket, stored, is_write=True)
    return Reply(headers=object_headers(stored), is_write=True)


def _incomplete(store: Store, call: Call, session: Session) -> Reply:
    """ "308 Resume Incomplete", with how far it got; some clients ask for another status (X-GUploader-No-308)."""
    offset = store.catalogue.offset(session.id)
    headers = {"Range": f"bytes=0-{offset - 1}"} if offset else {}
    if (call.request.header("x-guploader-no-308") or "").lower() == "yes":
        return Reply(headers=headers | {"X-HTTP-Status-Code-Override": "308"}, is_write=True)
    return Reply(status=308, headers=headers, is_write=True)
