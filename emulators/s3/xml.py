"""Just enough XML: S3's answers are small trees of text, its request bodies too.

Source: https://docs.aws.amazon.com/AmazonS3/latest/API/Welcome.html (each action's "Response Syntax").
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final
from xml.etree import ElementTree as ET

from emulators.s3.errors import S3Error

NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION: Final = '<?xml version="1.0" encoding="UTF-8"?>\n'
_MARKUP: Final = re.compile(r"[&<>\x00-\x1f\x7f]")
_NAMES: Final = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}

Node = tuple[str, "str | Sequence[Node]"]


def text(value: str) -> str:
    """Escape, as S3 does it: control characters become references, though XML 1.0 forbids most of them."""
    return _MARKUP.sub(lambda match: _NAMES.get(match[0]) or f"&#x{ord(match[0]):x};", value)


def _write(node: Node) -> Iterator[str]:
    name, content = node
    yield f"<{name}>"
    if isinstance(content, str):
        yield text(content)
    else:
        for child in content:
            yield from _write(child)
    yield f"</{name}>"


def document(root: str, children: Sequence[Node], *, namespace: str | None = NAMESPACE) -> bytes:
    """One answer, declaration included."""
    opening = f'<{root} xmlns="{namespace}">' if namespace else f"<{root}>"
    body = "".join(part for child in children for part in _write(child))
    return f"{DECLARATION}{opening}{body}</{root}>".encode()


class Element:
    """A parsed element, read by local names: SDKs differ in whether they declare the namespace."""

    def __init__(self, element: "ET.Element") -> None:
        self._element = element
        self.name = element.tag.rpartition("}")[2]

    def all(self, name: str) -> list["Element"]:
        return [child for each in self._element if (child := Element(each)).name == name]

    def one(self, name: str) -> str | None:
        """The trimmed text of the first child of this name."""
        found = self.all(name)
        return found[0].content if found else None

    def raw(self, name: str) -> str | None:
        """As `one`, blanks and all: a key may begin or end with them."""
        found = self.all(name)
        return (found[0]._element.text or "") if found else None  # noqa: SLF001 - of its own class

    @property
    def content(self) -> str:
        return (self._element.text or "").strip()


def parse(body: bytes, root: str) -> Element:
    """Read a request body whose root must be `root`.

    :raises S3Error: MalformedXML.
    """
    if b"<!DOCTYPE" in body:
        raise S3Error("MalformedXML")
    try:
        element = Element(ET.fromstring(body))  # noqa: S314 - see the import
    except (ET.ParseError, ValueError, LookupError) as exc:
        raise S3Error("MalformedXML") from exc
    if element.name != root:
        raise S3Error("MalformedXML")
    return element
