"""What signed requests of all stores have in common.

Obeys what the Amazon S3 API Reference (sigv4-query-string-auth) and the Cloud Storage documentation ("Canonical
requests") say alike of a canonical request: names and values percent-encoded in one way, header names in lower case
and sorted, blanks in header values folded, moments as whole seconds of UTC. What they say differently stays with each:
`s3.sigv4`, `gcs.v4`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Final, TypeVar
from urllib.parse import quote

import msgspec

_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
# Ours. One set of header names for each right and choice of metadata names, which clients make, a handful of
# credentials, each with two days around midnight: hence a bound, and the oldest goes.
_MAX_REMEMBERED: Final = 256
# S3 API Reference, sig-v4-header-based-auth, UriEncode(): these and no others stay as they are. RFC 3986 section 2.3.
_SAFE: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"
_SAFE_IN_PATH: Final = _SAFE + b"/"
_PERCENT: Final = [f"%{byte:02X}" for byte in range(256)]
_unsafe: Final = re.compile(r"[^A-Za-z0-9._~-]+")
_unsafe_in_path: Final = re.compile(r"[^A-Za-z0-9._~/-]+")
_RFC_8187_ATTR_CHAR: Final = "!#$&+-.^_`|~"  # RFC 8187 section 3.2.1, beside letters and digits

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


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
        query = "&".join(encoded_pairs(self.query))
        return f"{self.origin}{self.path}?{query}" if query else f"{self.origin}{self.path}"


class SignedNames(msgspec.Struct, frozen=True, kw_only=True):
    """The signed header names: sorted, joined by `;`, and that percent-encoded."""

    ordered: tuple[str, ...]
    text: str
    encoded: str


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


def remember(memory: dict[_Key, _Value], key: _Key, value: _Value) -> None:
    """Keep it, and forget the oldest where there are too many."""
    if len(memory) >= _MAX_REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value


def ordered_names(names: Iterable[str]) -> SignedNames:
    """:raises ValueError: a name with capitals or blanks."""
    ordered = tuple(sorted(names))
    text = ";".join(ordered)
    if text != text.lower() or text.split() != [text]:
        raise ValueError(f"header names are lower case and without blanks: {text!r}")
    return SignedNames(ordered=ordered, text=text, encoded=encode(text))


def canonical_headers(headers: Mapping[str, str], names: SignedNames) -> str:
    """Return the lines of a canonical request, without the end of the last one."""
    lines = [f"{name}:{headers[name]}" for name in names.ordered]
    text = "\n".join(lines)
    if text.split() == lines:  # no blanks anywhere
        return text
    # "Trimall": spaces around a value go, those inside fold to one.
    return "\n".join([f"{name}:{' '.join(headers[name].split())}" for name in names.ordered])


def encoded_pairs(query: Sequence[tuple[str, str]]) -> list[str]:
    """Return the members of a query, in the same order."""
    return [f"{encode(name)}={encode(value)}" for name, value in query]


def stamp_of(now: datetime) -> str:
    """Return the moment as signatures spell it, in whole seconds of UTC."""
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


def whole_seconds(now: datetime, ends: datetime, *, at_most: int) -> tuple[int, int]:
    """Return when a signature begins (epoch seconds) and how many seconds it lives: stores add the one to the other.

    Everything is rounded down, so that no request works longer than it says. When less than a second is left, the
    request is dated back and dead on arrival: the store then refuses what the caller may not permit any more.
    """
    start, end = int(now.timestamp()), int(ends.timestamp())
    return min(start, end - 1), min(max(end - start, 1), at_most)


def attachment(filename: str) -> str:
    """Return the disposition of what is to be saved under this name, whatever is in it."""
    # RFC 6266 with the extended notation of RFC 8187: every name survives, and none can end the header early.
    return f"attachment; filename*=UTF-8''{quote(filename, safe=_RFC_8187_ATTR_CHAR)}"
