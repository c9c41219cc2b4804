"""A tree is uploaded while its uploader is killed again and again, the broker with it, and everybody answers badly.

The real command against a real stack, through a proxy that spoils the broker's answers, to a store that spoils its own;
signed requests live for seconds. In the end every file is verified, none is there twice, and hardly a byte was sent
twice. The seed is printed; `CHAOS_SEED` repeats it, `CHAOS_TREE_FILES` makes it longer (`make chaos`: 5,000).
"""

import asyncio
import os
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.dev.stack import StackOptions, start_stack
from tests.chaos.troubled_proxy import TroubledProxy
from tests.trees import Run, TreeWorld, ended, md5_of, rows_of

FILES = int(os.environ.get("CHAOS_TREE_FILES", "300"))
KILLS = 20 if FILES >= 5_000 else 6
SEED = int(os.environ.get("CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
LARGEST_BYTES = 40_000
MOST_RESENT = 0.05
RUNS_TO_THE_END = 8
STORE = {"slow_down": 0.05, "reset_uploads": 0.01, "response_lost": 0.01}
GOOGLE = {"unavailable": 0.05, "reset_uploads": 0.01, "response_lost": 0.01, "truncated_answer": 0.01}

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120 + FILES // 10)]

_SIGNED = re.compile(r"X-(Amz|Goog)-(Signature|Credential)=|\bus_[0-9a-f]{6,}_|\bul_[\w-]{20,}|Bearer ")


@dataclass(slots=True, kw_only=True)
class Storm:
    """:ivar said: what the commands wrote, killed or not."""

    world: TreeWorld
    command: Sequence[str | Path]
    dice: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    codes: Counter[int] = field(default_factory=Counter)
    runs: list[Run] = field(default_factory=list)

    async def rage(self) -> None:
        """Kills at moments of the upload, not of the clock: so they hit its beginning and its end on any machine."""
        moments = sorted([0, *(self.dice.randrange(FILES) for _ in range(KILLS - 1))])
        for number, moment in enumerate(moments):
            process = await self.world.start(*self.command)
            output = asyncio.create_task(ended(process))
            await self._until(moment, process)
            if number % 4 == 2:
                await self._restart_broker()
            await asyncio.sleep(self.dice.uniform(0, 0.15))
            if process.returncode is None:
                process.kill()
                self.kills["uploader"] += 1
            self._note(await output)

    async def _until(self, moment: int, process: asyncio.subprocess.Process) -> None:
        """Until the store was asked so often, or the command has nothing left to do."""
        while process.returncode is None and self.asked() < moment:  # noqa: ASYNC110 - another process counts
            await asyncio.sleep(0.02)

    async def _restart_broker(self) -> None:
        await asyncio.to_thread(self.world.stack.broker.kill)
        self.kills["broker"] += 1
        await asyncio.sleep(self.dice.uniform(0, 0.5))
        await asyncio.to_thread(self.world.stack.broker.start)

    async def calm(self) -> Run:
        """Troubles go on, but nobody is killed: the same command again until it is done."""
        for _ in range(RUNS_TO_THE_END):
            run = await self.world.put(*self.command)
            self._note(run)
            if run.code != 4:
                return run
        raise AssertionError(f"not done after {RUNS_TO_THE_END} runs: {run.err}")

    def asked(self) -> int:
        """PUTs that the store has been sent in all."""
        requests = self.world.counters()["requests"]
        return sum(count for name, count in requests.items() if name == "PutObject")

    def _note(self, run: Run) -> None:
        self.codes[run.code] += 1
        self.runs.append(run)


@pytest.mark.parametrize(("provider", "mode"), [("s3", "concurrent"), ("gcs", "concurrent"), ("s3", "parallel")])
async def test_every_file_of_a_tree_is_verified_and_there_once(
    tmp_path: Path, provider: str, mode: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        print(f"\nchaos of trees: {provider}, {mode}, seed {SEED}, {FILES} files, {KILLS} kills", end=" ")
    dice = random.Random(SEED)
    tree, digests = await asyncio.to_thread(_grow, tmp_path / "tree", dice)
    size_bytes = sum(path.stat().st_size for path in digests)
    options = StackOptions(
        provider=provider,  # type: ignore[arg-type]
        directory=tmp_path / "dev",
        shards=2,
        consumers=0,
        policy={"first_look": "1s", "url_ttl": "3s"},
        log_level="warning",
        faults={**(GOOGLE if provider == "gcs" else STORE), "seed": SEED},
    )
    stack = await asyncio.to_thread(start_stack, options)
    proxy = TroubledProxy(
        upstream=stack.about.broker, dice=random.Random(SEED + 1), refused=0.05, reset=0.04, truncated=0.04
    )
    try:
        async with proxy.serving():
            world = TreeWorld(stack=stack, state=tmp_path / "state", broker=proxy.url)
            storm = Storm(world=world, command=[tree, "--mode", mode], dice=dice)
            began_at = time.monotonic()
            await storm.rage()
            last = await storm.calm()
            seconds = time.monotonic() - began_at
            resent = world.counters()["bytes_in"] / size_bytes - 1
            faults = world.counters()["faults"]
            with capsys.disabled():
                print(f"in {seconds:.0f} s; killed {dict(storm.kills)}, exits {dict(storm.codes)};", end=" ")
                print(f"{100 * resent:.2f} % re-sent; store {faults}, broker {dict(proxy.faults)}", end=" ")
            assert storm.kills["uploader"] == KILLS
            assert storm.kills["broker"] >= 1
            assert faults.keys() >= {"reset_uploads", "response_lost"} or FILES < 1_000
            _prove_told(storm, last)
            await _prove_stored(world, last.manifest, digests)
            assert resent <= MOST_RESENT
            asked = storm.asked()
            again = await world.put(*storm.command)
            assert (again.code, again.finished["sent_files"], storm.asked()) == (0, 0, asked)
    finally:
        await asyncio.to_thread(stack.stop)


def _grow(root: Path, dice: random.Random) -> tuple[Path, dict[Path, str]]:
    """No two files are equal. Some are empty but for their number."""
    digests: dict[Path, str] = {}
    for number in range(FILES):
        path = root / f"{number % 7}" / f"{number % 31}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(number.to_bytes(4, "big") + dice.randbytes(dice.randrange(LARGEST_BYTES)))
        digests[path] = md5_of(path)
    return root, digests


def _prove_told(storm: Storm, last: Run) -> None:
    """The last run says that all is well, and nobody has said a secret, killed or not."""
    assert (last.code, last.failed, last.err) == (0, {}, "")
    assert last.finished["verified_files"] == FILES
    assert last.finished["failures"] == []
    assert set(storm.codes) <= {-9, 0, 4}
    for run in storm.runs:
        assert not _SIGNED.search(str(run.events))
        assert not _SIGNED.search(run.err)


async def _prove_stored(world: TreeWorld, manifest: Path, digests: dict[Path, str]) -> None:
    """The bucket has each file once, under the session that the manifest names."""
    stored = await world.objects()
    assert Counter(stored.values()) == Counter(digests.values())
    rows = rows_of(manifest)
    assert {row.state.value for row in rows} == {"verified"}
    by_session = {session: digest for key, digest in stored.items() for session in key.split("/")}
    assert {Path(os.fsdecode(row.absolute)): by_session[str(row.session_id)] for row in rows} == digests
