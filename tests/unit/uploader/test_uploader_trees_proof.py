"""Large files of a tree: what arrived as something else is sent again, or fails; what changes is never believed."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from many_standin import ManyParts
from tree_manifests import states
from uploader_standin import KEY, QUICK, serving

from broker.contract import State
from uploader import TreeOrder, Uploader, events
from uploader.checksums import Choice

MIB = 1 << 20


@pytest.fixture
async def parted() -> AsyncIterator[ManyParts]:
    async with serving(ManyParts(part_size_bytes=2 * MIB, names="md5")) as started:
        assert isinstance(started, ManyParts)
        yield started


@pytest.fixture
async def uploader(parted: ManyParts) -> AsyncIterator[Uploader]:
    async with Uploader(parted.broker_url, KEY, retry=QUICK) as opened:
        yield opened


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "films" / "film.mkv"
    path.parent.mkdir()
    path.write_bytes(os.urandom(5 * MIB))
    return path


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "manifest.sqlite"


async def test_a_part_that_arrived_as_another_is_sent_again(
    uploader: Uploader, parted: ManyParts, film: Path, manifest: Path
) -> None:
    parted.part_faults[2].append("garble")
    result = await uploader.put_tree([film.parent], manifest=manifest)
    assert (result.verified_files, result.exit_code) == (1, 0)
    assert parted.times_sent() == {1: 1, 2: 2, 3: 1}


@pytest.mark.parametrize("size", [2 * MIB, 5 * MIB], ids=["one PUT", "parts"])
async def test_what_always_arrives_as_another_fails_and_leaves_no_session(
    uploader: Uploader, parted: ManyParts, film: Path, manifest: Path, size: int
) -> None:
    os.truncate(film, size)
    parted.store_faults.extend(["garble"] * 99)
    result = await uploader.put_tree([film.parent], manifest=manifest)
    assert (result.failed_files, result.exit_code) == (1, 1)
    assert [row.error_code for row in result.failures] == ["content-mismatch"]
    assert {session.state for session in parted.sessions.values()} == {State.ABORTED}
    assert set(states(manifest).values()) == {"failed"}


class Onlooker(events.SilentTree):
    """Remembers what proved each file."""

    wants_files = True

    def __init__(self) -> None:
        self.proved: dict[str, str | None] = {}

    def on_event(self, event: events.TreeEvent) -> None:
        if isinstance(event, events.FileVerified):
            self.proved[Path(event.path).name] = event.proved


@pytest.mark.parametrize(
    ("names", "checksum", "proved"),
    [
        ("md5", "auto", {"film.mkv": "md5", "note": "sha256"}),  # which the stand-in enforces
        ("kms", "auto", {"film.mkv": None, "note": "sha256"}),
        ("md5", "none", {"film.mkv": None, "note": None}),
    ],
)
async def test_each_file_says_what_proved_it(
    uploader: Uploader,
    parted: ManyParts,
    film: Path,
    manifest: Path,
    names: str,
    checksum: Choice,
    proved: dict[str, str | None],
) -> None:
    parted.names = names
    film.with_name("note").write_bytes(b"x")
    onlooker = Onlooker()
    await uploader.put_tree([film.parent], TreeOrder(checksum=checksum), manifest=manifest, observer=onlooker)
    assert onlooker.proved == proved
