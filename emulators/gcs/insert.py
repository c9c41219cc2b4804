"""Uploads of the JSON API that come in one request: `uploadType=media` and `uploadType=multipart`.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects/insert.
"""

from collections.abc import AsyncIterator

import msgspec

from emulators.gcs import sessions, writing
from emulators.gcs.conditions import conditions_of
from emulators.gcs.context import Call, Reply, Store, object_reply
from emulators.gcs.drafts import hashes_of, json_draft, read_resource
from emulators.gcs.errors import GcsError
from emulators.gcs.intake import size_of
from emulators.gcs.records import Draft
from emulators.gcs.related import Related, boundary_of


async def insert(store: Store, call: Call) -> Reply:
    match call.request.params.get("uploadType"):
        case "resumable":
            return await sessions.open_json(store, call)
        case "media":
            return await _media(store, call)
        case "multipart":
            return await _multipart(store, call)
    raise GcsError("BadRequest", "uploadType must be media, multipart or resumable.")


async def _media(store: Store, call: Call) -> Reply:
    call.bucket(store, "storage.objects.create")
    size_of(call.request)
    content_type = call.request.header("content-type") or "application/octet-stream"
    draft = json_draft(read_resource(b""), name=call.request.params.get("name"), content_type=content_type)
    hashes = hashes_of(call.request)
    draft = msgspec.structs.replace(draft, crc32c=hashes.get("crc32c"), md5=hashes.get("md5"))
    return await _create(store, call, draft, store.intake.arriving(call.http, call.request, draft.name))


async def _multipart(store: Store, call: Call) -> Reply:
    call.bucket(store, "storage.objects.create")
    size_of(call.request)
    boundary = boundary_of(call.request.header("content-type") or "")
    name = call.request.params.get("name")
    related = Related(store.intake.arriving(call.http, call.request, name or "(multipart)"), boundary)
    resource = read_resource(await related.resource())
    draft = json_draft(resource, name=name, content_type=related.content_type)
    return await _create(store, call, draft, related.content())


async def _create(store: Store, call: Call, draft: Draft, body: AsyncIterator[bytes]) -> Reply:
    bucket, conditions = call.bucket(store, "storage.objects.create"), conditions_of(call.request)
    writing.check_overwrite(store, call.caller, bucket, draft.name, conditions)
    received = await store.intake.receive(body)
    stored = await writing.create(store, call.caller, store.bucket(bucket.name), draft, conditions, received)
    return object_reply(call, bucket.name, stored, is_write=True)
