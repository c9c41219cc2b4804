"""Draws `uploader-put.svg`, beside this file, from a real run in a real terminal: `python docs/guides/picture.py`.

A broker, a store and a tree of files are made for it; tmux is the terminal. Nothing of it stays but the picture.
"""

import io
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

from broker.dev.stack import Stack, StackOptions, start_stack
from uploader.tree.sample import Sample
from uploader.tree.sizes import Sizes

PICTURE = Path(__file__).with_name("uploader-put.svg")
PLACE = Path("/tmp/anna")  # noqa: S108 - it is in the picture
COMMAND = "put /tmp/anna/photos --batch 2026-11-20 --order path"
WIDTH, HEIGHT = 100, 24
MIB = 1 << 20
PATIENCE = 120
SHOWN = ("  [3-6][0-9] %.* of 5,004", "aurora", "1 failed", " left", " not verified")  # what is to be seen in it
POLICY = {"first_look": "1s", "max_size_bytes": 800 * MIB}
SLOW = {"slow_bytes_per_second": 6 * MIB}


def main() -> None:
    PLACE.mkdir()
    try:
        _grow(PLACE / "photos")
        options = StackOptions(directory=PLACE / "dev", consumers=0, policy=POLICY, faults=SLOW)
        stack = start_stack(options)
        try:
            captured = _captured(stack)
        finally:
            stack.stop()
    finally:
        shutil.rmtree(PLACE)
    PICTURE.write_text(_drawn(captured))


def _grow(tree: Path) -> None:
    Sample(files=5_000, depth=2, sizes=Sizes.parse("4KiB-512KiB")).make(tree)
    films = tree / "2019" / "films"
    films.mkdir(parents=True)
    for name, size_bytes in (
        ("aurora.mov", 480 * MIB),
        ("Ærøskøbing.mkv", 700 * MIB),
        ("night.mkv", 310 * MIB),
    ):
        with (films / name).open("wb") as file:
            file.truncate(size_bytes)
    with (films / "everything.tar").open("wb") as file:
        file.truncate(900 * MIB)  # more than the destination takes


def _captured(stack: Stack) -> str:
    """The terminal in the midst of it."""
    environment = {
        "BROKER_URL": stack.about.broker,
        "BROKER_API_KEY": stack.about.api_key,
        "XDG_STATE_HOME": str(PLACE / "state"),
    }
    given = [word for pair in environment.items() for word in ("-e", "=".join(pair))]
    command = f"{sys.executable} -m uploader {COMMAND}; exec sleep 600"
    size = ("-x", str(WIDTH), "-y", str(HEIGHT))
    _tmux("new-session", "-d", "-s", "picture", *size, *given, command)
    try:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            seen = _tmux("capture-pane", "-t", "picture", "-e", "-p")
            bare = Text.from_ansi(seen).plain
            if all(re.search(each, bare) for each in SHOWN):
                return seen
            time.sleep(0.2)
        raise TimeoutError(f"not all of {SHOWN} were seen:\n{seen}")
    finally:
        _tmux("kill-session", "-t", "picture")


def _tmux(*arguments: str) -> str:
    """A server of its own, so that nobody's sessions and settings matter."""
    command = ["tmux", "-L", "picture", "-f", "/dev/null", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603


def _drawn(captured: str) -> str:
    console = Console(record=True, file=io.StringIO(), width=WIDTH, force_terminal=True, color_system="standard")
    console.print(f"$ uploader {COMMAND}", highlight=False)
    for line in captured.rstrip("\n").split("\n"):
        console.print(Text.from_ansi(line), no_wrap=True, overflow="ignore", crop=False, highlight=False)
    drawn = console.export_svg(title="uploader put")
    return re.sub(r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL)  # a picture fetches nothing


if __name__ == "__main__":
    main()
