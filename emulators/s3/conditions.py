"""Preconditions of reads and writes, and byte ranges.

Sources: RFC 9110 sections 13 and 14; https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-requests.html.
"""

import re
from email.utils import parsedate_to_datetime
from typing import Final

from emulators.s3.catalogue import Stored
from emulators.s3.errors import S3Error
from emulators.s3.request import S3Request

_RANGE: Final = re.compile(r"bytes=([0-9]*)-([0-9]*)")


def matches(header: str, etag: str) -> bool:
    """Whether a list of entity tags (quoted or not, or `*`) names this one."""
    tags = {each.strip().removeprefix("W/").strip('"') for each in header.split(",")}
    return "*" in tags or etag in tags


def check_write(request: S3Request, current: Stored | None) -> None:
    """Create-only and replace-only writes; a delete marker counts as nothing.

    :raises S3Error: PreconditionFailed, NoSuchKey, NotImplemented.
    """
    none_match, match = request.header("if-none-match"), request.header("if-match")
    if none_match is not None and none_match.strip('"') != "*":
        raise S3Error("NotImplemented", fields={"Header": "If-None-Match"})
    if none_match is not None and match is not None:
        raise S3Error("NotImplemented", fields={"Header": "If-Match"})
    exists = current is not None and not current.is_marker
    if none_match is not None and exists:
        raise _failed("If-None-Match")
    if match is not None:
        if current is None or not exists:
            raise S3Error("NoSuchKey", fields={"Key": request.key or ""})
        if not matches(match, current.etag):
            raise _failed("If-Match")


def check_read(request: S3Request, stored: Stored) -> None:
    """:raises S3Error: PreconditionFailed or NotModified."""
    match, none_match = request.header("if-match"), request.header("if-none-match")
    if match is not None and not matches(match, stored.etag):
        raise _failed("If-Match")
    if match is None and (limit := _moment(request, "if-unmodified-since")) and int(stored.modified) > limit:
        raise _failed("If-Unmodified-Since")
    if none_match is not None and matches(none_match, stored.etag):
        raise S3Error("NotModified")
    if none_match is None and (limit := _moment(request, "if-modified-since")) and int(stored.modified) <= limit:
        raise S3Error("NotModified")


def check_copy_source(request: S3Request, stored: Stored) -> None:
    """:raises S3Error: PreconditionFailed."""
    prefix = "x-amz-copy-source-"
    match, none_match = request.header(f"{prefix}if-match"), request.header(f"{prefix}if-none-match")
    newer, older = _moment(request, f"{prefix}if-modified-since"), _moment(request, f"{prefix}if-unmodified-since")
    if match is not None and not matches(match, stored.etag):
        raise _failed(f"{prefix}If-Match")
    if none_match is not None and matches(none_match, stored.etag):
        raise _failed(f"{prefix}If-None-Match")
    if (newer and int(stored.modified) <= newer) or (match is None and older and int(stored.modified) > older):
        raise _failed(f"{prefix}If-Modified-Since")


def byte_range(header: str | None, size_bytes: int) -> tuple[int, int] | None:
    """Start and length, or None for the whole: S3 ignores what it cannot parse, and several ranges at once.

    :raises S3Error: InvalidRange.
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
        raise S3Error(
            "InvalidRange",
            fields={"RangeRequested": match[0], "ActualObjectSize": str(size_bytes)},
            headers={"Content-Range": f"bytes */{size_bytes}"},
        )
    return start, end - start + 1


def _moment(request: S3Request, name: str) -> float | None:
    text = request.header(name)
    try:
        return parsedate_to_datetime(text).timestamp() if text else None
    except ValueError:
        return None


def _failed(condition: str) -> S3Error:
    return S3Error("PreconditionFailed", fields={"Condition": condition})
