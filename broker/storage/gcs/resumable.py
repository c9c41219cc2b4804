"""Opens, asks about and ends resumable uploads: a client fills one by its session URI, piece by piece.

Obeys "Resumable uploads" and "Objects: insert" of the Cloud Storage JSON API. What the broker declares when it opens
one: name, type, size (`X-Upload-Content-Length`), digests, metadata, `ifGenerationMatch=0`, and the origin of the page
that will send the bytes, to which Cloud Storage pins its CORS answers. Permission of the writer: storage.objects.create
and nothing else. Whoever holds the URI needs none: it is a bearer secret and lives for a week, so it is never logged.

What an upload server answers is believed as far as it can be checked: a session URI is one below the bucket's own
upload path at the configured address. Its host is never called as it stands: clients are given the public address, and
the broker asks the internal one.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import UNSET, Struct, UnsetType

from broker.contract import Guarantees
from broker.domain.errors import StoreRefused, StoreUnavailable
from broker.domain.objects import CAPSULE_FIELD, UploadSpec
from broker.storage.gcs.caller import GcsAnswer, GcsCaller, patient, trouble
from broker.storage.gcs.dialect import resumable_guarantees
from broker.storage.gcs.endpoint import Endpoint, upload_path
from broker.storage.gcs.tokens import AccessTokens

CHUNK_MULTIPLE_BYTES: Final = 262_144  # "Chunk size: … multiples of 256 KiB, unless it's the last chunk"
MAX_URI_CHARACTERS: Final = 4_096  # ours: it holds a name of up to 1,024 bytes, percent-encoded, and an upload id

_COMPLETE: Final = frozenset({200, 201})
_GONE: Final = frozenset({404, 410, 499})  # 499: "client closed request", of an upload that was cancelled
_ENDED: Final = _COMPLETE | {204} | _GONE
# Of DELETE nothing is written about an upload that is whole: what is no trouble of ours, the status decides.
_UNDECIDED: Final = frozenset({400, 409, 412})
_RANGE: Final = re.compile(r"bytes=0-([0-9]{1,18})")
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")


class _NewObject(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    name: str
    content_type: str
    metadata: dict[str, str]
    crc32c: str | UnsetType = UNSET
    md5_hash: str | UnsetType = UNSET


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsResumableUploads:
    """`public` is the address that clients can reach; `proved`: what the bucket was seen to refuse of such uploads."""

    caller: GcsCaller
    tokens: AccessTokens
    bucket: str
    public: Endpoint
    proved: Collection[str] = ()

    @property
    def chunk_multiple_bytes(self) -> int:
        return CHUNK_MULTIPLE_BYTES

    def binds(self, spec: UploadSpec) -> Guarantees:
        return resumable_guarantees(spec.checksum, self.proved)

    async def open(self, key: str, spec: UploadSpec, capsule: str, *, origin: str | None) -> str:
        headers = {
            "content-type": "application/json; charset=UTF-8",
            "x-upload-content-type": spec.content_type,
            "x-upload-content-length": str(spec.size_bytes),
        }
        if origin is not None:
            headers["origin"] = origin
        answer = await self.caller.call(
            "POST",
            upload_path(self.bucket),
            self.tokens,
            query=[("uploadType", "resumable"), ("name", key), ("ifGenerationMatch", "0")],
            headers=headers,
            body=msgspec.json.encode(_new_object(key, spec, capsule)),
        )
        if answer.status not in _COMPLETE:
            raise trouble(answer)
        location = answer.headers.get("location", "")
        if not _points_to(location, self.caller.endpoint):
            raise _foreign()
        return f"{self.public.origin}{self._target(location)}"

    async def offset(self, uri: str, size_bytes: int) -> int | None:
        # `bytes */0` with nothing behind it would be the upload of an empty object.
        answer = await self._status(uri, str(size_bytes) if size_bytes else "*")
        if answer.status == 308:
            return _received(answer)
        if answer.status in _COMPLETE:
            return size_bytes
        # 412: the key was taken meanwhile, so that nothing can come of it any more.
        if answer.status in _GONE or answer.status == 412:
            return None
        raise trouble(answer)

    async def cancel(self, uri: str) -> bool:
        answer = await self.caller.send("DELETE", self._target(uri))
        if answer.status in _UNDECIDED:
            answer = await self._status(uri, "*")
            if answer.status == 308:
                return False
        if answer.status in _ENDED:
            return True
        raise trouble(answer)

    async def _status(self, uri: str, total: str) -> GcsAnswer:
        """Ask as "Check the status of a resumable upload" says: an empty PUT of no range."""
        return await self.caller.send("PUT", self._target(uri), headers={"content-range": f"bytes */{total}"})

    def _target(self, uri: str) -> str:
        """Path and query of a session URI.

        :raises StoreRefused: it is none of this bucket, and nobody is to send anything there.
        """
        if not _PRINTABLE.fullmatch(uri) or len(uri) > MAX_URI_CHARACTERS:
            raise _foreign()
        parts = urlsplit(uri)
        if parts.path != upload_path(self.bucket) or not parse_qs(parts.query).get("upload_id"):
            raise _foreign()
        return f"{parts.path}?{parts.query}"


def _points_to(location: str, endpoint: Endpoint) -> bool:
    """Whether its host is the one that was asked; behind a proxy the scheme may be another."""
    scheme, _, rest = location.partition("://")
    try:
        return Endpoint.of(f"{scheme}://{rest.partition('/')[0]}").host == endpoint.host
    except ValueError:
        return False


def _foreign() -> StoreRefused:
    return StoreRefused("the store names a session URI that is none of this bucket at this address")


def _received(answer: GcsAnswer) -> int:
    """Read "Range: bytes=0-K": the store has K+1. Without that header it has nothing yet."""
    stored = answer.headers.get("range")
    if stored is None:
        return 0
    found = _RANGE.fullmatch(stored)
    if found is None:
        raise patient(StoreUnavailable("the store answers with something that is no range"), answer)
    return int(found[1]) + 1


def _new_object(key: str, spec: UploadSpec, capsule: str) -> _NewObject:
    return _NewObject(
        name=key,
        content_type=spec.content_type,
        metadata={**spec.object_metadata, CAPSULE_FIELD: capsule},
        crc32c=spec.checksum.crc32c or UNSET,
        md5_hash=spec.checksum.md5 or UNSET,
    )
