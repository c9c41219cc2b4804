"""Where Google Cloud Storage answers, and under which paths.

Obeys "Request endpoints" and "Encoding URI path parts" of the Cloud Storage documentation: in the JSON API an object's
name is one segment of the path (its slashes are %2F), in the XML API, which signed URLs go to, its slashes separate.
Buckets stand in the path, never in the host: their names may hold dots, for which no certificate is made.
"""

from dataclasses import dataclass
from typing import Self

from broker.storage.addresses import host_header, split_endpoint
from broker.storage.signing import encode, encode_path


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`origin` begins every URL, `host` is what clients send as Host (no default port)."""

    origin: str
    host: str

    @classmethod
    def of(cls, url: str) -> Self:
        """:raises ValueError: no such address is possible; the text says what to configure instead."""
        parts = split_endpoint(url)
        if parts.path not in {"", "/"}:
            raise ValueError(f"endpoint {url!r} has a path: Google's have none, and no signature would cover it")
        host = host_header(parts.hostname or "", parts)
        return cls(origin=f"{parts.scheme}://{host}", host=host)


def bucket_path(bucket: str) -> str:
    """Where the JSON API has the bucket's objects."""
    return f"/storage/v1/b/{encode(bucket)}/o"


def object_path(bucket: str, key: str) -> str:
    """Where the JSON API has one object."""
    return f"{bucket_path(bucket)}/{encode(key)}"


def upload_path(bucket: str) -> str:
    """Where the JSON API takes objects."""
    return f"/upload{bucket_path(bucket)}"


def xml_path(bucket: str, key: str) -> str:
    """Where the XML API has one object."""
    return f"/{encode(bucket)}/{encode_path(key)}"
