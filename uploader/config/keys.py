"""Where a key comes from. It is read when it is used, and never shown."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


class KeyAbsent(Exception):
    """There is no key where it was said to be; the text says where that was, never what was found."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """:ivar origin: in the words of the person who looks for it."""

    text: str = field(repr=False)
    origin: str


@dataclass(frozen=True, slots=True)
class KeyFile:
    path: Path

    def read(self, _: Mapping[str, str]) -> Key:
        """:raises KeyAbsent: in all three, there is none, or it is no line of text."""
        try:
            text = self.path.read_text()
        except OSError as exc:
            raise KeyAbsent(f"{self.path}: {exc.strerror}") from exc
        except UnicodeDecodeError:
            text = "\0"
        return _checked(text, str(self.path))


@dataclass(frozen=True, slots=True)
class KeyVariable:
    name: str

    def read(self, environment: Mapping[str, str]) -> Key:
        return _checked(environment.get(self.name, ""), self.name)


@dataclass(frozen=True, slots=True)
class KeyText:
    """Of a file that its owner alone can read."""

    text: str = field(repr=False)
    path: Path

    def read(self, _: Mapping[str, str]) -> Key:
        return _checked(self.text, str(self.path))


KeySource = KeyFile | KeyVariable | KeyText


def _checked(text: str, origin: str) -> Key:
    text = text.strip()
    if not text:
        raise KeyAbsent(f"no key in {origin}")
    if not text.isascii() or not text.isprintable() or " " in text:
        raise KeyAbsent(f"what is in {origin} is not one line of printable ASCII, as a key is")
    return Key(text=text, origin=origin)
