"""A command that is killed before its nth statement, for each n, and what the next one makes of it.

Run as a process of its own, which forks: `python tree_killed.py DIRECTORY`. For each n a tree, a manifest and a
stand-in for broker and store – lines in a file, each written before the manifest hears of it – come into being; a child
scans and sends until it kills itself with SIGKILL; a second child runs the same command to its end. Prints one JSON
object for each n.
"""

import json
import os
import signal
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tree_manifests import identity, mark, minted, write

from uploader.tree import manifest as manifests
from uploader.tree.intake import Intake
from uploader.tree.manifest import Manifest
from uploader.tree.reader import Reader
from uploader.tree.rows import Row
from uploader.tree.schema import connect

AT_ONCE = 3
FILES = ("a", "b", "c", "sub/d", "sub/e", "sub/f")


class Log:
    """What broker and store have heard, and what the manifest has acknowledged, whatever becomes of the process."""

    def __init__(self, path: Path) -> None:
        self._fileno = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(self, word: str, row: Row) -> None:
        os.write(self._fileno, f"{word} {os.fsdecode(row.path)} {row.size_bytes}\n".encode())


def command(place: Path) -> None:
    """`put` as it will be: scan, settle what is open, then claim, mint, send, verify until nothing is left."""
    log = Log(place / "log")
    with Manifest.open(place / "m.sqlite", identity(place / "tree")) as manifest:
        Intake(manifest=manifest).run()
        settle(manifest, log, manifest.unsettled(100).result())
        manifest.serve("path").result()
        while rows := manifest.take("path", AT_ONCE).result():
            manifest.minted([minted(row, manifest.idempotency_key(row)) for row in rows]).result()
            for row in rows:
                log.say("sent", row)
            manifest.sent([mark(row) for row in rows]).result()
            settle(manifest, log, rows)


def settle(manifest: Manifest, log: Log, rows: list[Row]) -> None:
    if not rows:
        return
    manifest.verified([mark(row) for row in rows]).result()
    for row in rows:
        log.say("verified", row)


def both_commands(place: Path) -> None:
    command(place)
    write(place / "tree" / "a", 50)
    (place / "tree" / "b").unlink(missing_ok=True)
    write(place / "tree" / "sub/g", 60)
    command(place)


def forked(work: Callable[[], None]) -> int:
    """The signal that ended it, or 0."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            import traceback  # noqa: PLC0415

            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        sys.exit("a command failed")
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def die_before(number: int) -> None:
    """Every connection that is opened from now on counts its statements together with the others."""
    counted = 0

    def count(_: str) -> None:
        nonlocal counted
        counted += 1
        if counted == number:
            time.sleep(0.005)  # whoever believes by now that something is kept acts on it
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(count)
        return connection

    manifests.connect = counting  # type: ignore[attr-defined]


def killed_at(place: Path, number: int) -> bool:
    def work() -> None:
        die_before(number)
        both_commands(place)

    return forked(work) == signal.SIGKILL


def unkept(place: Path, promised: list[str]) -> list[str]:
    """What was acknowledged as verified and is not, right after the kill, unless its file has changed since."""
    if not promised:
        return []
    with Reader.open(place / "m.sqlite") as reader:
        states = {f"{os.fsdecode(row.path)} {row.size_bytes}": row.state for row in reader.rows()}
    return [each for each in promised if states.get(each, "verified") != "verified"]


def judge(place: Path) -> dict[str, Any]:
    """After the second command."""
    words = Counter((place / "log").read_text().splitlines())
    verified_twice = [line for line, times in words.items() if line.startswith("sent ") and times > 2]
    with Reader.open(place / "m.sqlite") as reader:
        (integrity,) = reader._connection.execute("PRAGMA integrity_check").fetchone()
        rows = {os.fsdecode(row.path): row for row in reader.rows()}
    return {
        "integrity": integrity,
        "states": {name: f"{row.state} {row.size_bytes}" for name, row in sorted(rows.items()) if row.gone_ms is None},
        "sent_often": verified_twice,
        "sent_again": sum(times - 1 for line, times in words.items() if line.startswith("sent ")),
    }


def main(directory: Path) -> None:
    results = []
    number = 0
    while True:
        number += 1
        place = directory / str(number)
        for size, name in enumerate(FILES, start=1):
            write(place / "tree" / name, size)
        was_killed = killed_at(place, number)
        before = set((place / "log").read_text().splitlines()) if (place / "log").exists() else set()
        promised = [line.removeprefix("verified ") for line in before if line.startswith("verified ")]
        if was_killed:
            broken = unkept(place, promised)
            sends_before = Counter((place / "log").read_text().splitlines()) if before else Counter()
            forked(lambda place=place: both_commands(place))  # type: ignore[misc]
            sends_after = Counter((place / "log").read_text().splitlines())
            broken += [each for each in promised if sends_after[f"sent {each}"] != sends_before[f"sent {each}"]]
            results.append({"number": number, "promises_broken": broken} | judge(place))
        else:
            results.append({"number": 0, "promises_broken": []} | judge(place))
            break
    print(json.dumps(results))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
