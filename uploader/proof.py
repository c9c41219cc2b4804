"""Whether the store has the bytes that were sent: its MD5 of them against ours.

Of one request, or of pieces, that is the MD5 of the whole. Of parts it is that of each, when it is sent, and in the
end that of all: the ETag of an object in parts is the MD5 of their MD5s and their count (S3; Ceph and R2 as well).

Three outcomes. The store's digest is ours: proved. It is another: sent again where that can be, else an error. The
store says nothing that could be compared – a key of KMS, an ETag of another shape, parts that an earlier command sent –
and then nothing is claimed.
"""

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field

import msgspec

from broker.contract import Checksum, Level, StoredObject
from uploader.checksums import declared
from uploader.errors import ContentMismatch
from uploader.place import Place
from uploader.sender import Answer
from uploader.source import Source
from uploader.witness import Witness, decoded_md5, plain_md5

MAX_CONTRADICTIONS = 3  # ours: bytes that thrice arrive as others do so for a reason that sending does not cure

WHOLE = 0  # where a part has its number
CONTRADICTION = "the store has received other bytes than were sent"


@dataclass(slots=True, kw_only=True)
class Proof:
    """Of one object.

    :ivar is_sought: hash what is sent. Without it only what was declared is compared.
    :ivar part_count: of an object in parts.
    """

    place: Place
    is_sought: bool = True
    part_count: int = field(init=False, default=0)
    _declared: bytes | None = field(init=False, default=None)
    _whole: bytes | None = field(init=False, default=None)
    _parts: dict[int, bytes] = field(init=False, default_factory=dict)
    _under_way: dict[int, Witness] = field(init=False, default_factory=dict)
    _contradictions: Counter[int] = field(init=False, default_factory=Counter)
    _has_agreed: bool = field(init=False, default=False)
    _is_taken: bool = field(init=False, default=False)
    _is_mute: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        checksum = self.place.session.checksum or Checksum()
        self._declared = decoded_md5(checksum.md5) if checksum.md5 else None

    def watched(self, source: Source, number: int = WHOLE) -> Source:
        """The same bytes, to be sent once; hashed, unless their MD5 is known, the store refuses all others, or it has
        answered parts without a word about them.
        """
        if not self.is_sought or self._is_mute or self._enforced or (number == WHOLE and self._declared):
            return source
        witness = self._under_way[number] = Witness(source)
        return witness

    def heard(self, answer: Answer, number: int = WHOLE) -> Answer:
        """The answer to these bytes. One that contradicts is as good as none: they are sent again.

        :raises ContentMismatch: that has no end, or the bytes are not sent again.
        """
        self._is_taken |= number == WHOLE and 200 <= answer.status < 300
        ours = self._noted(number)
        if not 200 <= answer.status < 300 or ours is None:
            return answer
        if answer.md5 is None:
            self._is_mute = number != WHOLE
            return answer
        if answer.md5 == ours:
            self._has_agreed = True
            return answer
        self._contradictions[number] += 1
        if number == WHOLE or self._contradictions[number] >= MAX_CONTRADICTIONS:
            raise ContentMismatch(_contradiction(number, ours, answer.md5))
        return msgspec.structs.replace(answer, status=0, code=CONTRADICTION, message="")

    def verdict(self) -> str | None:
        """What proves the object as the broker has verified it, or as the store has taken it: an algorithm, or None.

        :raises ContentMismatch: it is another than was sent.
        """
        stored = self.place.standing.stored or None
        if self._enforced:
            return "+".join(self._enforced) if stored or self._is_taken else None
        if not self.part_count:
            return self._verdict_on_whole(stored)
        return self._verdict_on_parts(stored.etag) if stored else None

    def _verdict_on_whole(self, stored: StoredObject | None) -> str | None:
        ours = self._declared or self._whole
        if ours is None or stored is None:
            return "md5" if ours and self._has_agreed else None
        shown = decoded_md5(stored.checksum.md5) if stored.checksum.md5 else None
        theirs = shown or plain_md5(stored.etag)
        if theirs == ours or (theirs is None and self._has_agreed):
            return "md5"
        if theirs and (shown or self._has_agreed):
            raise self._verified_as_another(_contradiction(WHOLE, ours, theirs))
        return None

    def _verdict_on_parts(self, etag: str) -> str | None:
        if len(self._parts) < self.part_count:
            return None
        digests = b"".join(self._parts[number] for number in sorted(self._parts))
        ours = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{self.part_count}"
        if etag == ours:
            return "md5"
        if self._has_agreed and re.fullmatch(rf"[0-9a-f]{{32}}-{self.part_count}", etag):
            raise self._verified_as_another(f"the object is not what was sent: its ETag is {etag}, and not {ours}")
        return None

    def _verified_as_another(self, why: str) -> ContentMismatch:
        session_id = self.place.session.id
        return ContentMismatch(f"{why}; the broker counts it as it is, until `uploader rm {session_id}` erases it")

    @property
    def _enforced(self) -> list[str]:
        """Declared digests without which the store takes nothing."""
        guarantees = self.place.standing.guarantees
        is_enforced = guarantees and guarantees.checksum is Level.ENFORCED
        return declared(self.place.session.checksum or Checksum()) if is_enforced else []

    def _noted(self, number: int) -> bytes | None:
        """The MD5 of what was sent. Of bytes that left only in part, that of an earlier time holds."""
        witness = self._under_way.get(number)
        md5 = witness.md5 if witness else None
        if number == WHOLE:
            self._whole = md5 or self._whole
            return self._declared or self._whole
        self._under_way.pop(number, None)
        if md5:
            self._parts[number] = md5
        return self._parts.get(number)


def _contradiction(number: int, ours: bytes, theirs: bytes) -> str:
    what = f"part {number}" if number else "the object"
    return f"{CONTRADICTION}: of {what} it has the MD5 {theirs.hex()}, and not {ours.hex()}"
