"""What the worker tells its operator: one line per state change, to stderr, as text or JSON.

No signed URL, token or key ever comes here: callers give codes, ids and numbers, and texts that `scrub` has seen.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

Value = str | int | float | None
Format = Literal["text", "json"]

MAX_TEXT = 300  # ours: a reason is a sentence, not a dump

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://\S+")
_SECRET = re.compile(r"(?i)\b(bearer\s+|ub_)\S+|\b(x-amz-|x-goog-|sig|signature|token|key)[\w-]*=\S+")
_PLAIN = re.compile(r"[\w.:/+@-]+", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """`write` takes one finished line."""

    write: Callable[[str], object]
    now: Callable[[], datetime]
    format: Format = "text"

    def emit(self, event: str, fields: dict[str, Value] | None = None) -> None:
        at = self.now().isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told: dict[str, Value] = {"at": at, "event": event}
        told |= {name: value for name, value in (fields or {}).items() if value is not None}
        if self.format == "json":
            self.write(msgspec.json.encode(told).decode() + "\n")
        else:
            self.write(" ".join(f"{name}={_word(value)}" for name, value in told.items()) + "\n")


def printable(text: str) -> str:
    """The same text with control, format and surrogate characters escaped: a name must not drive a terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def scrub(text: str) -> str:
    """A foreign text made fit for a log and a reason: no address, no credential, one short line."""
    told = _SECRET.sub("***", _ADDRESS.sub("***", text))
    return printable(" ".join(told.split()))[:MAX_TEXT]


def describe(exc: BaseException) -> str:
    """The type of a foreign exception and a short text that holds no address and no credential."""
    text = scrub(str(exc))
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _word(value: Value) -> str:
    text = str(value)
    return text if _PLAIN.fullmatch(text) else msgspec.json.encode(printable(text)).decode()
