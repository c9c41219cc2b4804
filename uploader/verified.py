"""What there is to read of one session, and whether bytes are that."""

import base64
import hashlib
from dataclasses import dataclass
from io import FileIO

from broker.contract import Checksum, State, UploadSession
from uploader.witness import plain_md5

PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What there is to read of one session.

    :ivar stored_md5: what the store says of it, as the broker has seen it.
    :ivar etag: the same, if it is one.
    :ivar destinations: where, the first choice first. None: the broker decides.
    """

    session_id: str
    size_bytes: int
    checksum: Checksum
    stored_md5: str | None = None
    etag: str = ""
    destinations: tuple[str | None, ...] = (None,)

    @classmethod
    def of(cls, session: UploadSession, destination: str | None = None) -> "Verified":
        """:param destination: of a fan-out the copy to read. Without it all that are verified are tried in turn."""
        copies = [copy.destination for copy in session.copies or [] if copy.state is State.VERIFIED]
        return cls(
            session_id=session.id,
            size_bytes=session.stored.size_bytes if session.stored else session.size_bytes,
            checksum=session.checksum or Checksum(),
            stored_md5=session.stored.checksum.md5 if session.stored else None,
            etag=session.stored.etag if session.stored else "",
            destinations=(destination,) if destination is not None else (*copies,) or (None,),
        )


class Proof:
    """A digest that is known, computed along the way. An ETag that looks like an MD5 may be another thing: if it is the
    MD5, that proves the bytes; if not, nothing.
    """

    def __init__(self, algorithm: str | None, known: str, source: str = "") -> None:
        self.algorithm = algorithm
        self.source = source
        self._known = known
        self.restart()

    @classmethod
    def of(cls, verified: Verified) -> "Proof":
        checksum = verified.checksum
        if checksum.sha256:
            return cls("sha256", checksum.sha256, "declared")
        if checksum.md5:
            return cls("md5", checksum.md5, "declared")
        if verified.stored_md5:
            return cls("md5", verified.stored_md5, "verified")
        guess = plain_md5(verified.etag)
        return cls("md5", base64.b64encode(guess).decode()) if guess else cls(None, "")

    @property
    def proved(self) -> str | None:
        return self.algorithm if self._is_equal() else None

    def restart(self) -> None:
        self._digest = hashlib.new(self.algorithm, usedforsecurity=False) if self.algorithm else None

    def prime(self, left: FileIO) -> None:
        """Blocks while it reads what an earlier run has left, to its end."""
        left.seek(0)
        while piece := left.read(PIECE_BYTES):
            self.update(piece)

    def update(self, piece: bytes) -> None:
        if self._digest is not None:
            self._digest.update(piece)

    def is_right(self) -> bool:
        """True as well when there is nothing certain to compare with."""
        return not self.source or self._is_equal()

    def _is_equal(self) -> bool:
        return self._digest is not None and base64.b64encode(self._digest.digest()).decode() == self._known
