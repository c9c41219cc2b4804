"""`Content-Range` of an upload: which bytes these are, or a question how many there are.

Source: https://cloud.google.com/storage/docs/performing-resumable-uploads; RFC 9110 section 14.4.
"""

import re
from dataclasses import dataclass
from typing import Final

from emulators.gcs.errors import GcsError
from emulators.gcs.intake import size_of
from emulators.gcs.request import GcsRequest

_CHUNK: Final = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)")
_QUESTION: Final = re.compile(r"bytes \*/([0-9]{1,19}|\*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """No bytes; `total` is how many there shall be, if the client knows."""

    total: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Bytes from `first` to before `end`."""

    first: int
    end: int
    total: int | None

    @property
    def size_bytes(self) -> int:
        return self.end - self.first

    @property
    def is_last(self) -> bool:
        return self.end == self.total


def content_range(request: GcsRequest) -> Chunk | Question:
    """What the request says that it brings; without the header, all there is.

    :raises GcsError: InvalidArgument, MissingContentLength.
    """
    text, size_bytes = request.header("content-range"), size_of(request)
    if text is None:
        return _whole(size_bytes)
    if question := _QUESTION.fullmatch(text):
        if size_bytes:
            raise GcsError("InvalidArgument", f"Content-Range {text} comes without a body.")
        return Question(total=_total(question[1]))
    match = _CHUNK.fullmatch(text)
    if match is None:
        raise GcsError("InvalidArgument", f"Failed to parse Content-Range header {text!r}.")
    chunk = Chunk(first=int(match[1]), end=int(match[2]) + 1, total=_total(match[3]))
    if chunk.end <= chunk.first or (chunk.total is not None and chunk.end > chunk.total):
        raise GcsError("InvalidArgument", f"Content-Range {text} contradicts itself.")
    if size_bytes is not None and size_bytes != chunk.size_bytes:
        details = f"Content-Range {text} is {chunk.size_bytes} bytes, Content-Length says {size_bytes}."
        raise GcsError("InvalidArgument", details)
    return chunk


def _whole(size_bytes: int | None) -> Chunk | Question:
    if size_bytes is None:
        raise GcsError("MissingContentLength")
    return Chunk(first=0, end=size_bytes, total=size_bytes) if size_bytes else Question(total=0)


def _total(text: str) -> int | None:
    return None if text == "*" else int(text)
