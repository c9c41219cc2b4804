"""The query of a listing, and the cursor that leads from page to page.

A cursor is opaque and names a place: when the last session of its page was created, and its id. It is not signed,
because nothing is to be gained by another one: whatever it says, it is a place among the caller's own sessions.
"""

import base64
import binascii
import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qsl

import msgspec
from litestar import Request
from msgspec import Meta, Struct

from broker.api.pointers import escaped, field_problem
from broker.contract import MAX_BATCH, FieldProblem, Label, State
from broker.domain.errors import InvalidInput
from broker.ports import Position

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_PLACE = re.compile(r"([0-9a-f]{1,11})\.([0-9a-f]{2}[a-z2-7]{26})")  # hexadecimal milliseconds, until the year 2527


class ListingQuery(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand in it."""

    state: State | None = None
    batch: Label | None = None
    owner: Label | None = None
    limit: Annotated[int, Meta(ge=1, le=MAX_BATCH)] = 100
    cursor: Annotated[str, Meta(max_length=128)] | None = None


def read_query(request: Request[Any, Any, Any]) -> ListingQuery:
    """:raises InvalidInput: naming the parameter."""
    given: dict[str, str] = {}
    for name, value in _pairs(request.scope["query_string"]):
        if name in given:
            raise _refusal(FieldProblem(pointer=f"/{escaped(name)}", code="repeated", message="it stands twice"))
        given[name] = value
    try:
        return msgspec.convert(given, ListingQuery, strict=False)
    except msgspec.ValidationError as broken:
        raise _refusal(field_problem(str(broken))) from broken


def cursor_of(place: Position) -> str:
    text = f"{(place.created_at - _EPOCH_START) // _MILLISECOND:x}.{place.id}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def position_in(cursor: str) -> Position:
    """:raises InvalidInput: no listing gave it."""
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        found = _PLACE.fullmatch(base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii"))
    except (binascii.Error, UnicodeError):
        found = None
    if found is None:
        raise _refusal(FieldProblem(pointer="/cursor", code="cursor-invalid", message="no listing gave this cursor"))
    return Position(created_at=_EPOCH_START + int(found[1], 16) * _MILLISECOND, id=found[2])


def _pairs(query: bytes) -> list[tuple[str, str]]:
    """:raises InvalidInput: it is not UTF-8."""
    try:
        return parse_qsl(query.decode("ascii"), keep_blank_values=True, errors="strict")
    except ValueError as broken:
        raise InvalidInput("the query is not percent-encoded UTF-8") from broken


def _refusal(fault: FieldProblem) -> InvalidInput:
    """The pointer is into the query as if it were a flat object."""
    return InvalidInput(f"the query parameter {fault.pointer[1:]}: {fault.message}", errors=(fault,))
