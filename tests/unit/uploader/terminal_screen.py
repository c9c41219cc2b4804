"""A terminal, as much of it as a view uses: wrapping, going up, erasing; and one that wraps anew when it is resized."""

import re

PIECE = re.compile(r"\x1b\[\??(\d*)([A-Za-z])|([\r\n])|([^\x1b\r\n])")


class Screen:
    """:ivar rows: what stands there; a row that the terminal wrapped is followed by its rest."""

    encoding = "utf-8"

    def __init__(self, width: int) -> None:
        self.width = width
        self.lines: list[str] = [""]  # as they were written, before wrapping
        self.writes = 0
        self.is_cursor_hidden = False
        self._line = 0
        self._column = 0

    def write(self, text: str) -> int:
        self.writes += bool(text)
        for piece in PIECE.finditer(text):
            self._take(piece)
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def rows(self) -> list[str]:
        return [row for line in self.lines for row in self._rows(line)]

    def _rows(self, line: str) -> list[str]:
        return [line[at : at + self.width] for at in range(0, max(1, len(line)), self.width)]

    def _take(self, piece: "re.Match[str]") -> None:
        number, command, control, letter = piece.groups()
        if letter:
            line = self.lines[self._line].ljust(self._column)
            self.lines[self._line] = line[: self._column] + letter + line[self._column + 1 :]
            self._column += 1
        elif control == "\r":
            self._column = 0
        elif control == "\n":
            self._line, self._column = self._line + 1, 0
            if self._line == len(self.lines):
                self.lines.append("")
        elif command == "A":
            self._up(int(number or 1))
        elif command == "K":
            self.lines[self._line] = self.lines[self._line][: self._column]
        elif command == "J":
            del self.lines[self._line + 1 :]
            self.lines[self._line] = self.lines[self._line][: self._column]
        elif command in {"l", "h"}:
            self.is_cursor_hidden = command == "l"

    def _up(self, rows: int) -> None:
        assert self._column == 0, "from the beginning of a line, where wrapping does not matter"
        while rows > 0:
            self._line -= 1
            assert self._line >= 0, "above the top"
            rows -= len(self._rows(self.lines[self._line]))
        assert rows == 0, "into the middle of a line"
