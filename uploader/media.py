"""The media type of a file, by its name alone."""

import mimetypes
from functools import lru_cache

DEFAULT_TYPE = "application/octet-stream"

_ENCODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


def guess_type(filename: str) -> str:
    """What the name says. `data.csv.gz` is gzip, not CSV: no content-encoding is declared with it."""
    _, *suffixes = filename.lstrip(".").rsplit(".", 2)
    return _type_of(".".join(suffixes)) if suffixes else DEFAULT_TYPE


@lru_cache(maxsize=1024)
def _type_of(suffixes: str) -> str:
    """A tree has thousands of files and a handful of these.

    :param suffixes: the last two.
    """
    kind, encoding = mimetypes.guess_type(f"name.{suffixes}", strict=True)
    if encoding is not None:
        return _ENCODED.get(encoding, DEFAULT_TYPE)
    return kind or DEFAULT_TYPE
