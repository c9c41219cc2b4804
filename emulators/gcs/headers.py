"""Headers of the XML API about an object, and the one that bounds its length.

Source: https://cloud.google.com/storage/docs/xml-api/reference-headers.
"""

import re
from email.utils import formatdate
from typing import Final

from emulators.gcs.conditions import hex_md5
from emulators.gcs.drafts import FIELDS, META
from emulators.gcs.errors import GcsError
from emulators.gcs.intake import MAX_OBJECT_BYTES
from emulators.gcs.records import Stored
from emulators.gcs.request import GcsRequest

_LENGTHS: Final = re.compile(r"([0-9]{1,19}),([0-9]{1,19})")


def length_range(request: GcsRequest) -> tuple[int, int]:
    """The smallest and the largest body that `x-goog-content-length-range` lets pass.

    :raises GcsError: InvalidArgument.
    """
    text = request.header("x-goog-content-length-range")
    if text is None:
        return 0, MAX_OBJECT_BYTES
    match = _LENGTHS.fullmatch(text.replace(" ", ""))
    if match is None or int(match[1]) > int(match[2]):
        raise GcsError("InvalidArgument", "x-goog-content-length-range must be MIN,MAX.")
    return int(match[1]), min(int(match[2]), MAX_OBJECT_BYTES)


def object_headers(stored: Stored) -> dict[str, str]:
    """What every answer about an object carries."""
    return {
        "ETag": f'"{hex_md5(stored)}"',
        "x-goog-generation": str(stored.generation),
        "x-goog-metageneration": str(stored.metageneration),
        "x-goog-hash": f"crc32c={stored.crc32c},md5={stored.md5}",
        "x-goog-stored-content-length": str(stored.size_bytes),
        "x-goog-stored-content-encoding": stored.fields.get("contentEncoding", "identity"),
        "x-goog-storage-class": "STANDARD",
    }


def read_headers(stored: Stored) -> dict[str, str]:
    """What a read answers besides."""
    headers = object_headers(stored) | {
        "Accept-Ranges": "bytes",
        "Last-Modified": formatdate(stored.updated, usegmt=True),
        "Content-Type": _line(stored.content_type or "application/octet-stream"),
    }
    headers |= {header.title(): _line(stored.fields[name]) for name, header in FIELDS.items() if name in stored.fields}
    return headers | {META + _line(name): _line(value) for name, value in stored.metadata.items()}


def _line(text: str) -> str:
    """No value may end its header line."""
    return re.sub(r"[\r\n\x00]", " ", text)
