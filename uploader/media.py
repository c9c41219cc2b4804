"""The media type of a file, by its name alone."""

import mimetypes

DEFAULT_TYPE = "application/octet-stream"

_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def guess_type(filename: str) -> str:
    """What the name says. `data.csv.gz` is gzip, not CSV: no content-encoding is declared with it."""
    kind, encoding = mimetypes.guess_type(filename, strict=True)
    if encoding is not None:
        return _ENCODED.get(encoding, DEFAULT_TYPE)
    return kind or DEFAULT_TYPE
