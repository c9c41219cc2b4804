"""The last lines of a terminal, written over again and again.

rich's own `Live` counts the lines it wrote; a terminal that becomes narrower wraps them into more, and leaves of them
stay above. Here their widths are kept, so that what a resize has made of them is gone with the next frame. Each frame
is one write, line over line without clearing first, so nothing flickers.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.text import Text

HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
TO_END_OF_LINE, TO_END_OF_SCREEN = "\x1b[K", "\x1b[J"


class Canvas:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._widths: list[int] = []

    @property
    def width(self) -> int:
        """Of a line. The last column stays free: some terminals wrap as soon as something stands in it."""
        return max(1, self._console.width - 1)

    @property
    def height(self) -> int:
        """How many lines there may be. The cursor waits below them."""
        return max(1, self._console.height - 1)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Without a cursor. Nothing of it is left afterwards."""
        self._write(HIDE_CURSOR)
        try:
            yield
        finally:
            self._write(self._back() + TO_END_OF_SCREEN + SHOW_CURSOR)
            self._widths = []

    def paint(self, lines: Sequence[Text]) -> None:
        """:param lines: at most `height`, each at most `width`."""
        self._write(self._back() + self._rendered(lines) + TO_END_OF_SCREEN)
        self._widths = [line.cell_len for line in lines]

    def say(self, lines: Sequence[Text]) -> None:
        """Above all that is painted, and to stay. Long lines are wrapped by the terminal, so they can be copied."""
        back = self._back()
        self._widths = []
        self._write(back + self._rendered(lines) + TO_END_OF_SCREEN)

    def _back(self) -> str:
        """To where the last frame begins, in a terminal that may be another width by now."""
        columns = max(1, self._console.width)
        rows = sum(max(1, -(-width // columns)) for width in self._widths)
        return f"\r\x1b[{min(rows, self.height)}A" if rows else "\r"

    def _rendered(self, lines: Sequence[Text]) -> str:
        with self._console.capture() as capture:
            for line in lines:
                self._console.print(line, no_wrap=True, overflow="ignore", crop=False, highlight=False)
        return capture.get().replace("\n", f"{TO_END_OF_LINE}\n")

    def _write(self, text: str) -> None:
        self._console.file.write(text)
        self._console.file.flush()
