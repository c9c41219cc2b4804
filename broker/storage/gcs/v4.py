"""Google's V4 signatures in the query (GOOG4-RSA-SHA256), without I/O and without a clock.

Obeys "V4 signing process with your own program" and "Canonical requests" of the Cloud Storage documentation. Where the
text leaves a choice we do what google-cloud-storage does (`Blob.generate_signed_url`), and properties hold us to it
byte for byte. Two differences are deliberate: nothing that is passed in is changed, and a signature lives for twelve
hours at most.

The key is elsewhere – IAM signs for service accounts – so a request is drafted here, signed there, and put together.
"""

import hashlib
from datetime import datetime
from typing import Final

import msgspec

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

# IAM Service Account Credentials API, signBlob: the key that signed is valid for at least 12 hours afterwards. Cloud
# Storage itself would take a week.
MAX_EXPIRES_SECONDS: Final = 43_200

_ALGORITHM: Final = "GOOG4-RSA-SHA256"


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A request that lacks only its signature: RSA, PKCS #1 v1.5, SHA-256 over `string_to_sign`."""

    string_to_sign: bytes
    url: str

    def signed(self, signature: bytes) -> str:
        return f"{self.url}&X-Goog-Signature={signature.hex()}"

    def __repr__(self) -> str:
        return "Draft(***)"


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    """What signer, moment, lifetime and header names determine: a part of the query, and the string's beginning."""

    query: str
    head: str


class GoogV4:
    """Drafts for any signer. What all requests of a second have in common is computed once."""

    __slots__ = ("_names", "_windows")

    def __init__(self) -> None:
        self._names: dict[tuple[str, ...], SignedNames] = {}
        self._windows: dict[tuple[str, str, int, str], _Window] = {}

    def draft(self, request: UnsignedRequest, *, signer: str, now: datetime, expires_seconds: int) -> Draft:
        """Return what permits `request` for `expires_seconds` from `now` (aware) on, once it is signed.

        :param signer: the e-mail address of the service account whose key will sign.
        :raises ValueError: a lifetime outside 1 to `MAX_EXPIRES_SECONDS`, a naive `now`, an ill-spelled header name.
        """
        if not 1 <= expires_seconds <= MAX_EXPIRES_SECONDS:
            raise ValueError(f"a signed URL lives 1 to {MAX_EXPIRES_SECONDS} seconds, not {expires_seconds}")
        headers = {**request.headers, "host": request.host}
        names = self._signed_names(headers)
        window = self._window(signer, stamp_of(now), expires_seconds, names)
        query = window.query
        if request.query:
            query = "&".join(sorted([*query.split("&"), *encoded_pairs(request.query)]))
        canonical = (
            f"{request.method}\n{request.path}\n{query}\n"
            f"{canonical_headers(headers, names)}\n\n{names.text}\nUNSIGNED-PAYLOAD"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        return Draft(string_to_sign=f"{window.head}{digest}".encode(), url=f"{request.origin}{request.path}?{query}")

    def _window(self, signer: str, stamp: str, expires_seconds: int, names: SignedNames) -> _Window:
        key = (signer, stamp, expires_seconds, names.text)
        window = self._windows.get(key)
        if window is None:
            window = _window_of(signer, stamp, expires_seconds, names)
            remember(self._windows, key, window)
        return window

    def _signed_names(self, headers: dict[str, str]) -> SignedNames:
        key = tuple(headers)
        names = self._names.get(key)
        if names is None:
            names = ordered_names(key)
            remember(self._names, key, names)
        return names


def _window_of(signer: str, stamp: str, expires_seconds: int, names: SignedNames) -> _Window:
    scope = f"{stamp[:8]}/auto/storage/goog4_request"
    return _Window(
        query=(
            f"X-Goog-Algorithm={_ALGORITHM}&X-Goog-Credential={encode(f'{signer}/{scope}')}&X-Goog-Date={stamp}"
            f"&X-Goog-Expires={expires_seconds}&X-Goog-SignedHeaders={names.encoded}"
        ),
        head=f"{_ALGORITHM}\n{stamp}\n{scope}\n",
    )
