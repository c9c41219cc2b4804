"""What a frame is made of: bars, names cut to a width, and texts that flow into lines."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rich.cells import cell_len, chop_cells
from rich.text import Text

from uploader.views.reading import Share

MIN_BAR = 10
AMOUNT = 22  # `1,000,000 of 1,000,000`


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """Three kinds of line that differ without any colour, too."""

    verified: str
    sent: str
    rest: str
    dot: str
    dots: str


LINES = Glyphs(verified="━", sent="╍", rest="─", dot="·", dots="…")
ASCII = Glyphs(verified="#", sent="=", rest="-", dot=",", dots="~")

VERIFIED, SENT, REST = "green", "cyan", "bright_black"


def bar(share: Share, width: int, glyphs: Glyphs) -> Text:
    """Verified, sent, and the rest. Whatever is there at all is seen, and nothing is full before it is all there."""
    verified = _cells(share.verified, share.whole, width)
    sent = max(verified, _cells(share.sent, share.whole, width))
    return Text.assemble(
        (glyphs.verified * verified, VERIFIED),
        (glyphs.sent * (sent - verified), SENT),
        (glyphs.rest * (width - sent), REST),
    )


def _cells(part: int, whole: int, width: int) -> int:
    if not whole or not part:
        return 0
    return max(1, part * width // whole)


def shortened(name: str, width: int, glyphs: Glyphs) -> str:
    """Its beginning and its end, in so many cells: letters of Asia take two."""
    if cell_len(name) <= width:
        return name
    if width < 3:
        return glyphs.dots[: max(0, width)]
    head = (width - 1) // 2
    return f"{_first(name, head)}{glyphs.dots}{_last(name, width - 1 - head)}"


def _first(text: str, width: int) -> str:
    return chop_cells(text, width)[0] if width > 0 else ""


def _last(text: str, width: int) -> str:
    kept = text[-width:]  # a letter takes a cell or two, or none
    while cell_len(kept) > width:
        kept = kept[1:]
    return kept


def cut(line: Text, width: int) -> Text:
    if line.cell_len > width:
        line.truncate(width, overflow="crop")
    return line


def flow(texts: Iterable[Text], width: int, glyphs: Glyphs, indent: int = 2) -> Iterator[Text]:
    """Side by side while they fit, and else on the next line. Empty ones are left out."""
    line = Text(" " * indent)
    for text in filter(None, texts):
        if line.cell_len > indent:
            if line.cell_len + 3 + text.cell_len <= width:
                line.append(f" {glyphs.dot} ", REST)
            else:
                yield line
                line = Text(" " * indent)
        line.append_text(text)
    if line.cell_len > indent:
        yield line


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A line with a bar in it: a name, how far, and `3.1 of 7.6 GiB`."""

    name: str
    share: Share
    percent: str
    amount: str


def bar_lines(bars: list[Bar], width: int, glyphs: Glyphs, name_width: int) -> Iterator[Text]:
    """In columns. What they do without when there is little room: amounts first, then the bar."""
    room = width - 2 - name_width - 2 - 7
    bar_width = room - 2 - AMOUNT
    has_amounts = bar_width >= MIN_BAR
    if not has_amounts:
        bar_width = max(0, room)
    for each in bars:
        name = shortened(each.name, name_width, glyphs)
        line = Text(f"  {name}{' ' * (name_width - cell_len(name))}  ")
        line.append_text(bar(each.share, bar_width, glyphs))
        line.append(f"  {each.percent:>5}", "bold")
        if has_amounts:
            line.append(f"  {each.amount:>{AMOUNT}}", "dim")
        yield line
