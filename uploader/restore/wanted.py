"""Which files a tree has, one after the other: as the broker lists a batch, or as a manifest remembers them."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from broker.contract import Checksum, State, UploadSession
from uploader.attributes import Attributes, location, path_below
from uploader.client import BrokerClient, Notify
from uploader.errors import FileUnusable
from uploader.landing import safe_name
from uploader.listing import Listing
from uploader.tree.errors import ManifestUnusable
from uploader.tree.reader import Reader
from uploader.tree.rows import Row
from uploader.tree.states import FileState
from uploader.verified import Verified

READABLE = frozenset({State.VERIFIED, State.PROCESSING, State.PROCESSED, State.FAILED})
"""What was verified is there, whatever came of its job."""


class Wanted(Struct, frozen=True, kw_only=True):
    """
    :ivar path: as a stranger told it.
    :ivar is_versioned: what is met later with this path and owner is an older version of the file.
    :ivar attributes: of the file that it was, if they are known before its object is asked.
    """

    verified: Verified
    path: bytes
    owner: str | None = None
    is_versioned: bool = False
    attributes: Attributes | None = None


Absent = Counter[str]
"""Files of which there is nothing to read, by state."""


class Files(Protocol):
    def wanted(self, absent: Absent) -> AsyncIterator[Wanted]:
        """:raises UploaderError: they cannot be named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OfBatch:
    """Sessions that the broker lists. One without a path is named by its declared file name."""

    listing: Listing
    broker: BrokerClient
    notify: Notify
    destination: str | None = None

    async def wanted(self, absent: Absent) -> AsyncIterator[Wanted]:
        async for session in self.listing.sessions(self.broker, self.notify):
            if session.state not in READABLE:
                absent[session.state] += 1
            elif session.erased_at:
                absent["erased"] += 1
            else:
                yield self._wanted(session)

    def _wanted(self, session: UploadSession) -> Wanted:
        path = location(session.metadata or {})
        return Wanted(
            verified=Verified.of(session, self.destination),
            path=_named(session) if path is None else path,
            owner=session.owner or None,
            is_versioned=path is not None,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OfManifest:
    """What a manifest has as verified.

    :ivar broker_url: whose sessions they have to be.
    """

    manifest: Path
    broker_url: str
    destination: str | None = None

    async def wanted(self, absent: Absent) -> AsyncIterator[Wanted]:
        with Reader.open(self.manifest) as reader:
            about = reader.about()
            if about.broker.rstrip("/") != self.broker_url.rstrip("/"):
                raise ManifestUnusable(f"{self.manifest}: of an upload to the broker {about.broker}")
            for state, count in reader.counts().items():
                if state is not FileState.VERIFIED and count.files:
                    absent[state] += count.files
            for row in reader.rows((FileState.VERIFIED,)):
                yield self._wanted(row)

    def _wanted(self, row: Row) -> Wanted:
        checksum = msgspec.json.decode(row.checksum, type=Checksum) if row.checksum else Checksum()
        return Wanted(
            verified=Verified(
                session_id=row.session_id or "",
                size_bytes=row.size_bytes,
                checksum=checksum,
                destinations=(self.destination,),
            ),
            path=path_below(row.root, row.path),
            attributes=Attributes(mtime_ns=row.mtime_ns, mode=row.mode & 0o777),
        )


def _named(session: UploadSession) -> bytes:
    try:
        return safe_name(session.filename).encode()
    except FileUnusable:
        return session.id.encode()
