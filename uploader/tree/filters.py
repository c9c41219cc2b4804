"""Which entries of a tree are meant: globs over the path below the root.

A pattern without a slash matches the name at any depth, one with a slash the whole path from the root; `*` and `?` stop
at a slash, `**` does not, `[a-z]` and `[!a-z]` are sets. A slash at the end makes it match directories alone, that is,
all files below. What an `exclude` matches is left out; where there are `include`s, a file has to match one, too.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Filters:
    """Paths in here are text as `os.fsdecode` makes it, without a slash at either end.

    :ivar include: what files have to match, or None: all do.
    """

    include: re.Pattern[str] | None = None
    exclude: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, include: Iterable[str] = (), exclude: Iterable[str] = ()) -> Self:
        """:raises ValueError: a pattern that cannot match anything."""
        return cls(
            _any_of(translate(each) + (".*" if each.endswith("/") else "") for each in include),
            _any_of(translate(each) for each in exclude),
        )

    @property
    def is_open(self) -> bool:
        """Everything is meant."""
        return self.include is None and self.exclude is None

    def enters(self, directory: str) -> bool:
        """Whether files below it may be meant, as far as its own name tells."""
        return self.exclude is None or not self.exclude.fullmatch(directory + "/")

    def takes(self, file: str) -> bool:
        """Whether a file is meant, if its directories are."""
        if self.exclude is not None and self.exclude.fullmatch(file):
            return False
        return self.include is None or self.include.fullmatch(file) is not None

    def reaches(self, file: str) -> bool:
        """Whether a file is meant, its directories included in the question."""
        slashes = (index for index, letter in enumerate(file) if letter == "/")
        return self.takes(file) and all(self.enters(file[:index]) for index in slashes)


ALL = Filters()


def _any_of(expressions: Iterable[str]) -> re.Pattern[str] | None:
    expression = "|".join(expressions)
    return re.compile(expression, re.DOTALL) if expression else None


def translate(pattern: str) -> str:
    """A glob as a regular expression over a path, which ends with a slash if it is a directory's.

    :raises ValueError: it can match nothing.
    """
    body = pattern.rstrip("/")
    if not body or "\0" in body:
        raise ValueError(f"{pattern!r} matches nothing")
    is_anchored = "/" in body
    head = "" if is_anchored else "(?:.*/)?"
    tail = "/" if pattern.endswith("/") else "/?"
    return f"(?:{head}{''.join(_pieces(body.removeprefix('/')))}{tail})"


def _pieces(body: str) -> Iterator[str]:
    position = 0
    while position < len(body):
        match = _TOKEN.match(body, position)
        assert match is not None  # noqa: S101 - the last alternative takes any character
        yield _piece(match)
        position = match.end()


_TOKEN = re.compile(
    r"(?P<folders>(?:(?<=/)|(?<![\s\S]))\*\*/)|(?P<below>\*\*)|(?P<star>\*)|(?P<one>\?)"
    r"|\[(?P<not>!?+)(?P<set>[^/][^\]/]*)\]|(?P<letter>[\s\S])"
)


def _piece(match: re.Match[str]) -> str:
    text = {"folders": "(?:[^/]+/)*", "below": ".*", "star": "[^/]*", "one": "[^/]"}.get(match.lastgroup or "")
    if text is not None:
        return text
    if match["letter"] is not None:
        return re.escape(match["letter"])
    return _set(match["set"], is_negated=bool(match["not"]))


def _set(members: str, *, is_negated: bool) -> str:
    """Members of a set one by one: a range that runs backwards has none, as in a shell."""
    ranges = "".join(
        re.escape(low) if not high else f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""
        for low, high in re.findall(r"([\s\S])(?:-([\s\S]))?", members)
    )
    if is_negated:
        return f"[^/{ranges}]"
    return f"(?!/)[{ranges}]" if ranges else "(?!)"
