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
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

import msgspec

from broker.domain.macs import Mac
from broker.storage.signing import (
    SignedNames,
    UnsignedRequest,
    canonical_headers,
    encode,
    encoded_pairs,
    ordered_names,
    remember,
    stamp_of,
)

UNSIGNED_PAYLOAD: Final = "UNSIGNED-PAYLOAD"
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
MAX_EXPIRES_SECONDS: Final = 604_800  # S3 API Reference, sigv4-query-string-auth, X-Amz-Expires: 1 to 604800

_ALGORITHM: Final = "AWS4-HMAC-SHA256"


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """Who signs. `expires_at` is None for keys that live until somebody revokes them."""

    access_key: str
    secret_key: str
    session_token: str | None = None
    expires_at: datetime | None = None

    def __repr__(self) -> str:
        return f"Credential(access_key={self.access_key!r}, secret_key=***, expires_at={self.expires_at!r})"


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
        self._names: dict[tuple[str, ...], SignedNames] = {}
        self._windows: dict[tuple[Credential, str, int, str], _Window] = {}

    def presign(self, request: UnsignedRequest, *, credential: Credential, now: datetime, expires_seconds: int) -> str:
        """Return the URL that permits `request` for `expires_seconds` from `now` (aware) on.

        :raises ValueError: a lifetime outside 1 to `MAX_EXPIRES_SECONDS`, a naive `now`, an ill-spelled header name.
        """
        _check_expires(expires_seconds)
        headers = {**request.headers, "host": request.host}
        names = self._signed_names(headers)
        window = self._window(credential, stamp_of(now), expires_seconds, names)
        url_query, canonical_query = window.url_query, window.canonical_query
        if request.query:
            pairs = encoded_pairs(request.query)
            url_query = f"{'&'.join(pairs)}&{url_query}"
            canonical_query = _canonical_query((*pairs, *canonical_query.split("&")))
        canonical = (
            f"{request.method}\n{request.path}\n{canonical_query}\n"
            f"{canonical_headers(headers, names)}\n\n{names.text}\n{UNSIGNED_PAYLOAD}"
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
        timestamp = stamp_of(now)
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
        timestamp = stamp_of(now)
        scope = self._scope(credential, timestamp[:8])
        headers = {**request.headers, "x-amz-content-sha256": payload_sha256, "x-amz-date": timestamp}
        if credential.session_token is not None:
            headers["x-amz-security-token"] = credential.session_token
        to_sign = {**headers, "host": request.host}
        names = self._signed_names(to_sign)
        canonical = (
            f"{request.method}\n{request.path}\n{_canonical_query(encoded_pairs(request.query))}\n"
            f"{canonical_headers(to_sign, names)}\n\n{names.text}\n{payload_sha256}"
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
            remember(self._scopes, (credential, day), scope)
        return scope

    def _window(self, credential: Credential, timestamp: str, expires_seconds: int, names: SignedNames) -> _Window:
        key = (credential, timestamp, expires_seconds, names.text)
        window = self._windows.get(key)
        if window is None:
            window = _window_of(self._scope(credential, timestamp[:8]), timestamp, expires_seconds, names)
            remember(self._windows, key, window)
        return window

    def _signed_names(self, headers: Mapping[str, str]) -> SignedNames:
        key = tuple(headers)
        names = self._names.get(key)
        if names is None:
            names = ordered_names(key)
            remember(self._names, key, names)
        return names


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


def _window_of(scope: _Scope, timestamp: str, expires_seconds: int, names: SignedNames) -> _Window:
    head = f"{scope.query_head}{timestamp}&X-Amz-Expires={expires_seconds}"
    signed = f"&X-Amz-SignedHeaders={names.encoded}"
    # Two spellings: botocore's URL ends with the token, the canonical form is sorted by name.
    return _Window(
        url_query=f"{head}{signed}{scope.query_token}",
        canonical_query=f"{head}{scope.query_token}{signed}",
        mac=scope.mac.after(_before_digest(timestamp, scope)),
    )


def _canonical_query(pairs: Iterable[str]) -> str:
    # By name, then value. Not by the whole pair: "=" sorts after "-", so "a=1" and "a-b=1" would change places.
    return "&".join(sorted(pairs, key=lambda pair: pair.partition("=")))


def _signature(canonical_request: str, mac: Mac) -> str:
    """:param mac: one that has begun with `_before_digest`."""
    return mac.hexdigest(hashlib.sha256(canonical_request.encode()).hexdigest().encode())


def _before_digest(timestamp: str, scope: _Scope) -> bytes:
    return f"{_ALGORITHM}\n{timestamp}\n{scope.text}\n".encode()


def _check_expires(seconds: int) -> None:
    if not 1 <= seconds <= MAX_EXPIRES_SECONDS:
        raise ValueError(f"a presigned URL lives 1 to {MAX_EXPIRES_SECONDS} seconds, not {seconds}")
