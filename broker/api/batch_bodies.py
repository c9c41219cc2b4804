"""The body of a batch: cut into its items first, which are then read one by one: each can be wrong by itself."""

import re
from collections.abc import Iterator, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from broker.api.bodies import decoded, need_distinct_names, parsed
from broker.contract import MAX_BATCH, BatchItem, CreateUploadSession
from broker.domain.errors import BrokerError
from broker.services.mint_batch import Wish

_MOST_AT_ONCE = 32  # ours: items that are read in one piece, some 0.2 ms; or so many bytes of them
_MOST_BYTES_AT_ONCE = 32_768


class _Uncut(Struct, frozen=True, forbid_unknown_fields=True):
    """`CreateUploadSessions`, with its items as they were sent."""

    sessions: Annotated[list[msgspec.Raw], Meta(min_length=1, max_length=MAX_BATCH)]


_cut = msgspec.json.Decoder(_Uncut).decode
_decode_item = msgspec.json.Decoder(BatchItem).decode
_FIELDS = CreateUploadSession.__struct_fields__

_HEAD = re.compile(rb'\s*\{\s*"sessions"\s*:\s*\[\s*')
_BETWEEN = re.compile(rb"\s*,\s*")
_TAIL = re.compile(rb"\s*\]\s*\}\s*")


def items_of(body: bytes) -> list[bytes]:
    """:raises NotJson, InvalidInput: what stands around the items is not what it must be."""
    items = [bytes(item) for item in decoded(_cut, body).sessions]
    if not _is_all(body, items):
        need_distinct_names(body)
    return items


def wish_of(item: bytes, place: int) -> Wish:
    """:raises NotJson, InvalidInput: naming the field by its pointer in the body of the whole request."""
    read = parsed(_decode_item, item, at=f"/sessions/{place}")
    if read.idempotency_key is None:
        return Wish(read, None, read.is_announced)
    # As a call of its own would carry it: the two are the same request, so they must look the same.
    body = CreateUploadSession(**{name: getattr(read, name) for name in _FIELDS})
    return Wish(body, read.idempotency_key, read.is_announced)


def placed(error: BrokerError, place: int) -> BrokerError:
    """The same error about one item: its pointers lead into the body of the whole request."""
    if not error.errors:
        return error
    faults = tuple(replace(fault, pointer=f"/sessions/{place}{fault.pointer}") for fault in error.errors)
    return type(error)(error.detail, errors=faults)


def readable(items: Sequence[bytes]) -> Iterator[range]:
    """The places of items that may be read in one piece: some at a time, and a large one alone."""
    start = size = 0
    for place, item in enumerate(items):
        if place > start and (place - start == _MOST_AT_ONCE or size + len(item) > _MOST_BYTES_AT_ONCE):
            yield range(start, place)
            start, size = place, 0
        size += len(item)
    yield range(start, len(items))


def _is_all(body: bytes, items: Sequence[bytes]) -> bool:
    """Whether nothing but the items stands in `body`: no second `sessions`, of which the last would win."""
    end = 0
    found = _HEAD.match(body)
    for item in items:
        if found is None or not body.startswith(item, found.end()):
            return False
        end = found.end() + len(item)
        found = _BETWEEN.match(body, end)
    return _TAIL.fullmatch(body, end) is not None
