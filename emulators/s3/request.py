"""One request as it was received, split but never re-encoded: what was signed is verified over these very bytes.

Addressing: https://docs.aws.amazon.com/AmazonS3/latest/userguide/VirtualHosting.html – path style
(`/bucket/key`) and virtual-host style (`bucket.s3.localhost`).
"""

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final
from urllib.parse import unquote_plus, unquote_to_bytes

from emulators.s3.errors import S3Error

MAX_KEY_BYTES: Final = 1024  # S3 "Creating object key names": the UTF-8 encoding is at most 1,024 bytes


@dataclass(frozen=True, kw_only=True)
class S3Request:
    """`headers` are lower-cased names with their values in order of arrival, bytes read as latin-1."""

    method: str
    raw_path: str = field(repr=False)
    raw_query: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    bucket: str | None
    key: str | None
    is_virtual_host: bool
    source_ip: str

    def header(self, name: str) -> str | None:
        """The value of a header; repeated ones are joined as HTTP and SigV4 join them."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> Mapping[str, str]:
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

    @property
    def resource(self) -> str:
        return f"/{self.bucket or ''}" + (f"/{self.key}" if self.key is not None else "")


def raw_pairs(raw_query: str) -> list[tuple[str, str]]:
    """Name and value of each query parameter, still encoded."""
    return [(name, value) for part in raw_query.split("&") if part for name, _, value in (part.partition("="),)]


def parse(
    *,
    method: str,
    target: str,
    raw_headers: Iterable[tuple[bytes, bytes]],
    domains: tuple[str, ...],
    source_ip: str,
) -> S3Request:
    """Split a request line and its headers.

    :raises S3Error: InvalidURI, KeyTooLongError, BadRequest.
    """
    raw_path, _, raw_query = target.partition("?")
    headers = tuple((name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in raw_headers)
    hosts = [value for name, value in headers if name == "host"]
    if len(hosts) != 1 or not raw_path.startswith("/"):
        raise S3Error("BadRequest", "An absolute path and exactly one Host header are needed.")
    from_host = bucket_of_host(hosts[0], domains)
    bucket, key = _split(raw_path, from_host)
    return S3Request(
        method=method,
        raw_path=raw_path,
        raw_query=raw_query,
        headers=headers,
        bucket=bucket,
        key=key,
        is_virtual_host=from_host is not None,
        source_ip=source_ip,
    )


def bucket_of_host(host: str, domains: tuple[str, ...]) -> str | None:
    """The bucket that a Host header names; none for a bare domain or an address, which mean path style."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.lower()
    if name in domains or _is_address(name):
        return None
    for domain in domains:
        if name.endswith(f".{domain}"):
            return name.removesuffix(f".{domain}")
    return None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _split(raw_path: str, from_host: str | None) -> tuple[str | None, str | None]:
    if from_host is not None:
        return from_host, _decode_key(raw_path[1:])
    bucket, _, key = raw_path[1:].partition("/")
    return _decode(bucket) or None, _decode_key(key)


def _decode_key(raw: str) -> str | None:
    if not raw:
        return None
    key = _decode(raw)
    if len(key.encode()) > MAX_KEY_BYTES:
        raise S3Error("KeyTooLongError", fields={"MaxSizeAllowed": str(MAX_KEY_BYTES)})
    return key


def _decode(raw: str) -> str:
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode()
    except UnicodeDecodeError as exc:
        raise S3Error("InvalidURI") from exc
