"""Names the field that is at fault: msgspec's sentences, and what msgspec does not say, as RFC 6901 pointers.

msgspec lets the last of two equal names win and calls a lone surrogate malformed. RFC 8259 sections 4 and 8.2 call both
unpredictable; here they are refused, with a pointer, as valid JSON that is not valid for us.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from broker.contract import FieldProblem

_AT = re.compile(r"(?P<text>.*?) - at (?:`key` in )?`(?P<where>\$[^`]*)`", re.DOTALL)
_NAMED = re.compile(r"Object (?P<fault>missing required|contains unknown) field `(?P<name>.*)`", re.DOTALL)
_STEP = re.compile(r"\.(?P<name>[A-Za-z0-9_]+)|\[(?P<index>\d+)\]")
_CODES = (
    (re.compile(r"Expected `.*`, got "), "wrong-type"),
    (re.compile(r"Expected `.*` of length "), "wrong-length"),
    (re.compile(r"Expected `.*` matching "), "wrong-format"),
    (re.compile(r"Expected `.*` [<>]|.* out of range"), "out-of-range"),
    (re.compile(r"Invalid enum value "), "not-permitted"),
)
# ours: json takes ten times as long as msgspec, some 20 ms for this much, so nobody may ask it about megabytes. A valid
# body of ours is larger by blanks only; there the last of two equal names wins, as msgspec reads it.
MAX_WALKED_BYTES = 131_072
_MAX_MESSAGE = 200  # ours: a sentence for people, not an echo of the body

# Without a backslash in the body, each string before a colon is a name, whole; so this finds every name.
_NAME = re.compile(rb'"([^"\\]*)"\s*:')


def escaped(name: str) -> str:
    """One reference token of a pointer: RFC 6901 section 3."""
    return name.replace("~", "~0").replace("/", "~1")


def field_problem(message: str) -> FieldProblem:
    """:param message: the text of a `msgspec.ValidationError`."""
    named = _NAMED.match(message)
    if named is not None:
        return _about_named(named)
    at = _AT.fullmatch(message)
    text, where = (at["text"], at["where"]) if at else (message, "$")
    code = next((code for pattern, code in _CODES if pattern.match(text)), "invalid")
    return FieldProblem(pointer=_pointer(where), code=code, message=_sentence(text))


def _about_named(named: re.Match[str]) -> FieldProblem:
    """An unknown name may be anything, even what looks like a place: the last one is believed."""
    name, where = named["name"], "$"
    before, mark, place = name.rpartition("` - at `$")
    if mark:
        name, where = before, f"${place}"
    pointer = f"{_pointer(where)}/{escaped(name)}"
    if named["fault"] == "contains unknown":
        return FieldProblem(pointer=pointer, code="unknown-field", message="there is no such field")
    return FieldProblem(pointer=pointer, code="missing", message="this field is required")


def _pointer(where: str) -> str:
    """`$.checksum.sha256` → `/checksum/sha256`. Of a map msgspec does not say which member: `$.metadata[...]`."""
    known = where.partition("[...]")[0]
    return "".join(f"/{step['name'] or step['index']}" for step in _STEP.finditer(known))


def _sentence(text: str) -> str:
    plain = text.replace("`", "")
    return plain if len(plain) <= _MAX_MESSAGE else f"{plain[:_MAX_MESSAGE]}…"


class _Object:
    """A JSON object with every member that was written, in order."""

    __slots__ = ("members",)

    def __init__(self, members: list[tuple[str, Any]]) -> None:
        self.members = members


def repeated_name(body: bytes) -> FieldProblem | None:
    """The first name that an object of `body`, which is valid JSON, gives twice."""
    if len(body) > MAX_WALKED_BYTES or (b"\\" not in body and _is_plain(body)):
        return None
    for pointer, value in _walk(body):
        if isinstance(value, _Object):
            seen: set[str] = set()
            for name, _ in value.members:
                if name in seen:
                    where = f"{pointer}/{escaped(name)}"
                    return FieldProblem(pointer=where, code="repeated", message="this name stands twice")
                seen.add(name)
    return None


def _is_plain(body: bytes) -> bool:
    """Whether no two names of `body`, which has no backslash, are equal. Mostly no two strings are: a quick look."""
    strings = body.split(b'"')[1::2]
    if len(set(strings)) == len(strings):
        return True
    names = _NAME.findall(body)
    return len(set(names)) == len(names)


def lone_surrogate(body: bytes) -> FieldProblem | None:
    """The first string of `body` that is no Unicode text, if `body` is JSON in all other respects.

    :raises ValueError, RecursionError: it is not.
    """
    if b"\\u" not in body or len(body) > MAX_WALKED_BYTES:
        return None
    for pointer, value in _walk(body):
        names = [name for name, _ in value.members] if isinstance(value, _Object) else []
        if any(_is_broken(text) for text in (value, *names)):
            return FieldProblem(pointer=pointer, code="not-unicode", message="a surrogate without its other half")
    return None


def _is_broken(value: Any) -> bool:
    return isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value)


def _walk(body: bytes) -> Iterator[tuple[str, Any]]:
    """Every value and its pointer. A stack of our own: nesting is the caller's choice."""
    todo: list[tuple[str, Any]] = [("", json.loads(body, object_pairs_hook=_Object, parse_constant=_not_json))]
    while todo:
        pointer, value = todo.pop()
        yield pointer, value
        if isinstance(value, _Object):
            todo.extend((f"{pointer}/{escaped(name)}", member) for name, member in reversed(value.members))
        elif isinstance(value, list):
            todo.extend((f"{pointer}/{index}", member) for index, member in reversed(list(enumerate(value))))


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
