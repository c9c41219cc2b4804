"""The one place where an object comes into being, whatever way its bytes came; and the one where it goes.

Nothing here awaits between a precondition and its write: what it saw is what is replaced.
"""

import base64
import time
from collections.abc import Mapping

import msgspec

from emulators.blobs import Segment
from emulators.gcs import events
from emulators.gcs.access import Caller
from emulators.gcs.conditions import check_write
from emulators.gcs.context import Store
from emulators.gcs.errors import GcsError
from emulators.gcs.intake import Received
from emulators.gcs.records import Bucket, Conditions, Draft, Session, SessionState, Stored


def check_digests(draft: Draft, crc32c: str, md5: str) -> None:
    """:raises GcsError: BadDigest."""
    for name, demanded, found in (("CRC32C", draft.crc32c, crc32c), ("MD5 hash", draft.md5, md5)):
        if demanded is not None and demanded != found:
            details = f'Provided {name} "{demanded}" doesn\'t match calculated {name} "{found}".'
            raise GcsError("BadDigest", details)


def check_overwrite(
    store: Store, caller: Caller | None, bucket: Bucket, name: str, conditions: Conditions
) -> Stored | None:
    """What lives under this name and may be replaced.

    iam-permissions: to replace an object takes `storage.objects.delete` besides `storage.objects.create`.

    :raises GcsError: PreconditionFailed, AccessDenied.
    """
    current = store.catalogue.live(bucket.name, name)
    check_write(conditions, current)
    if current is not None:
        store.grants.require(caller, bucket.name, "storage.objects.delete")
    return current


async def create(
    store: Store, caller: Caller | None, bucket: Bucket, draft: Draft, conditions: Conditions, received: Received
) -> Stored:
    """A body that came in one request becomes an object, or is discarded.

    :raises GcsError: BadDigest, PreconditionFailed, AccessDenied.
    """
    crc32c, md5 = (_base64(received.digests, name) for name in ("crc32c", "md5"))
    try:
        check_digests(draft, crc32c, md5)
        current = check_overwrite(store, caller, bucket, draft.name, conditions)
    except GcsError:
        await received.spool.discard()
        raise
    stored = _stored(store, draft, store.blobs.adopt(received.spool), crc32c, md5)
    posts = store.messages.of(bucket, events.written(bucket, stored, current))
    store.blobs.remove(store.catalogue.put(bucket, stored, posts=posts))
    store.outbox.wake()
    return stored


def finalise(
    store: Store, session: Session, bucket: Bucket, segments: tuple[Segment, ...], crc32c: str, md5: str
) -> Stored:
    """What a session collected becomes an object, and the session ends in the same step.

    :raises GcsError: BadDigest, PreconditionFailed, AccessDenied.
    """
    check_digests(session.draft, crc32c, md5)
    owner = Caller(email=session.owner)
    current = check_overwrite(store, owner, bucket, session.draft.name, session.conditions)
    stored = _stored(store, session.draft, segments, crc32c, md5)
    ended = msgspec.structs.replace(session, state=SessionState.COMPLETE, result=stored)
    posts = store.messages.of(bucket, events.written(bucket, stored, current))
    store.blobs.remove(store.catalogue.put(bucket, stored, session=ended, posts=posts))
    store.outbox.wake()
    return stored


def remove(store: Store, bucket: Bucket, stored: Stored, *, is_named: bool) -> None:
    """Delete: a named generation for good, else the live one, which a versioned bucket archives."""
    is_archived = bucket.is_versioned and not is_named
    event = events.Event(kind=events.ARCHIVE if is_archived else events.DELETE, stored=stored)
    posts = store.messages.of(bucket, (event,))
    if is_archived:
        freed = store.catalogue.retire(bucket, stored.name, posts=posts)
    else:
        freed = store.catalogue.remove(bucket.name, stored, posts=posts)
    store.blobs.remove(freed)
    store.outbox.wake()


def _stored(store: Store, draft: Draft, segments: tuple[Segment, ...], crc32c: str, md5: str) -> Stored:
    now = time.time()
    return Stored(
        name=draft.name,
        generation=store.catalogue.next_generation(),
        created=now,
        updated=now,
        size_bytes=sum(segment.size_bytes for segment in segments),
        crc32c=crc32c,
        md5=md5,
        content_type=draft.content_type,
        fields=draft.fields,
        metadata=draft.metadata,
        segments=segments,
    )


def _base64(digests: Mapping[str, bytes], name: str) -> str:
    return base64.b64encode(digests[name]).decode()
