"""Whatever store and broker do, in whatever order: a run ends, every file is in one state, nothing is counted verified
that is not there, and whoever took a place has given it back, once."""

import asyncio
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

from chaotic_standin import Chaotic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tree_manifests import rows, write
from uploader_standin import KEY, serving

from broker.contract import State
from uploader import RetryPolicy, TreeOrder, TreeResult, Uploader
from uploader.transfer import run
from uploader.transfer.rooms import Rooms, furnish
from uploader.tree.manifest import Manifest
from uploader.tree.rows import Order

RUN_SECONDS = 30  # a run of these takes a second or two; a stall of this one would be found here
QUICKEST = RetryPolicy(attempts=6, first_delay=timedelta(milliseconds=1), longest_delay=timedelta(milliseconds=5))


@dataclass(frozen=True, kw_only=True)
class Weather:
    """What is to be sent, how, and what goes wrong."""

    seed: int
    small: int
    large: int
    jobs: int
    sequence: Order
    checksum: Any
    store_rate: float
    broker_rate: float
    item_rate: float
    nonsense_rate: float

    @property
    def order(self) -> TreeOrder:
        return TreeOrder(
            jobs=self.jobs,
            memory_bytes=4 << 20,
            sequence=self.sequence,
            checksum=self.checksum,
            timeout=timedelta(seconds=2),
        )


RATES = st.sampled_from([0.0, 0.02, 0.2, 0.6])
WEATHER = st.builds(
    Weather,
    seed=st.integers(0, 1 << 32),
    small=st.integers(0, 60),
    large=st.integers(0, 6),
    jobs=st.sampled_from([1, 2, 16]),
    sequence=st.sampled_from(["size", "path", "mtime"]),
    checksum=st.sampled_from(["auto", "none"]),
    store_rate=RATES,
    broker_rate=st.sampled_from([0.0, 0.02, 0.2]),
    item_rate=RATES,
    nonsense_rate=st.sampled_from([0.0, 0.0, 0.1]),
)


def make_tree(root: Path, weather: Weather) -> dict[str, Path]:
    dice = random.Random(weather.seed)
    root.mkdir()
    files = [(f"{number}.small", dice.choice((0, 10, 5_000, 900_000))) for number in range(weather.small)]
    files += [(f"{number}.large", (1 << 20) + dice.randrange(1, 3 << 20)) for number in range(weather.large)]
    for number, (name, size_bytes) in enumerate(files):
        path = write(root / name, size_bytes, 1_000 + number)
        path.write_bytes(dice.randbytes(size_bytes))
    return {name: root / name for name, _ in files}


@contextmanager
def furnished() -> Iterator[list[Rooms]]:
    """The rooms of each run, to be looked into when it has ended."""
    seen: list[Rooms] = []

    def furnishing(*args: Any) -> Rooms:
        seen.append(furnish(*args))
        return seen[-1]

    with mock.patch.object(run, "furnish", furnishing):
        yield seen


def assert_balanced(rooms: Rooms, result: TreeResult) -> None:
    """Of a run that came to its end every place is free again; of any run nobody has given back more than he took."""
    ahead, memory, meter = rooms.small.ahead, rooms.small.memory, rooms.small.meter
    watch = rooms.small.watch
    assert meter.concurrency == 0
    assert meter.large == []
    assert ahead.left <= ahead.size
    assert memory.left <= memory.size
    assert watch.held >= 0
    if result.error is None:
        assert (ahead.left, memory.left) == (ahead.size, memory.size)
        assert (watch.held, len(rooms.collector), len(rooms.small.ready), len(rooms.large.line)) == (0, 0, 0, 0)


def assert_true(result: TreeResult, manifest: Path, files: dict[str, Path], chaotic: Chaotic) -> None:
    """What is said of them."""
    known = rows(manifest)
    assert set(known) <= set(files)
    counted = result.verified_files + result.unsettled_files + result.pending_files + result.failed_files
    assert counted + result.skipped_files + result.vanished_files == len(known)
    assert result.error is not None or set(known) == set(files)
    assert (result.exit_code == 0) is (result.error is None and result.verified_files == len(known))
    for name, row in known.items():
        assert row.state not in {"claimed", "skipped", "vanished"}
        assert (row.error_code is not None) is (row.state == "failed")
        if row.state == "verified":
            session = chaotic.sessions[row.session_id or ""]
            stored = chaotic.objects[session.key]
            assert session.state is State.VERIFIED
            assert (session.wanted.metadata["path"], stored.size_bytes) == (f"tree/{name}", row.size_bytes)
            assert stored.content in {None, files[name].read_bytes()}


async def ended(weather: Weather, place: Path) -> None:
    files = make_tree(place / "tree", weather)
    manifest = place / "manifest.sqlite"
    chaotic = Chaotic(
        dice=random.Random(weather.seed),
        store_rate=weather.store_rate,
        broker_rate=weather.broker_rate,
        item_rate=weather.item_rate,
        nonsense_rate=weather.nonsense_rate,
        mixes_up=weather.checksum != "none",  # who neither declares nor compares has asked for it
    )
    quick = {"stall": timedelta(seconds=0.2), "answer_timeout": timedelta(seconds=0.5)}
    with furnished() as seen:
        async with serving(chaotic), Uploader(chaotic.broker_url, KEY, retry=QUICKEST, **quick) as uploader:

            async def put() -> TreeResult:
                async with asyncio.timeout(RUN_SECONDS):
                    result = await uploader.put_tree([place / "tree"], weather.order, manifest=manifest)
                assert_balanced(seen[-1], result)
                assert_true(result, manifest, files, chaotic)
                return result

            await put()
            await put()
            chaotic.behave()
            await put()
            with Manifest.open(manifest) as opened:
                opened.retry().result()
            assert (await put()).exit_code == 0
            before = len(chaotic.puts)
            assert (await put()).verified_files == len(files)
            assert len(chaotic.puts) == before


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(weather=WEATHER)
def test_a_run_ends_and_its_books_are_right_in_any_weather(weather: Weather) -> None:
    with tempfile.TemporaryDirectory() as place:
        asyncio.run(ended(weather, Path(place)))
