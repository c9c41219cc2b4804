"""Objects of the XML API, which is what V4-signed requests speak.

Sources, under https://cloud.google.com/storage/docs/xml-api/: put-object-upload, get-object-download,
delete-object, post-object-resumable.
"""

from collections.abc import Mapping
from typing import Final

from emulators.gcs import objects, sessions, writing
from emulators.gcs.conditions import check_read, check_write, conditions_of
from emulators.gcs.context import Call, Reply, Store
from emulators.gcs.drafts import xml_draft
from emulators.gcs.errors import GcsError
from emulators.gcs.headers import length_range, object_headers
from emulators.gcs.intake import size_of
from emulators.gcs.request import GcsRequest

_NAMES: Final = """
    acl attrs billing compose cors customer-managed-encryption defaultObjectAcl encryption encryptionConfig lifecycle
    location logging notification object-lock policy requestPayment retention storageClass tagging torrent uploadId
    uploads versioning versions website x-goog-copy-source
"""
SUBRESOURCES: Final = frozenset(_NAMES.split())


def refuse_subresources(request: GcsRequest) -> None:
    """What this emulator has not is never taken for the plain operation: `PUT ?acl` must not overwrite an object.

    :raises GcsError: NotImplemented.
    """
    if asked := SUBRESOURCES & request.params.keys():
        raise GcsError("NotImplemented", f"Not emulated, so refused: {min(asked)}")


async def put(store: Store, call: Call) -> Reply:
    request = call.request
    bucket = call.bucket(store, "storage.objects.create")
    draft, conditions, size_bytes = xml_draft(request), conditions_of(request), size_of(request)
    low, high = length_range(request)
    if size_bytes is not None and size_bytes > high:
        raise GcsError("EntityTooLarge", fields={"ContentLength": str(size_bytes)})
    if size_bytes is not None and size_bytes < low:
        raise GcsError("EntityTooSmall", fields={"ContentLength": str(size_bytes)})
    writing.check_overwrite(store, call.caller, bucket, draft.name, conditions)
    body = store.intake.arriving(call.http, request, draft.name)
    received = await store.intake.receive(body, min_bytes=low, max_bytes=high)
    stored = await writing.create(store, call.caller, store.bucket(bucket.name), draft, conditions, received)
    return Reply(headers=object_headers(stored), is_write=True)


async def get(store: Store, call: Call) -> Reply:
    stored = objects.find(store, call, "storage.objects.get")
    check_read(call.request, stored)
    return objects.content(call, stored, _overrides(call))


def _overrides(call: Call) -> Mapping[str, str]:
    """`response-content-type` and its kin: a signature covers the query."""
    params = call.request.params
    names = ("content-disposition", "content-type")
    found = {name.title(): params[f"response-{name}"] for name in names if f"response-{name}" in params}
    if any("\r" in value or "\n" in value for value in found.values()):
        raise GcsError("InvalidArgument", "A header has one line.")
    return found


async def delete(store: Store, call: Call) -> Reply:
    bucket = call.bucket(store, "storage.objects.delete")
    stored = objects.find(store, call, "storage.objects.delete")
    check_write(conditions_of(call.request), stored)
    writing.remove(store, bucket, stored, is_named="generation" in call.request.params)
    return Reply(status=204, is_write=True)


async def post(store: Store, call: Call) -> Reply:
    return await sessions.open_xml(store, call)
