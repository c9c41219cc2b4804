"""Where Google Cloud Storage answers, and under which paths.

Obeys "Request endpoints" and "Encoding URI path parts" of the Cloud Storage documentation: in the JSON API an object's
name is one segment of the path (its slashes are %2F), in the XML API, which signed URLs go to, its slashes separate.
Buckets stand in the path, never in the host: their names may hold dots, for which no certificate is made.
"""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote, urlsplit

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """`origin` begins every URL, `host` is what clients send as Host (no default port)."""

    origin: str
    host: str

    @classmethod
    def of(cls, url: str) -> Self:
        """:raises ValueError: no such address is possible; the text says what to configure instead."""
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(f"endpoint {url!r} must be http://host or https://host, with a port where needed")
        if parts.username is not None or parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError("an endpoint carries no user, path, query or fragment")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        if parts.port not in {None, _DEFAULT_PORTS[parts.scheme]}:
            host = f"{host}:{parts.port}"
        return cls(origin=f"{parts.scheme}://{host}", host=host)


def bucket_path(bucket: str) -> str:
    """Where the JSON API has the bucket's objects."""
    return f"/storage/v1/b/{_segment(bucket)}/o"


def object_path(bucket: str, key: str) -> str:
    """Where the JSON API has one object."""
    return f"{bucket_path(bucket)}/{_segment(key)}"


def upload_path(bucket: str) -> str:
    """Where the JSON API takes objects."""
    return f"/upload{bucket_path(bucket)}"


def xml_path(bucket: str, key: str) -> str:
    """Where the XML API has one object."""
    return f"/{_segment(bucket)}/{quote(key, safe='/~')}"


def _segment(text: str) -> str:
    return quote(text, safe="~")
