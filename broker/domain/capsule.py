"""The bucket as second witness: a session sealed into its own object's metadata.

An event or listing for an id that the ledger lost is believed when the object carries a valid capsule: the broker
signed that request for exactly this key. Sealed with AES-SIV (RFC 5297), which needs no nonce: the plain text holds a
random id, the same session always seals to the same capsule, and a fresh URL therefore carries the same header.
"""

import base64
import binascii
from collections.abc import Iterator, Sequence
from datetime import datetime

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from msgspec import Struct
from msgspec.structs import replace

from broker.contract import CHECKSUM_ALGORITHMS, Checksum
from broker.domain.objects import CAPSULE_FIELD, UploadSpec, declared
from broker.domain.sessions import Facts
from broker.domain.tokens import derive

MAX_CAPSULE_BYTES = 512  # ours: S3 allows 2 KB of user metadata, half of which is the client's
_MAX_PLAIN_BYTES = MAX_CAPSULE_BYTES // 4 * 3 - 16  # what fits into base64 beside the synthetic IV

_NO_DIGESTS: tuple[bytes | None, ...] = (None,) * len(CHECKSUM_ALGORITHMS)


class Capsule(Struct, frozen=True, kw_only=True, array_like=True):
    """What a lost session can be rebuilt from. `metadata` is left out where it would not fit.

    That of a copy says which session it serves, how many copies that one needs, and where the others are – unless that
    would not fit.
    """

    id: str
    principal: str
    created_at: datetime
    expires_at: datetime
    size_bytes: int
    content_type: str
    digests: tuple[bytes | None, ...]  # raw, in the order of CHECKSUM_ALGORITHMS
    owner: str | None = None
    batch: str | None = None
    metadata: dict[str, str] = {}
    copy_of: str = ""
    required: int = 0
    destinations: tuple[str, ...] = ()


def capsule_of(session_id: str, facts: Facts) -> Capsule:
    given = declared(facts.spec.checksum)
    return Capsule(
        id=session_id,
        principal=facts.principal,
        created_at=facts.created_at,
        expires_at=facts.expires_at,
        size_bytes=facts.spec.size_bytes,
        content_type=facts.spec.content_type,
        digests=_digests(given) if given else _NO_DIGESTS,
        owner=facts.owner,
        batch=facts.batch,
        metadata=facts.metadata,
        copy_of=facts.copy_of,
        required=facts.required,
        destinations=facts.destinations,
    )


def _digests(given: dict[str, str]) -> tuple[bytes | None, ...]:
    return tuple(base64.b64decode(given[name]) if name in given else None for name in CHECKSUM_ALGORITHMS)


def spec_of(capsule: Capsule, *, filename: str, object_metadata: dict[str, str]) -> UploadSpec:
    """The spec that was sealed; name and object metadata stand on the object itself."""
    digests = zip(CHECKSUM_ALGORITHMS, capsule.digests, strict=True)
    checksum = Checksum(**{name: base64.b64encode(raw).decode() for name, raw in digests if raw is not None})
    return UploadSpec(
        filename=filename,
        size_bytes=capsule.size_bytes,
        content_type=capsule.content_type,
        checksum=checksum,
        object_metadata={k: v for k, v in object_metadata.items() if k != CAPSULE_FIELD},
    )


def _smaller(capsule: Capsule) -> Iterator[Capsule]:
    """First whole, then without what a lost session can do without."""
    yield capsule
    yield replace(capsule, metadata={})
    yield replace(capsule, metadata={}, owner=None, batch=None)
    yield replace(capsule, metadata={}, owner=None, batch=None, destinations=())


class CapsuleSealer:
    """Seals with the first key, opens with any.

    :param keys: secrets of at least 32 bytes, newest first.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = [AESSIV(derive(key, b"capsule", length=64)) for key in keys]
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(Capsule).decode

    def seal(self, capsule: Capsule, *, bucket: str, key: str) -> str:
        """Bound to the place: a capsule copied onto another object opens nowhere. At most 512 ASCII characters."""
        place = [f"{bucket}/{key}".encode()]
        for candidate in _smaller(capsule):
            data = self._encode(candidate)
            if len(data) <= _MAX_PLAIN_BYTES:
                return base64.urlsafe_b64encode(self._ciphers[0].encrypt(data, place)).decode()
        raise AssertionError("the smallest capsule of a bounded spec always fits")

    def open(self, sealed: str, *, bucket: str, key: str) -> Capsule | None:
        """The capsule, or None when it is not ours, not of this place, or was touched."""
        place = [f"{bucket}/{key}".encode()]
        try:
            data = base64.b64decode(sealed, altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        for cipher in self._ciphers:
            try:
                return self._decode(cipher.decrypt(data, place))
            except (InvalidTag, ValueError):
                continue
        return None
