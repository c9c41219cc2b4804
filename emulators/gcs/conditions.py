"""Preconditions of both APIs, and byte ranges.

Sources: https://cloud.google.com/storage/docs/request-preconditions; RFC 9110 sections 13 and 14.
"""

import base64
import re
from typing import Final

from emulators.gcs.errors import GcsError
from emulators.gcs.records import Conditions, Stored
from emulators.gcs.request import GcsRequest
from emulators.gcs.resource import etag

_QUERY: Final = {
    "generation": "ifGenerationMatch",
    "not_generation": "ifGenerationNotMatch",
    "metageneration": "ifMetagenerationMatch",
    "not_metageneration": "ifMetagenerationNotMatch",
}
_HEADERS: Final = {
    "generation": "x-goog-if-generation-match",
    "metageneration": "x-goog-if-metageneration-match",
}
_RANGE: Final = re.compile(r"bytes=([0-9]*)-([0-9]*)")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")


def number(text: str, name: str) -> int:
    """:raises GcsError: InvalidArgument."""
    if not _NUMBER.fullmatch(text):
        raise GcsError("InvalidArgument", f"Invalid value for {name}: it must be a number.")
    return int(text)


def conditions_of(request: GcsRequest) -> Conditions:
    """Where this API has them: in the query, or in headers.

    :raises GcsError: InvalidArgument.
    """
    names, where = (_QUERY, request.params) if request.api == "json" else (_HEADERS, request.joined_headers)
    return Conditions(**{field: number(where[name], name) for field, name in names.items() if name in where})


def check_write(conditions: Conditions, current: Stored | None) -> None:
    """:raises GcsError: PreconditionFailed."""
    if not (_matches(conditions, current) and _differs(conditions, current)):
        raise GcsError("PreconditionFailed")


def check_read(request: GcsRequest, stored: Stored) -> None:
    """:raises GcsError: PreconditionFailed or NotModified."""
    conditions = conditions_of(request)
    if not _matches(conditions, stored):
        raise GcsError("PreconditionFailed")
    match, none_match = request.header("if-match"), request.header("if-none-match")
    tags = entity_tags(stored)
    if match is not None and not _names(match, tags):
        raise GcsError("PreconditionFailed")
    if not _differs(conditions, stored) or (none_match is not None and _names(none_match, tags)):
        raise GcsError("NotModified")


def entity_tags(stored: Stored) -> frozenset[str]:
    """What either API calls this object's ETag."""
    return frozenset({hex_md5(stored), etag(stored.generation, stored.metageneration)})


def hex_md5(stored: Stored) -> str:
    return base64.b64decode(stored.md5).hex()


def _matches(conditions: Conditions, current: Stored | None) -> bool:
    generation, metageneration = _numbers(current)
    return conditions.generation in {None, generation} and conditions.metageneration in {None, metageneration}


def _differs(conditions: Conditions, current: Stored | None) -> bool:
    generation, metageneration = _numbers(current)
    return conditions.not_generation != generation and conditions.not_metageneration != metageneration


def _numbers(current: Stored | None) -> tuple[int, int]:
    return (0, 0) if current is None else (current.generation, current.metageneration)


def _names(header: str, tags: frozenset[str]) -> bool:
    given = {each.strip().removeprefix("W/").strip('"') for each in header.split(",")}
    return "*" in given or bool(given & tags)


def byte_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Start and length, or None for the whole: what cannot be parsed, and several ranges at once, are ignored.

    :raises GcsError: InvalidRange.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size_bytes)
        start, end = size_bytes - length, size_bytes - 1
    else:
        start, end = int(match[1]), min(int(match[2] or size_bytes), size_bytes - 1)
        if match[2] and int(match[2]) < start:
            return None
    if start >= size_bytes:
        raise GcsError("InvalidRange", headers={"Content-Range": f"bytes */{size_bytes}"})
    return start, end - start + 1
