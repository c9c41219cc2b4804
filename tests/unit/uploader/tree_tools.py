"""What tests of uploads of trees share: an onlooker, and what a tree has come to."""

from pathlib import Path

from many_standin import Many
from tree_manifests import write

from uploader import events
from uploader.transfer.meter import TreeMeter


class Onlooker:
    """An observer that remembers."""

    def __init__(self, *, wants_files: bool = False) -> None:
        self.wants_files = wants_files
        self.events: list[events.TreeEvent] = []
        self.meter = TreeMeter()

    def on_event(self, event: events.TreeEvent) -> None:
        self.events.append(event)

    def on_tree(self, meter: TreeMeter) -> None:
        self.meter = meter

    def of(self, kind: type[events.TreeEvent]) -> list[events.TreeEvent]:
        return [event for event in self.events if isinstance(event, kind)]


def make_tree(root: Path, files: int, size_bytes: int = 100) -> Path:
    """In directories of ten."""
    for number in range(files):
        write(root / f"{number // 10:02d}" / f"{number:03d}.jpg", size_bytes + number)
    return root


def paths_of(root: Path) -> dict[str, int]:
    """As `Many.paths` counts them when each file is there once."""
    return {f"{root.name}/{path.relative_to(root)}": 1 for path in root.rglob("*") if path.is_file()}


def sent_bytes(many: Many) -> int:
    return sum(put.received_bytes for put in many.puts)
