"""Writes HCL, the little of it that resources need: blocks, attributes, and `jsonencode` of a document.

Obeys the HCL Native Syntax Specification: "Structural Elements", "Template Expressions" (`${` and `%{` begin one, and
double their first character where they shall not), "Collection Values".
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from broker.setup.terms import BLANKS

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_BLANK = re.compile("|".join(sorted(BLANKS, key=len, reverse=True)))


@dataclass(frozen=True, slots=True)
class Expression:
    """Text that stands as it is: a reference, a call."""

    text: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document, to be written as JSON by Terraform."""

    document: object


Value = str | int | bool | Expression | Encoded | Sequence["Value"] | Mapping[str, "Value"]


@dataclass(frozen=True, slots=True)
class Block:
    """`labels` follow its kind; what stands in it is in order."""

    kind: str
    labels: tuple[str, ...] = ()
    attributes: Mapping[str, Value | None] = field(default_factory=dict)  # None is left out
    blocks: tuple["Block", ...] = ()


def hcl(blocks: Sequence[Block]) -> str:
    return "\n\n".join(_block(block, "") for block in blocks) + "\n"


def resource(kind: str, label: str, attributes: Mapping[str, Value | None], blocks: tuple[Block, ...] = ()) -> Block:
    return Block("resource", (kind, label), attributes, blocks)


def slug(name: str) -> str:
    """As a label may be spelled."""
    return re.sub(r"[^A-Za-z0-9_]", "_", name)


def variables_in(body: str) -> list[Block]:
    """A declaration of each variable that stands there for what nobody has told us."""
    return [
        Block(
            "variable",
            (blank.variable,),
            {"type": Expression("string"), "description": blank.meaning, "sensitive": blank.is_sensitive or None},
        )
        for blank in BLANKS.values()
        if re.search(rf"\bvar\.{blank.variable}\b", body)
    ]


def _block(block: Block, indent: str) -> str:
    head = " ".join([block.kind, *(json.dumps(label) for label in block.labels)])
    inner = f"{indent}  "
    given = {name: value for name, value in block.attributes.items() if value is not None}
    width = max(map(len, given), default=0)
    lines = [f"{inner}{name:<{width}} = {_value(value, inner)}" for name, value in given.items()]
    lines += [_block(each, inner) for each in block.blocks]
    if not lines:
        return f"{indent}{head} {{}}"
    return "\n".join([f"{indent}{head} {{", *lines, f"{indent}}}"])


def _value(value: object, indent: str) -> str:
    match value:
        case Expression():
            return value.text
        case Encoded():
            return f"jsonencode({_value(value.document, indent)})"
        case bool() | int():
            return str(value).lower()
        case str():
            return _text(value)
        case Mapping():
            return _object(value, indent)
        case Sequence():
            return _list(value, indent)
    raise TypeError(f"HCL has no {type(value).__name__}")


def _object(members: Mapping[str, object], indent: str) -> str:
    if not members:
        return "{}"
    inner = f"{indent}  "
    lines = [f"{inner}{_key(name)} = {_value(value, inner)}" for name, value in members.items()]
    return "\n".join(["{", *lines, f"{indent}}}"])


def _list(items: Sequence[object], indent: str) -> str:
    if all(isinstance(item, str | int | Expression) for item in items):
        return f"[{', '.join(_value(item, indent) for item in items)}]"
    inner = f"{indent}  "
    return "\n".join(["[", *(f"{inner}{_value(item, inner)}," for item in items), f"{indent}]"])


def _key(name: str) -> str:
    return name if _NAME.fullmatch(name) else _text(name)


def _text(text: str) -> str:
    """What nobody has told us is a variable, alone or within a text."""
    if text in BLANKS:
        return f"var.{BLANKS[text].variable}"
    escaped = json.dumps(text, ensure_ascii=False).replace("${", "$${").replace("%{", "%%{")
    return _BLANK.sub(lambda found: f"${{var.{BLANKS[found[0]].variable}}}", escaped)
