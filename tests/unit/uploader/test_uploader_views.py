import io
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from terminal_screen import Screen

from uploader import events
from uploader.progress import LINE_INTERVAL
from uploader.transfer.meter import TreeMeter
from uploader.views.choose import choose_tree_view
from uploader.views.frame import Frame, Troubles
from uploader.views.live import LiveTreeView
from uploader.views.pieces import ASCII, LINES, Glyphs
from uploader.views.plain import PlainTreeView
from uploader.views.reading import Reader, Share
from uploader.views.scripted import JsonTreeView
from uploader.views.wording import below

MIB = 1 << 20
BEGAN = events.TreeBegan(
    roots=["/srv/photos", "/srv/写真"],
    manifest="/home/anna/.local/state/upload-broker/4f2a.sqlite",
    broker="https://uploads.example.com",
    destinations=["eu", "us"],
    batch="2026-11-20",
    nice="CPU nice 10, I/O idle",
)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def half_way(files: int = 1000) -> TreeMeter:
    """A tree of files of 1 MiB: half of it sent, two fifths verified."""
    return TreeMeter(
        found_files=files,
        found_bytes=files * MIB,
        is_scanned=True,
        todo_files=files,
        todo_bytes=files * MIB,
        sent_files=files // 2,
        sent_bytes=files // 2 * MIB,
        verified_files=files * 2 // 5,
        verified_bytes=files * 2 // 5 * MIB,
        concurrency=30,
        limit=32,
        began_at=90.0,
    )


def failure(number: int, path: str = "photos/a.jpg") -> events.FileFailed:
    return events.FileFailed(path=f"{path}-{number}", code="store-refused", message="the store refuses it")


def drawn(
    meter: TreeMeter,
    *,
    width: int = 100,
    height: int = 30,
    troubles: Troubles | None = None,
    glyphs: Glyphs = LINES,
    is_looked_at: bool = True,
) -> list[str]:
    """What a terminal of that size shows, from a recorded console."""
    reader = Reader(Clock())
    reader.wait_for("verified" if is_looked_at else "none")
    reader.attend(meter)
    reading = reader.read()
    assert reading is not None
    frame = Frame(
        reading=reading,
        troubles=troubles or Troubles(),
        width=width,
        height=height,
        glyphs=glyphs,
    )
    console = Console(record=True, file=io.StringIO(), width=width, height=height)
    lines = frame.lines()
    assert len(lines) <= height
    for line in lines:
        assert line.cell_len <= width, line.plain
        console.print(line)
    return console.export_text().split("\n")[: len(lines)]


def test_verified_is_seen_behind_sent() -> None:
    files, size = drawn(half_way())[:2]
    assert files.startswith("  files  ━")
    assert files.endswith("40 %            400 of 1,000")
    assert size.endswith("40 %    400.0 of 1,000.0 MiB")
    assert files.count("━") == pytest.approx(4 * files.count("╍"), abs=4)
    assert files.count("─") == pytest.approx(5 * files.count("╍"), abs=5)


def test_what_nobody_looks_at_counts_when_it_is_sent() -> None:
    assert "50 %            500 of 1,000" in drawn(half_way(), is_looked_at=False)[0]


def test_a_million_files_fit_and_none_is_no_error() -> None:
    assert "400,000 of 1,000,000" in drawn(half_way(1_000_000), width=60)[0]
    nothing = drawn(TreeMeter(is_scanned=True))
    assert nothing[0].rstrip().endswith("0 of 0")
    assert "%" not in nothing[0]


def test_a_percentage_waits_for_the_end_of_the_scan() -> None:
    meter = half_way()
    meter.is_scanned = False
    lines = drawn(meter)
    assert "scan" in lines[0]
    assert "%" not in "".join(lines[:2])


def test_an_earlier_run_counts_for_the_whole() -> None:
    meter = half_way()
    meter.verified_files += 1000
    meter.unchanged_files = 1000
    meter.found_files += 1000
    lines = drawn(meter)
    assert "70 %" in lines[0]
    assert "1,000 unchanged" in "".join(lines)


def test_what_failed_before_is_not_waited_for() -> None:
    meter = half_way()
    meter.failed_files, meter.found_files = 7, 1007
    reader = Reader(Clock())
    reader.attend(meter)
    meter.sent_files, meter.verified_files = 998, 998
    meter.failed_files, meter.failed_bytes = 9, 2 * MIB
    meter.sent_bytes = meter.verified_bytes = 998 * MIB
    reading = reader.read()
    assert reading is not None
    assert (reading.files.sent, reading.behind_files, reading.eta_seconds) == (998, 0, 0.0)


def test_what_an_earlier_run_had_sent_is_not_left_for_ever() -> None:
    meter = half_way()
    meter.sent_files, meter.verified_files = 900, 1000  # a hundred had been sent before the last process was killed
    meter.sent_bytes, meter.verified_bytes = 900 * MIB, 1000 * MIB
    reader = Reader(Clock())
    reader.attend(meter)
    reading = reader.read()
    assert reading is not None
    assert reading.eta_seconds == 0.0


def test_a_whole_is_never_less_than_its_parts() -> None:
    assert Share.of(10, 5, 20) == Share(whole=20, sent=20, verified=20)
    assert Share.of(10, -5, 2) == Share(whole=10, sent=2, verified=2)


def test_large_files_have_bars_by_name_as_many_as_fit() -> None:
    meter = half_way()
    for number in range(20):
        large = events.Meter(f"film-{number}.mkv", 100 * MIB, "sending")
        large.done_bytes = number * 5 * MIB
        meter.large.append(large)
    meter.large[7].total_bytes *= 2
    high, low = drawn(meter, height=40), drawn(meter, height=10)
    assert sum("film-" in line for line in high) == 8, "the others are counted"
    assert "film-7.mkv" in high[6]
    assert "17 %" in high[6]
    assert "35.0 of 200.0 MiB" in high[6]
    assert "and 12 more large files" in high[-1]
    assert 0 < sum("film-" in line for line in low) < 8
    assert "more large files" in low[-1]


def test_of_many_failures_the_last_are_shown_and_all_are_counted() -> None:
    meter, troubles = half_way(), Troubles()
    meter.failed_files = 5000
    troubles.failures.extend(failure(number) for number in range(5000))
    lines = drawn(meter, troubles=troubles)
    assert "  5,000 failed" in lines
    shown = [line for line in lines if "store-refused" in line]
    assert len(shown) == 4
    assert "photos/a.jpg-4999  the store refuses it [store-refused]" in shown[-1]


def test_a_reason_stays_whole_where_its_name_is_long() -> None:
    meter, troubles = half_way(), Troubles()
    meter.failed_files = 1
    troubles.failures.append(failure(1, "写真/" * 80))
    line = drawn(meter, troubles=troubles, width=60)[-1]
    assert line.endswith("the store refuses it [store-refused]")
    assert "写真" in line
    assert "…" in line


HOSTILE = st.text(st.sampled_from("ab写é\u0301\x1b[31m\n\r\x07\x9b\u202e\udcff/\\ 👩‍👩‍👧"), max_size=80)


@settings(deadline=None)
@given(HOSTILE, HOSTILE, st.integers(1, 220), st.integers(1, 60))
def test_no_name_and_no_size_of_terminal_breaks_a_frame(path: str, message: str, width: int, height: int) -> None:
    meter, troubles = half_way(), Troubles(slowed=events.TreeSlowed(why=message, concurrency=3))
    meter.failed_files = 1
    meter.large.append(events.Meter(path, 100, "sending"))
    troubles.failures.append(events.FileFailed(path=path, code="x", message=message))
    for line in drawn(meter, troubles=troubles, width=width, height=height):
        assert not set(line) & set("\x1b\r\x07\x9b\u202e")


def test_without_colour_the_three_kinds_still_differ() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, no_color=True, width=80, height=24)
    view = LiveTreeView(console, Clock())
    view.on_tree(half_way())
    assert "\x1b[3" not in out.getvalue()
    assert "━╍" in out.getvalue()
    assert "╍─" in out.getvalue()


@pytest.mark.parametrize(
    ("path", "shown"), [("/srv/photos/a/b.jpg", "photos/a/b.jpg"), ("/srv/photos", "photos"), ("/srv/ph", "/srv/ph")]
)
def test_a_name_begins_with_that_of_its_root(path: str, shown: str) -> None:
    assert below(path, ["/srv/other", "/srv/photos"]) == shown


def test_a_terminal_without_unicode_gets_bars_all_the_same() -> None:
    assert all(line.isascii() for line in drawn(half_way(), glyphs=ASCII))


class Terminal:
    """A live view on a screen, ticking by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, width: int = 100) -> None:
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        self.screen = Screen(width)
        self.console = Console(file=self.screen, force_terminal=True, width=width, height=24)  # type: ignore[arg-type]
        self.clock = Clock()
        self.view = LiveTreeView(self.console, self.clock)

    def resize(self, width: int) -> None:
        self.screen.width = self.console.width = width

    def tick(self) -> None:
        self.clock.now += self.view.interval
        self.view.tick()


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return Terminal(monkeypatch)


def test_a_header_stays_and_each_frame_replaces_the_last_in_one_write(terminal: Terminal) -> None:
    with terminal.view.opened():
        terminal.view.on_event(BEGAN)
        meter = half_way()
        terminal.view.on_tree(meter)
        assert terminal.screen.is_cursor_hidden
        first, writes = terminal.screen.rows, terminal.screen.writes
        terminal.tick()
        assert terminal.screen.writes == writes + 1
        assert len(terminal.screen.rows) == len(first)
        assert "upload    /srv/photos, /srv/写真 → eu, us" in first[0]
        assert "broker    https://uploads.example.com, batch 2026-11-20" in first[1]
        assert "priority  CPU nice 10, I/O idle" in first[3]
    assert not terminal.screen.is_cursor_hidden
    assert "done when every file is verified" in terminal.screen.rows[4]
    assert not any(terminal.screen.rows[5:])


@pytest.mark.parametrize("width", [30, 47, 60, 99, 101, 200])
def test_a_resize_leaves_nothing_of_the_frame_before(terminal: Terminal, width: int) -> None:
    with terminal.view.opened():
        terminal.view.on_event(BEGAN)
        meter = half_way()
        meter.failed_files = 1
        terminal.view.on_event(failure(1, "p" * 90))
        terminal.view.on_tree(meter)
        terminal.resize(width)
        terminal.tick()
        assert sum(row.startswith("  files  ") for row in terminal.screen.rows) == 1
        assert sum("1 failed" in row for row in terminal.screen.rows) == 1
        terminal.resize(100)
        terminal.tick()
        assert sum("store-refused" in row for row in terminal.screen.rows) == 1


def test_why_it_goes_slower_is_said_for_a_while(terminal: Terminal) -> None:
    terminal.view.on_tree(half_way())
    terminal.view.on_event(events.TreeSlowed(why="the store answers 503 SlowDown", concurrency=16))
    terminal.tick()
    assert "  slowed down to 16 at a time: the store answers 503 SlowDown" in terminal.screen.rows
    terminal.clock.now += 60
    terminal.tick()
    assert not any("slowed" in row for row in terminal.screen.rows)


def test_a_log_gets_a_line_now_and_then_and_never_a_burst() -> None:
    out, clock = io.StringIO(), Clock()
    view, meter = PlainTreeView(out, clock), half_way()
    with view.opened():
        view.on_event(BEGAN)
        header = out.getvalue().count("\n")
        view.on_tree(meter)
        for number in range(10_000):
            view.on_event(failure(number))
            view.on_event(events.TreeSlowed(why="503", concurrency=number))
        assert out.getvalue().count("\n") == header == 5
        meter.failed_files = 10_000
        clock.now += LINE_INTERVAL
        view.tick()
        assert out.getvalue().count("\n") == header + 6
        clock.now += LINE_INTERVAL
        view.tick()  # nothing has moved, but the rates
    lines = out.getvalue().splitlines()
    assert lines[0] == "upload: /srv/photos, /srv/写真 → eu, us"
    assert lines[5] == "failed: photos/a.jpg-0: the store refuses it [store-refused]"
    assert lines[8] == "failed: 9,997 more"
    assert lines[9] == "slowed down to 9999 at a time: 503"
    assert lines[10].startswith("40 %, 400 of 1,000 files verified, 400.0 of 1,000.0 MiB, 0 files/s, 0.0 MiB/s")


def test_failures_that_nobody_has_read_are_told_at_the_end() -> None:
    out = io.StringIO()
    view = PlainTreeView(out, Clock())
    with view.opened():
        view.on_event(failure(1))
        assert not out.getvalue()
    assert "photos/a.jpg-1" in out.getvalue()


def test_a_script_gets_every_event_and_the_numbers_once_a_tick() -> None:
    out, clock = io.StringIO(), Clock()
    view, meter = JsonTreeView(out, clock), half_way()
    assert view.wants_files
    view.on_event(BEGAN)
    view.on_tree(meter)
    view.on_event(events.FileVerified(path="a\\x1b", session_id="s1", size_bytes=3, proved=None))
    clock.now += 2
    meter.sent_files, meter.sent_bytes = 600, 600 * MIB
    view.tick()
    view.on_event(failure(1))
    began, verified, progressed, failed = map(json.loads, out.getvalue().splitlines())
    assert began["event"] == "tree.began"
    assert began["roots"] == ["/srv/photos", "/srv/写真"]
    said = {"path": "a\\x1b", "session_id": "s1", "size_bytes": 3, "proved": None}
    assert verified == {"event": "file.verified"} | said
    assert failed["code"] == "store-refused"
    assert progressed["event"] == "tree.progressed"
    assert progressed["files_per_second"] == 50
    assert progressed["bytes_per_second"] == 50 * MIB
    assert progressed["verified_files"] == 400
    assert progressed["vanished_files"] == 0, "a number that is nothing is there all the same"
    assert "eta_seconds" in progressed


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "term", "view"),
    [(Tty(), "xterm", LiveTreeView), (Tty(), "dumb", PlainTreeView), (io.StringIO(), "xterm", PlainTreeView)],
)
def test_what_stderr_is_decides(
    monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, term: str, view: type[object]
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", term)
    assert type(choose_tree_view(is_json=False)) is view
    assert type(choose_tree_view(is_json=True)) is JsonTreeView


def test_a_process_without_a_terminal_does_not_load_rich() -> None:
    program = (
        "import sys, uploader.__main__;"
        "from uploader.views.choose import choose_tree_view as choose;"
        "choose(is_json=False); choose(is_json=True);"
        "sys.exit('rich' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=30)
