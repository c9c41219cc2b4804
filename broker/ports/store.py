"""A store: one right in a destination each; together, with the destination, they are a `Bucket`.

A right that a store cannot give is None there, and what needs it is not offered.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.contract import Guarantees, SignedRequest
from broker.domain.multipart import StoredPart
from broker.domain.objects import ObjectInfo, Pin, UploadSpec
from broker.domain.policy import Destination


class PutSigner(Protocol):
    """Permits one object, one size, one type, once."""

    def binds(self, spec: UploadSpec) -> Guarantees:
        """Who will keep each promise about `spec` if it is sent by the request that `sign_put` makes."""

    async def sign_put(
        self, key: str, spec: UploadSpec, capsule: str, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        """A PUT of exactly `spec` under `key`, carrying `capsule` as object metadata `upload-session`.

        The caller guarantees that key, metadata and checksums were checked. `expires_at` of the answer is never
        later than `ends`, than the credential lives, or than the request really works.
        :raises CredentialsUnavailable:
        :raises SigningQuotaExhausted: where each signature is a call to the provider.
        """


class GetSigner(Protocol):
    """Permits reading one stored state of one object."""

    async def sign_get(
        self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime
    ) -> SignedRequest:
        """A GET that fails when the object is not what `pin` names; always served as an attachment.

        A version stands in the URL itself; without one the ETag is a signed `if-match` header, which a bare redirect
        cannot carry. None pins nothing: only for a key that was written once by guarantee.
        :raises CredentialsUnavailable:
        :raises SigningQuotaExhausted: where each signature is a call to the provider.
        """


class ObjectHead(Protocol):
    async def head(self, key: str) -> ObjectInfo | None:
        """What is stored under `key` now, strongly consistent, or None.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def head_version(self, key: str, version: str) -> ObjectInfo | None:
        """What one version of `key` is, latest or not; None where it is gone.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class ObjectRemover(Protocol):
    async def remove(self, key: str, pin: Pin) -> bool:
        """Removes exactly the state that `pin` names. False when something else, or nothing, is there.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class PartSigner(Protocol):
    """Permits one part of one multipart upload, at one length."""

    def binds(self, spec: UploadSpec) -> Guarantees:
        """Who will keep each promise about `spec` if it comes in parts that only the broker completes."""

    async def sign_part(
        self, key: str, upload_id: str, number: int, size_bytes: int, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        """A PUT of exactly `size_bytes` as part `number`. `expires_at` as for `PutSigner`.

        :raises CredentialsUnavailable:
        """


class MultipartUploads(Protocol):
    """Opening and closing multipart uploads; the client only ever sends parts."""

    async def open(self, key: str, spec: UploadSpec, capsule: str) -> str:
        """Starts an upload that will make `spec` with `capsule` as its metadata; its upload id.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def parts(self, key: str, upload_id: str) -> list[StoredPart] | None:
        """Everything that has been uploaded, by number; None when there is no such upload (any more).

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> bool:
        """Makes the object of exactly these parts, create-only where the store can.

        True when the store said so. False when there is no such upload or the key is taken: HEAD decides what that
        means. A 200 with an error in its body is an error.
        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class MultipartRemover(Protocol):
    """Clearing away what was begun under a key."""

    async def open_uploads(self, key: str) -> list[str]:
        """The ids of every unfinished upload of exactly this key, also of those that nobody recorded.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def abort(self, key: str, upload_id: str) -> bool:
        """True once nothing of it is left; False when a part in flight may still land, so that it must be repeated.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class MultipartRights:
    """What it takes to receive an object in parts."""

    signer: PartSigner
    uploads: MultipartUploads
    remover: MultipartRemover


class ResumableUploads(Protocol):
    """Uploads that the store opens for us and a client then fills: piece by piece, by one URI until it is whole.

    The URI is a bearer secret, and the store honours it for longer than anybody should: whoever opens must cancel.
    """

    @property
    def chunk_multiple_bytes(self) -> int:
        """Of what size, or a multiple of it, each piece is but the last."""

    def binds(self, spec: UploadSpec) -> Guarantees:
        """Who will keep each promise about `spec` if it is sent by a URI that `open` gives."""

    async def open(self, key: str, spec: UploadSpec, capsule: str, *, origin: str | None) -> str:
        """Begins an upload that will make `spec` under `key` with `capsule` as its metadata; its URI, for clients.

        :param origin: of the only pages that will be able to read the store's answers; None: no page will.
        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def offset(self, uri: str, size_bytes: int) -> int | None:
        """How many bytes the store has of what comes by `uri`; None when there is no such upload (any more).

        :param size_bytes: of the whole object, and the answer once that is there.
        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """

    async def cancel(self, uri: str) -> bool:
        """True once nothing can come by it any more: cancelled, gone, or complete, and then the object is there for
        HEAD to find. False when that is not sure yet, so that it must be repeated.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedObject:
    """One stored state as a listing shows it: no metadata, so nothing proves yet whose it is."""

    key: str
    size_bytes: int
    etag: str
    version: str | None
    is_latest: bool
    last_modified: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class UnfinishedUpload:
    """A multipart upload that was begun and neither completed nor aborted. Its bytes are in no listing."""

    key: str
    upload_id: str
    initiated: datetime


class ObjectLister(Protocol):
    """What lies under the destination's prefix, page by page; a page is as old as the call that fetched it."""

    def objects(self) -> AsyncIterator[Sequence[ListedObject]]:
        """Every stored state in order of keys, older versions too, without delete markers. A page may be empty.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable: what was not listed is unknown, not absent.
        """

    def uploads(self) -> AsyncIterator[Sequence[UnfinishedUpload]]:
        """Every unfinished multipart upload.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


class StoreMark(Protocol):
    """The note in a destination that says whose ledger knows its objects."""

    async def read(self) -> str | None:
        """The store id that is noted there; None where nobody left a note.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable: also when what is there is no such note.
        """

    async def write(self, store_id: str, *, now: datetime) -> None:
        """Leaves a note unless there is one. Whose it is then, `read` tells.

        :raises StoreUnavailable, StoreRefused, CredentialsUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """One destination and our rights there. A capability that the store lacks is None.

    :param signs_afar: each signature is a call to the provider, so that those who sign many do it side by side.
    """

    destination: Destination
    put: PutSigner
    get: GetSigner
    objects: ObjectHead
    remover: ObjectRemover
    multipart: MultipartRights | None = None
    consumer_get: GetSigner | None = None  # the right of `get`, where consumers reach the store by another address
    lister: ObjectLister | None = None
    mark: StoreMark | None = None
    resumable: ResumableUploads | None = None
    signs_afar: bool = False


Buckets = Mapping[str, Bucket]
