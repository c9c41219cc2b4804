"""One request as it was received, split but never re-encoded: what was signed is verified over these very bytes.

Paths: https://cloud.google.com/storage/docs/request-endpoints, both APIs under one host, buckets in the path.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Literal
from urllib.parse import unquote_plus, unquote_to_bytes

from emulators.gcs.errors import GcsError

MAX_NAME_BYTES: Final = 1024  # https://cloud.google.com/storage/docs/objects#naming: 1 to 1,024 bytes in UTF-8

Api = Literal["json", "xml"]
_JSON_ROOTS: Final = ("/storage/v1/", "/upload/storage/v1/", "/download/storage/v1/")


@dataclass(frozen=True, kw_only=True)
class Target:
    """What a path names. `kind` is the collection (`o`) or the thing in it (`o/NAME`), behind its root if not the
    plain one (`upload:o`); of the XML API it is `xml` or `xml/NAME`."""

    api: Api
    kind: str
    bucket: str = ""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class GcsRequest:
    """`headers` are lower-cased names with their values in order of arrival, bytes read as latin-1."""

    method: str
    raw_path: str = field(repr=False)
    raw_query: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    target: Target
    source_ip: str

    @property
    def api(self) -> Api:
        return self.target.api

    def header(self, name: str) -> str | None:
        """The value of a header; repeated ones are joined as HTTP joins them."""
        return self.joined_headers.get(name)

    @cached_property
    def joined_headers(self) -> Mapping[str, str]:
        joined: dict[str, str] = {}
        for name, value in self.headers:
            joined[name] = f"{joined[name]},{value}" if name in joined else value
        return joined

    @cached_property
    def params(self) -> Mapping[str, str]:
        """Decoded query parameters, the first of each name."""
        found: dict[str, str] = {}
        for name, value in raw_pairs(self.raw_query):
            found.setdefault(unquote_plus(name), unquote_plus(value))
        return found

    def all_params(self, name: str) -> list[str]:
        return [unquote_plus(value) for each, value in raw_pairs(self.raw_query) if unquote_plus(each) == name]

    @property
    def upload_id(self) -> str | None:
        return self.params.get("upload_id")

    @property
    def origin(self) -> str | None:
        return self.header("origin")


def raw_pairs(raw_query: str) -> list[tuple[str, str]]:
    """Name and value of each query parameter, still encoded."""
    return [(name, value) for part in raw_query.split("&") if part for name, _, value in (part.partition("="),)]


def parse(*, method: str, target: str, raw_headers: Iterable[tuple[bytes, bytes]], source_ip: str) -> GcsRequest:
    """Split a request line and its headers.

    :raises GcsError: BadRequest, InvalidURI.
    """
    raw_path, _, raw_query = target.partition("?")
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw_headers)
    if sum(name == "host" for name, _ in headers) != 1 or not raw_path.startswith("/"):
        raise GcsError("BadRequest", "An absolute path and exactly one Host header are needed.")
    return GcsRequest(
        method=method,
        raw_path=raw_path,
        raw_query=raw_query,
        headers=headers,
        target=_target(raw_path),
        source_ip=source_ip,
    )


def _target(raw_path: str) -> Target:
    for root in _JSON_ROOTS:
        if raw_path.startswith(root):
            prefix = root.split("/")[1]
            return _json_target("" if prefix == "storage" else f"{prefix}:", raw_path.removeprefix(root).split("/"))
    bucket, _, key = raw_path[1:].partition("/")
    return Target(api="xml", kind="xml/NAME" if key else "xml", bucket=_decode(bucket), name=_decode(key))


def _json_target(prefix: str, parts: list[str]) -> Target:
    match parts:
        case ["b", bucket] if bucket:
            return Target(api="json", kind=f"{prefix}b/NAME", bucket=_decode(bucket))
        case ["b", bucket, "iam", "testPermissions"]:
            return Target(api="json", kind=f"{prefix}testPermissions", bucket=_decode(bucket))
        case ["b", bucket, ("o" | "notificationConfigs") as collection]:
            return Target(api="json", kind=f"{prefix}{collection}", bucket=_decode(bucket))
        case ["b", bucket, ("o" | "notificationConfigs") as collection, name] if name:
            kind = f"{prefix}{collection}/NAME"
            return Target(api="json", kind=kind, bucket=_decode(bucket), name=_decode(name))
        case ["projects", project, "serviceAccount"]:
            return Target(api="json", kind=f"{prefix}serviceAccount", name=_decode(project))
    return Target(api="json", kind=f"{prefix}unknown")


def _decode(raw: str) -> str:
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as exc:
        raise GcsError("InvalidURI") from exc


def check_name(name: str) -> str:
    """An object's name that may be written.

    :raises GcsError: InvalidArgument, KeyTooLong.
    """
    if not name:
        raise GcsError("InvalidArgument", "Required object name.")
    if len(name.encode()) > MAX_NAME_BYTES:
        raise GcsError("KeyTooLong", "The maximum object length is 1024 characters, but got a name with more.")
    if name in {".", ".."} or name.startswith(".well-known/acme-challenge/") or "\r" in name or "\n" in name:
        raise GcsError("InvalidArgument", "Disallowed unicode characters present in object name.")
    return name
