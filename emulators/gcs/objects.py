"""Objects of the JSON API: read, delete, change their metadata.

Source: https://cloud.google.com/storage/docs/json_api/v1/objects.
"""

import time
from collections.abc import Mapping

import msgspec

from emulators.gcs import events, writing
from emulators.gcs.conditions import byte_range, check_read, check_write, conditions_of, number
from emulators.gcs.context import Call, Reply, Slice, Store, object_reply
from emulators.gcs.drafts import check_metadata, fields_of, read_resource
from emulators.gcs.errors import GcsError, no_such_object
from emulators.gcs.headers import read_headers
from emulators.gcs.records import Stored


def find(store: Store, call: Call, permission: str) -> Stored:
    """The generation that the request names, else the live one.

    :raises GcsError: NoSuchKey; with `--hide-missing`, AccessDenied to callers that may not list.
    """
    target, params = call.request.target, call.request.params
    bucket = call.bucket(store, permission)
    if "softDeleted" in params:
        raise GcsError("NotImplemented", "Not emulated, so refused: softDeleted")
    if "generation" in params:
        generation = number(params["generation"], "generation")
        stored = store.catalogue.generation(bucket.name, target.name, generation)
    else:
        stored = store.catalogue.live(bucket.name, target.name)
    if stored is not None:
        return stored
    if store.settings.hides_missing:
        store.grants.require(call.caller, bucket.name, "storage.objects.list")
    raise no_such_object(bucket.name, target.name)


async def get(store: Store, call: Call) -> Reply:
    stored = find(store, call, "storage.objects.get")
    check_read(call.request, stored)
    if call.request.params.get("alt") == "media":
        return content(call, stored)
    return object_reply(call, call.request.target.bucket, stored)


async def download(store: Store, call: Call) -> Reply:
    stored = find(store, call, "storage.objects.get")
    check_read(call.request, stored)
    return content(call, stored)


def content(call: Call, stored: Stored, overrides: Mapping[str, str] | None = None) -> Reply:
    """The bytes, or a range of them."""
    ranged = byte_range(call.request.header("range"), stored.size_bytes)
    start, length = ranged or (0, stored.size_bytes)
    headers = {**read_headers(stored), "Content-Length": str(length), **(overrides or {})}
    if ranged is not None:
        headers["Content-Range"] = f"bytes {start}-{start + length - 1}/{stored.size_bytes}"
    return Reply(
        status=200 if ranged is None else 206,
        headers=headers,
        body=Slice(segments=stored.segments, start=start, length=length),
    )


async def delete(store: Store, call: Call) -> Reply:
    bucket = call.bucket(store, "storage.objects.delete")
    stored = find(store, call, "storage.objects.delete")
    check_write(conditions_of(call.request), stored)
    writing.remove(store, bucket, stored, is_named="generation" in call.request.params)
    return Reply(status=204, is_write=True)


async def patch(store: Store, call: Call) -> Reply:
    """Change metadata; a value of null removes it. What else a patch can do is refused."""
    bucket = call.bucket(store, "storage.objects.update")
    resource = read_resource(await store.intake.document(call.http, call.request))
    stored = find(store, call, "storage.objects.update")
    check_write(conditions_of(call.request), stored)
    metadata = {**stored.metadata, **(resource.metadata or {})}
    changed = msgspec.structs.replace(
        stored,
        metageneration=stored.metageneration + 1,
        updated=time.time(),
        content_type=resource.content_type or stored.content_type,
        fields={**stored.fields, **fields_of(resource)},
        metadata=check_metadata({name: value for name, value in metadata.items() if value is not None}),
    )
    posts = store.messages.of(bucket, (events.Event(kind=events.METADATA_UPDATE, stored=changed),))
    store.catalogue.update(bucket.name, changed, posts=posts)
    store.outbox.wake()
    return object_reply(call, bucket.name, changed, is_write=True)
