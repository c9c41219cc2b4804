"""AWS Signature Version 4 for S3, without I/O and without a clock.

Obeys "Authenticating Requests (AWS Signature Version 4)" of the Amazon S3 API Reference: the page on query
parameters (sigv4-query-string-auth) for `presign`, the page on the Authorization header
(sig-v4-header-based-auth) for `authorize`. Where the text leaves a choice we do what botocore does
(S3SigV4QueryAuth, S3SigV4Auth), and properties hold us to it byte for byte: S3 and its relatives are tested by
their makers against exactly those bytes. One difference is deliberate: botocore leaves the content type
`application/x-www-form-urlencoded; charset=utf-8` out of what it presigns, because its own HTTP layer may have
added it. Here whatever the caller names is signed.

The broker signs several requests for each upload, so what only credential, day or the set of header names determine
is computed once: signing key (four HMACs), scope, sorted and encoded names; and once for all requests of a second that
live equally long – those of a batch – what the query says of them.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar

import msgspec

from broker.domain.macs import Mac

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
MAX_EXPIRES_SECONDS: Final = 604_800  # S3 API Reference, sigv4-query-string-auth, X-Amz-Expires: 1 to 604800

_ALGORITHM: Final = "AWS4-HMAC-SHA256"
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
# Ours. A handful of credentials, each with two days around midnight; one set of header names for each right and
# choice of metadata names, which clients make: hence a bound, and the oldest goes.
_MAX_REMEMBERED: Final = 256
# S3 API Reference, sig-v4-header-based-auth, UriEncode(): these and no others stay as they are.
_SAFE: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_SAFE_IN_PATH: Final = _SAFE + b"/"
_PERCENT: Final = [f"%{byte:02X}" for byte in range(256)]
_unsafe: Final = re.compile(r"[^A-Za-z0-9._~-]+")
_unsafe_in_path: Final = re.compile(r"[^A-Za-z0-9._~/-]+")

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs. `expires_at` is None for keys that live until somebody revokes them."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Credential(access_key={self.access_key!r}, secret_key=***, expires_at={self.expires_at!r})"


class UnsignedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be signed, spelled as it travels.

    `origin` is scheme and authority as they stand in the URL; `host` is the value of the Host header that a client
    derives from it (no default port). `path` is percent-encoded already (`encode_path`); `query` holds distinct
    names, not encoded; `headers` has names in lower case, without `host`.
    """

    method: str
    origin: str
    host: str
    path: str
    query: Sequence[tuple[str, str]] = ()
    headers: Mapping[str, str] = _NOTHING

    @property
    def url(self) -> str:
        """The URL without a signature."""
        query = "&".join(_encoded_pairs(self.query))
        return f"{self.origin}{self.path}?{query}" if query else f"{self.origin}{self.path}"


class _Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What credential and day determine."""

    text: str
    mac: Mac
    query_head: str
    query_token: str


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    """What scope, moment, lifetime and header names determine: how a query ends, in its two spellings."""

    url_query: str
    canonical_query: str
    mac: Mac  # has begun with all that stands before the digest


class _Names(msgspec.Struct, frozen=True, kw_only=True):
    """The signed header names: sorted, joined by `;`, and that percent-encoded."""

    ordered: tuple[str, ...]
    text: str
    encoded: str


class PartSeries:
    """Signs the parts of one multipart upload: everything is ready but part number and length."""

    __slots__ = ("_canonical", "_mac", "_url")

    def __init__(self, *, canonical: tuple[str, str, str], mac: Mac, url: tuple[str, str]) -> None:
        self._canonical = canonical
        self._mac = mac
        self._url = url

    def url(self, number: int, size_bytes: int) -> str:
        """Return the URL that permits a PUT of `size_bytes` as part `number`."""
        head, middle, tail = self._canonical
        signature = _signature(f"{head}{number}{middle}{size_bytes}{tail}", self._mac)
        before, after = self._url
        return f"{before}{number}{after}{signature}"


class SigV4:
    """Signs for one region and service, with any credential."""

    __slots__ = ("_names", "_region", "_scopes", "_service", "_windows")

    def __init__(self, *, region: str, service: str = "s3") -> None:
        self._region = region
        self._service = service
        self._scopes: dict[tuple[Credential, str], _Scope] = {}
        self._names: dict[tuple[str, ...], _Names] = {}
        self._windows: dict[tuple[Credential, str, int, str], _Window] = {}

    def presign(self, request: UnsignedRequest, *, credential: Credential, now: datetime, expires_seconds: int) -> str:
        """Return the URL that permits `request` for `expires_seconds` from `now` (aware) on.

        :raises ValueError: a lifetime outside 1 to `MAX_EXPIRES_SECONDS`, a naive `now`, an ill-spelled header name.
        """
        _check_expires(expires_seconds)
        headers = {**request.headers, "host": request.host}
        names = self._signed_names(headers)
        window = self._window(credential, _timestamp(now), expires_seconds, names)
        url_query, canonical_query = window.url_query, window.canonical_query
        if request.query:
            pairs = _encoded_pairs(request.query)
            url_query = f"{'&'.join(pairs)}&{url_query}"
            canonical_query = _canonical_query((*pairs, *canonical_query.split("&")))
        canonical = (
            f"{request.method}\n{request.path}\n{canonical_query}\n"
            f"{_canonical_headers(headers, names)}\n\n{names.text}\n{UNSIGNED_PAYLOAD}"
        )
        signature = _signature(canonical, window.mac)
        return f"{request.origin}{request.path}?{url_query}&X-Amz-Signature={signature}"

    def part_series(
        self,
        *,
        origin: str,
        host: str,
        path: str,
        upload_id: str,
        credential: Credential,
        now: datetime,
        expires_seconds: int,
    ) -> PartSeries:
        """Prepare what `presign` would give for every part: a PUT with partNumber, uploadId, and the length signed.

        :raises ValueError: as `presign`.
        """
        _check_expires(expires_seconds)
        timestamp = _timestamp(now)
        scope = self._scope(credential, timestamp[:8])
        head = f"{scope.query_head}{timestamp}&X-Amz-Expires={expires_seconds}"
        signed = "&X-Amz-SignedHeaders=content-length%3Bhost"
        upload = f"&uploadId={encode(upload_id)}"
        return PartSeries(
            canonical=(
                f"PUT\n{path}\n{head}{scope.query_token}{signed}&partNumber=",
                f"{upload}\ncontent-length:",
                f"\nhost:{host}\n\ncontent-length;host\n{UNSIGNED_PAYLOAD}",
            ),
            mac=scope.mac.after(_before_digest(timestamp, scope)),
            url=(
                f"{origin}{path}?partNumber=",
                f"{upload}&{head}{signed}{scope.query_token}&X-Amz-Signature=",
            ),
        )

    def authorize(
        self, request: UnsignedRequest, *, credential: Credential, now: datetime, payload_sha256: str
    ) -> dict[str, str]:
        """Return all headers to send with `request`, but `host`; the Authorization is among them.

        `payload_sha256` is the digest of the body in hex, or `UNSIGNED_PAYLOAD`.

        :raises ValueError: a naive `now`, an ill-spelled header name.
        """
        timestamp = _timestamp(now)
        scope = self._scope(credential, timestamp[:8])
        headers = {**request.headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": timestamp}
        if credential.session_token is not None:
            headers["x-amz-security-token"] = credential.session_token
        to_sign = {**headers, "host": request.host}
        names = self._signed_names(to_sign)
        canonical = (
            f"{request.method}\n{request.path}\n{_canonical_query(_encoded_pairs(request.query))}\n"
            f"{_canonical_headers(to_sign, names)}\n\n{names.text}\n{payload_sha256}"
        )
        signature = _signature(canonical, scope.mac.after(_before_digest(timestamp, scope)))
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={credential.access_key}/{scope.text}, "
            f"SignedHeaders={names.text}, Signature={signature}"
        )
        return headers

    def _scope(self, credential: Credential, day: str) -> _Scope:
        scope = self._scopes.get((credential, day))
        if scope is None:
            scope = _derive_scope(credential, day, self._region, self._service)
            _remember(self._scopes, (credential, day), scope)
        return scope

    def _window(self, credential: Credential, timestamp: str, expires_seconds: int, names: _Names) -> _Window:
        key = (credential, timestamp, expires_seconds, names.text)
        window = self._windows.get(key)
        if window is None:
            window = _window_of(self._scope(credential, timestamp[:8]), timestamp, expires_seconds, names)
            _remember(self._windows, key, window)
        return window

    def _signed_names(self, headers: Mapping[str, str]) -> _Names:
        key = tuple(headers)
        names = self._names.get(key)
        if names is None:
            names = _ordered_names(key)
            _remember(self._names, key, names)
        return names


def encode(text: str) -> str:
    """Percent-encode a query name or value, as UriEncode() of the S3 API Reference does."""
    return _unsafe.sub(_quote_match, text) if text.encode().translate(None, _SAFE) else text


def encode_path(text: str) -> str:
    """Percent-encode a path once: S3 keeps `/`, `//`, `.` and `..` as they stand, so must the signature."""
    unsafe = text.encode().translate(None, _SAFE_IN_PATH)
    if not unsafe:
        return text
    if not unsafe.strip(b" "):  # what most names of files have, if anything: a fifth of what the expression takes
        return text.replace(" ", "%20")
    return _unsafe_in_path.sub(_quote_match, text)


def _quote_match(match: re.Match[str]) -> str:
    # Only what needs it. Most texts need nothing, which deleting the safe bytes tells three times faster than any
    # regular expression.
    return "".join([_PERCENT[byte] for byte in match[0].encode()])


def _remember(memory: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    if len(memory) >= _MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value


def _derive_scope(credential: Credential, day: str, region: str, service: str) -> _Scope:
    key = f"AWS4{credential.secret_key}".encode()
    for part in (day, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    text = f"{day}/{region}/{service}/aws4_request"
    owner = encode(f"{credential.access_key}/{text}")
    token = credential.session_token
    return _Scope(
        text=text,
        mac=Mac(key),
        query_head=f"X-Amz-Algorithm={_ALGORITHM}&X-Amz-Credential={owner}&X-Amz-Date=",
        query_token="" if token is None else f"&X-Amz-Security-Token={encode(token)}",
    )


def _window_of(scope: _Scope, timestamp: str, expires_seconds: int, names: _Names) -> _Window:
    head = f"{scope.query_head}{timestamp}&X-Amz-Expires={expires_seconds}"
    signed = f"&X-Amz-SignedHeaders={names.encoded}"
    # Two spellings: botocore's URL ends with the token, the canonical form is sorted by name.
    return _Window(
        url_query=f"{head}{signed}{scope.query_token}",
        canonical_query=f"{head}{scope.query_token}{signed}",
        mac=scope.mac.after(_before_digest(timestamp, scope)),
    )


def _ordered_names(names: Iterable[str]) -> _Names:
    ordered = tuple(sorted(names))
    text = ";".join(ordered)
    if text != text.lower() or text.split() != [text]:
        raise ValueError(f"header names are lower case and without blanks: {text!r}")
    return _Names(ordered=ordered, text=text, encoded=encode(text))


def _canonical_headers(headers: Mapping[str, str], names: _Names) -> str:
    lines = [f"{name}:{headers[name]}" for name in names.ordered]
    text = "\n".join(lines)
    if text.split() == lines:  # no blanks anywhere
        return text
    # "Trimall": spaces around a value go, those inside fold to one.
    return "\n".join([f"{name}:{' '.join(headers[name].split())}" for name in names.ordered])


def _encoded_pairs(query: Sequence[tuple[str, str]]) -> list[str]:
    return [f"{encode(name)}={encode(value)}" for name, value in query]


def _canonical_query(pairs: Iterable[str]) -> str:
    # By name, then value. Not by the whole pair: "=" sorts after "-", so "a=1" and "a-b=1" would change places.
    return "&".join(sorted(pairs, key=lambda pair: pair.partition("=")))


def _timestamp(now: datetime) -> str:
    if now.tzinfo is not UTC:
        if now.utcoffset() is None:
            raise ValueError("signing needs an aware datetime")
        now = now.astimezone(UTC)
    return _spelled(now)


@lru_cache(maxsize=16)  # a second has one, and every signature of that second asks for it
def _spelled(now: datetime) -> str:
    # Percent formatting: half the time of an f-string or of strftime.
    parts = (now.year, now.month, now.day, now.hour, now.minute, now.second)
    return "%04d%02d%02dT%02d%02d%02dZ" % parts  # noqa: UP031


def _signature(canonical_request: str, mac: Mac) -> str:
    """:param mac: one that has begun with `_before_digest`."""
    return mac.hexdigest(hashlib.sha256(canonical_request.encode()).hexdigest().encode())


def _before_digest(timestamp: str, scope: _Scope) -> bytes:
    return f"{_ALGORITHM}\n{timestamp}\n{scope.text}\n".encode()


def _check_expires(seconds: int) -> None:
    if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
        raise ValueError(f"a presigned URL lives 1 to {MAX_EXPIRES_SECONDS} seconds, not {seconds}")
