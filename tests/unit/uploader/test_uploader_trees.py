"""Trees through the stand-in: every file verified, and the same command again does nothing."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from many_standin import Many, ManyParts
from tree_manifests import rows, states, write
from uploader_standin import KEY, QUICK, serving

from uploader import TreeOrder, Uploader, events
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


@pytest.fixture
async def many() -> AsyncIterator[Many]:
    async with serving(Many()) as started:
        assert isinstance(started, Many)
        yield started


@pytest.fixture
async def uploader(many: Many) -> AsyncIterator[Uploader]:
    async with Uploader(many.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "photos"
    for number in range(30):
        write(root / f"{number % 3}" / f"{number}.jpg", 100 + number)
    write(root / "empty", 0)
    return root


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "manifest.sqlite"


async def test_every_file_of_a_tree_is_verified(uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    result = await uploader.put_tree([tree], manifest=manifest)
    assert (result.verified_files, result.sent_files, result.exit_code) == (31, 31, 0)
    assert result.is_finished
    assert many.paths() == {"photos/empty": 1} | {f"photos/{number % 3}/{number}.jpg": 1 for number in range(30)}
    assert set(states(manifest).values()) == {"verified"}
    assert len(many.puts) == 31


async def test_the_same_command_again_sends_nothing_and_writes_no_row(
    uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    await uploader.put_tree([tree], manifest=manifest)
    before, calls = rows(manifest), len(many.calls)
    result = await uploader.put_tree([tree], manifest=manifest)
    assert (result.sent_files, result.unchanged_files, result.exit_code) == (0, 31, 0)
    assert rows(manifest) == before
    assert len(many.calls) == calls


async def test_what_is_declared_of_a_file(uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    (tree / "0" / "0.jpg").chmod(0o640)
    await uploader.put_tree([tree], TreeOrder(batch="b", metadata={"case": "17"}), manifest=manifest)
    (wanted,) = [s.wanted for s in many.sessions.values() if s.wanted.filename == "0.jpg"]
    assert (wanted.content_type, wanted.batch, wanted.size_bytes) == ("image/jpeg", "b", 100)
    assert wanted.metadata == {"case": "17", "path": "photos/0/0.jpg"}
    assert wanted.object_metadata == {"mtime": "1000", "mode": "0640"}
    assert wanted.checksum.sha256 is not None


async def test_large_and_small_files_in_one_tree(tmp_path: Path, manifest: Path) -> None:
    root = tmp_path / "films"
    write(root / "small", 10)
    write(root / "medium", (1 << 20) + 1)
    write(root / "large", 5 << 20)
    async with (
        serving(ManyParts(part_size_bytes=2 << 20)) as parted,
        Uploader(parted.broker_url, KEY, retry=QUICK) as uploader,
    ):
        result = await uploader.put_tree([root], manifest=manifest)
    assert (result.verified_files, result.exit_code) == (3, 0)
    assert result.sent_bytes == 10 + (1 << 20) + 1 + (5 << 20)


async def test_observers_hear_how_it_goes(uploader: Uploader, tree: Path, manifest: Path) -> None:
    onlooker = Onlooker(wants_files=True)
    await uploader.put_tree([tree], manifest=manifest, observer=onlooker)
    names = [type(event) for event in onlooker.events]
    assert (names[0], names[-1]) == (events.TreeBegan, events.TreeFinished)
    assert len(onlooker.of(events.FileVerified)) == 31
    meter = onlooker.meter
    assert (meter.found_files, meter.todo_files, meter.sent_files, meter.verified_files) == (31, 31, 31, 31)
    assert meter.todo_bytes == meter.sent_bytes == meter.verified_bytes
    assert (meter.concurrency, meter.large) == (0, [])
