"""What a store's answer says of a resumable upload: how much of it is there.

Google Cloud Storage, "Perform resumable uploads": 308 with `Range: bytes=0-K` while it waits for the rest, without
`Range` while it has nothing; 200 or 201 when the object is complete; 404 or 410 when there is no such upload, 499 when
it was cancelled. A precondition of the object is judged at its end: 412.
"""

import re
from enum import Enum, auto

from uploader.sender import Answer, Next

GONE = frozenset({404, 410, 499})


class Heard(Enum):
    """An answer that does not name a number of bytes."""

    ENDED = auto()  # the object is there (2xx), or one that came before it (412): the broker's HEAD tells
    GONE = auto()  # nothing can be sent to this URL any more
    REFUSED = auto()  # the store will not take this, whatever it has
    UNCLEAR = auto()  # away, busy, or not understood: to be asked


def heard(answer: Answer, size_bytes: int) -> int | Heard:
    """How many bytes of an unfinished upload the store has, from the first on, or what else it says."""
    if answer.status == 308:
        return _kept(answer.range, size_bytes)
    if answer.status in GONE:
        return Heard.GONE
    match answer.next:
        case Next.CONFIRM:
            return Heard.ENDED
        case Next.REPEAT:
            return Heard.UNCLEAR
        case _:
            return Heard.REFUSED


def _kept(text: str | None, size_bytes: int) -> int | Heard:
    """All of it is no number to go on from: the object is about to be made, and the next question ends it."""
    if text is None:
        return 0 if size_bytes else Heard.UNCLEAR
    found = re.fullmatch(r"bytes=0-([0-9]{1,18})", text.strip())
    kept_bytes = int(found[1]) + 1 if found else size_bytes
    return kept_bytes if kept_bytes < size_bytes else Heard.UNCLEAR
