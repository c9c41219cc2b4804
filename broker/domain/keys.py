"""Session ids and object keys: `{prefix}/{session id}/{safe filename}`.

A file name never steers the path. The id is its shard (two hex digits) and 26 random digits in base 32 (130 bits), so a
key that an attacker can name is never one that a session will get.
"""

import hashlib
import re
import secrets
import unicodedata

MAX_FILENAME_BYTES = 255  # common file systems (ext4, XFS, NTFS): a download must be storable
MAX_KEY_BYTES = 1_024  # S3 "Naming Amazon S3 objects": at most 1,024 bytes of UTF-8
SHARDS_LIMIT = 256  # two hex digits

MARK_NAME = ".broker"  # ours: no session id, so no hint and no listing takes it for an upload

_DIGITS = "abcdefghijklmnopqrstuvwxyz234567"
_DIGIT_OF = (_DIGITS * 8).encode()  # of each byte: 256 is eight times 32, so all are equally likely
_ID = re.compile(r"[0-9a-f]{2}[a-z2-7]{26}")
# Separators, and characters that URL parsers, shells and terminals read as syntax.
_UNSAFE = frozenset('/\\:*?"<>|\x7f')
_UNSAFE_ASCII = re.compile(r"""[\x00-\x1f\x7f/\\:*?"<>|]""")  # the same and Cc: all that is unsafe in ASCII
_EDGES = " ._"  # hidden files, trailing dots that file systems drop, and what our own replacements leave there
# Cc control, Cf format (bidi overrides, zero width), Cs surrogate, Co private, Cn unassigned, Zl/Zp line breaks.
_UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def new_session_id(shard: int) -> str:
    """A fresh id on `shard` (0 … 255)."""
    return f"{shard:02x}{secrets.token_bytes(26).translate(_DIGIT_OF).decode()}"


def is_session_id(text: str) -> bool:
    return _ID.fullmatch(text) is not None


def shard_of(session_id: str) -> str:
    """The two hex digits that every ledger key of this session carries as its hash tag."""
    return session_id[:2]


def shard_for(principal: str, idempotency_key: str, shards: int) -> int:
    """The shard where a session and its idempotency record meet."""
    digest = hashlib.sha256(f"{principal}\0{idempotency_key}".encode()).digest()
    return int.from_bytes(digest[:4], "big") % shards


def safe_filename(filename: str) -> str:
    r"""The name as the last segment of a key: Unicode survives, syntax does not.

    >>> safe_filename("../../etc/pass\u202ewd")
    'etc_pass_wd'
    """
    if filename.isascii():
        text = _UNSAFE_ASCII.sub("_", filename)
    else:
        text = unicodedata.normalize("NFC", filename)
        text = "".join("_" if c in _UNSAFE or unicodedata.category(c) in _UNSAFE_CATEGORIES else c for c in text)
    if ".." in text:
        text = re.sub(r"\.\.+", ".", text)
    text = text.strip(_EDGES) or "file"
    return _bounded(text, MAX_FILENAME_BYTES)


def object_key(prefix: str, session_id: str, filename: str) -> str:
    return f"{prefix}/{session_id}/{safe_filename(filename)}" if prefix else f"{session_id}/{safe_filename(filename)}"


def mark_key(prefix: str) -> str:
    """Where a destination's note lies that says whose ledger knows its objects."""
    return f"{prefix}/{MARK_NAME}" if prefix else MARK_NAME


def session_id_in(prefix: str, key: str) -> str | None:
    """The id in a key of ours under `prefix`, or None when the key is not of our making."""
    rest = key.removeprefix(f"{prefix}/") if prefix else key
    if prefix and rest == key:
        return None
    session_id, _, filename = rest.partition("/")
    return session_id if filename and is_session_id(session_id) else None


def _bounded(name: str, limit: int) -> str:
    """Cuts the stem, so that the extension – what a processor may go by – survives."""
    if len(name.encode()) <= limit:
        return name
    stem, dot, extension = name.rpartition(".")
    tail = f"{dot}{extension}".encode() if stem and len(extension.encode()) <= 32 else b""
    head = (stem if tail else name).encode()[: limit - len(tail)]
    # Cut next to a dot, a blank or an underscore, the name would get a second one there.
    return head.decode(errors="ignore").rstrip(_EDGES) + tail.decode()
