from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from copies_standin import CopiesStandIn
from listing_standin import ListingStandIn
from many_standin import Many
from parts_standin import PartsStandIn
from resumable_standin import ResumableStandIn
from uploader_standin import KEY, QUICK, MakeFile, Recorder, StandIn, serving

from uploader import Uploader


@pytest.fixture
async def standin() -> AsyncIterator[StandIn]:
    async with serving(StandIn()) as started:
        yield started


@pytest.fixture
async def uploader(standin: StandIn) -> AsyncIterator[Uploader]:
    async with Uploader(standin.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def make_file(tmp_path: Path) -> MakeFile:
    """A file of that size whose every 64 KiB differ."""

    def make(size_bytes: int, name: str = "data.bin") -> Path:
        path = tmp_path / name
        with path.open("wb") as out:
            for offset in range(0, size_bytes, 1 << 16):
                out.write((offset.to_bytes(8, "big") * (1 << 13))[: min(1 << 16, size_bytes - offset)])
        return path

    return make


@pytest.fixture
async def parted() -> AsyncIterator[PartsStandIn]:
    async with serving(PartsStandIn()) as started:
        assert isinstance(started, PartsStandIn)
        yield started


@pytest.fixture
async def parts_uploader(parted: PartsStandIn) -> AsyncIterator[Uploader]:
    async with Uploader(parted.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
async def copied() -> AsyncIterator[CopiesStandIn]:
    async with serving(CopiesStandIn()) as started:
        assert isinstance(started, CopiesStandIn)
        yield started


@pytest.fixture
async def copies_uploader(copied: CopiesStandIn) -> AsyncIterator[Uploader]:
    async with Uploader(copied.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
async def store() -> AsyncIterator[ResumableStandIn]:
    async with serving(ResumableStandIn()) as started:
        assert isinstance(started, ResumableStandIn)
        yield started


@pytest.fixture
async def listed() -> AsyncIterator[ListingStandIn]:
    async with serving(ListingStandIn()) as started:
        assert isinstance(started, ListingStandIn)
        yield started


@pytest.fixture
async def listed_uploader(listed: ListingStandIn) -> AsyncIterator[Uploader]:
    async with Uploader(listed.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
async def many() -> AsyncIterator[Many]:
    async with serving(Many()) as started:
        assert isinstance(started, Many)
        yield started


@pytest.fixture
async def tree_uploader(many: Many) -> AsyncIterator[Uploader]:
    async with Uploader(many.broker_url, KEY, retry=QUICK, stall=timedelta(seconds=2)) as opened:
        yield opened


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return tmp_path / "manifest.sqlite"
