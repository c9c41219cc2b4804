"""What stands in the note at `{prefix}/.broker`, whatever store keeps it."""

from datetime import datetime
from typing import Final

import msgspec
from msgspec import Struct

from broker.domain.errors import StoreRefused

_PRODUCT: Final = "upload-broker"


class _Note(Struct, frozen=True, kw_only=True):
    id: str
    written_at: datetime
    product: str


def note_of(store_id: str, *, now: datetime) -> bytes:
    """Write a note that `read_note` reads."""
    return msgspec.json.encode(_Note(id=store_id, written_at=now, product=_PRODUCT))


def read_note(body: bytes, key: str) -> str:
    """Return the store id that is noted under `key`.

    :raises StoreRefused: what is there is no such note.
    """
    try:
        note = msgspec.json.decode(body, type=_Note)
    except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
        raise _foreign(key) from exc
    if note.product != _PRODUCT or not note.id:
        raise _foreign(key)
    return note.id


def _foreign(key: str) -> StoreRefused:
    return StoreRefused(f"{key} is no note of a broker: whoever put it there must move it")
