"""Reads the XML of a store's answers, and trusts it no more than any other input.

S3 declares the namespace http://s3.amazonaws.com/doc/2006-03-01/, its relatives not always: elements are found by
local name (`{*}` of ElementTree). No answer of S3 has a document type; one that has is refused before its first
entity is read, which is what makes "billion laughs" and external entities possible (Python library reference, "XML
security"). How long an answer may be is the caller's limit.
"""

import re
from xml.etree import ElementTree as ET

_CODE = re.compile(r"[A-Za-z0-9]{1,64}")


class NotXml(ValueError):
    """The body is no XML that a store would send."""


class _WithoutDoctype(ET.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:  # noqa: ARG002
        raise NotXml


def parse(body: bytes, root: str) -> ET.Element:
    """Return the root, which has to be `root`.

    White space before the declaration is not XML, but keeps a connection alive while parts are put together.

    :raises NotXml:
    """
    element = _tree(body)
    if local(element.tag) != root:
        raise NotXml
    return element


def error_code(body: bytes) -> str:
    """Return the code of an `Error` document; empty when the body is none, or says nothing that can be repeated."""
    try:
        code = text(parse(body, "Error"), "Code")
    except NotXml:
        return ""
    return code if _CODE.fullmatch(code) else ""


def text(element: ET.Element, name: str) -> str:
    """Return the trimmed text of the first child of this name; empty where there is none."""
    return (element.findtext(f"{{*}}{name}") or "").strip()


def number(element: ET.Element, name: str) -> int:
    """:raises NotXml: there is no such child, or no number in it."""
    digits = text(element, name)
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 20):
        raise NotXml
    return int(digits)


def etag(value: str) -> str:
    """Return an entity tag without its quotes: stores give it with and without."""
    return value.strip().removeprefix("W/").strip('"')


def _tree(body: bytes) -> ET.Element:
    parser = ET.XMLParser(target=_WithoutDoctype())  # noqa: S314 - guarded as told above
    try:
        parser.feed(body.lstrip())
        element: ET.Element = parser.close()
    except (ET.ParseError, ValueError, LookupError) as exc:  # what expat, its decoding and unknown encodings raise
        raise NotXml from exc
    return element


def local(tag: str) -> str:
    """Return the name of an element without its namespace."""
    return tag.rpartition("}")[2]
