"""What is stored under a key, and its removal: the broker's own HEAD and DELETE.

Obeys HeadObject and DeleteObject of the Amazon S3 API Reference. Headers signed beside those of every call
(`caller.py`): `x-amz-checksum-mode` by HEAD, `if-match` by a conditional DELETE. Permissions of the credentials: `read`
needs s3:GetObject and s3:ListBucket (without the latter S3 answers 403 instead of 404 for a key that is not there), for
versioned buckets s3:GetObjectVersion; objects under KMS keys also kms:Decrypt. `remove` needs s3:DeleteObject and
s3:GetObject (a conditional delete reads the ETag), for versioned buckets s3:DeleteObjectVersion.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache

from multidict import CIMultiDictProxy

from broker.contract import Checksum
from broker.domain.errors import StoreUnavailable
from broker.domain.objects import ObjectInfo, Pin
from broker.storage.s3.caller import NO_HEADERS, S3Caller, trouble
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.dialects import CHECKSUM_HEADERS, Dialect
from broker.storage.s3.signer import METADATA_PREFIX
from broker.storage.s3.xml import etag as unquoted


@dataclass(frozen=True, slots=True, kw_only=True)
class S3ObjectHead:
    caller: S3Caller
    credentials: Credentials

    async def head(self, key: str) -> ObjectInfo | None:
        return await self._state(key, query=())

    async def head_version(self, key: str, version: str) -> ObjectInfo | None:
        return await self._state(key, query=[("versionId", version)])

    async def _state(self, key: str, *, query: Sequence[tuple[str, str]]) -> ObjectInfo | None:
        answer = await self.caller.call(
            "HEAD", key, self.credentials, query=query, headers={"x-amz-checksum-mode": "ENABLED"}
        )
        if answer.status == 200:
            return _object_info(answer.headers)
        # HeadObject: 405 for a version that is a delete marker.
        if answer.status == 404 or (query and answer.status == 405):
            return None
        raise trouble(answer.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3ObjectRemover:
    """`objects` reads what is there, where the store cannot compare by itself."""

    caller: S3Caller
    credentials: Credentials
    dialect: Dialect
    objects: S3ObjectHead

    async def remove(self, key: str, pin: Pin) -> bool:
        if pin.version is not None:
            return await self._remove_version(key, pin.etag, pin.version)
        if self.dialect.has_conditional_delete:
            return await self._delete(key, headers={"if-match": f'"{pin.etag}"'})
        # Between HEAD and DELETE lies a gap that such a store does not let us close. What is removed is create-only
        # or has outlived its last signed request: nobody is left who could write meanwhile.
        found = await self.objects.head(key)
        return found is not None and found.etag == pin.etag and await self._delete(key)

    async def _remove_version(self, key: str, etag: str, version: str) -> bool:
        # DeleteObject answers 204 for a version that never was: only HEAD tells.
        found = await self.objects.head_version(key, version)
        return found is not None and found.etag == etag and await self._delete(key, query=[("versionId", version)])

    async def _delete(
        self, key: str, *, query: Sequence[tuple[str, str]] = (), headers: Mapping[str, str] = NO_HEADERS
    ) -> bool:
        answer = await self.caller.call("DELETE", key, self.credentials, query=query, headers=headers)
        if answer.status in {200, 204}:
            return True
        # S3 User Guide, "How to perform conditional deletes": 412 another ETag, 404 nothing there (any more).
        if answer.status in {404, 412}:
            return False
        raise trouble(answer.status)


def _object_info(headers: CIMultiDictProxy[str]) -> ObjectInfo:
    size_bytes = headers.get("content-length", "")
    etag = unquoted(headers.get("etag", ""))
    if not size_bytes.isdecimal() or not etag:
        raise StoreUnavailable("the store answers HEAD without a length or an ETag")
    version = headers.get("x-amz-version-id")
    return ObjectInfo(
        size_bytes=int(size_bytes),
        content_type=_text(headers.get("content-type", "")),
        etag=etag,
        # "null" is what a bucket calls the version of an object written while versioning was off: overwriting
        # replaces it, so it pins nothing.
        version=None if version == "null" else version,
        checksum=_checksum(headers),
        metadata=_metadata(headers),
        last_modified=_moment(headers.get("last-modified")),
    )


def _checksum(headers: CIMultiDictProxy[str]) -> Checksum:
    """Read the digests of the whole object. A composite one is a digest of the parts' digests: not comparable.

    HeadObject names its type in x-amz-checksum-type; where a store does not, the value ends in `-N`, N parts.
    """
    if headers.get("x-amz-checksum-type", "").upper() == "COMPOSITE":
        return Checksum()
    found = {
        name: value
        for name, header in CHECKSUM_HEADERS.items()
        if name != "md5" and (value := headers.get(header)) and "-" not in value
    }
    return Checksum(**found)


def _metadata(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for header, value in headers.items():
        name = header.lower()
        if name.startswith(METADATA_PREFIX):
            name = _text(name.removeprefix(METADATA_PREFIX))
            # A repeated field is a list (RFC 9110 section 5.3); S3 joins it the same way.
            metadata[name] = f"{metadata[name]},{_text(value)}" if name in metadata else _text(value)
    return metadata


def _text(value: str) -> str:
    """Repair a header value: aiohttp reads UTF-8 and leaves other bytes as lone surrogates, which were latin-1."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode(errors="surrogateescape").decode("latin-1")
    return value


@lru_cache(maxsize=256)  # whole seconds: events come by hundreds in one
def _moment(value: str | None) -> datetime | None:
    try:
        return None if value is None else parsedate_to_datetime(value).astimezone(UTC)
    except ValueError:
        return None
