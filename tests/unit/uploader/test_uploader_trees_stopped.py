"""Somebody has had enough: what is in flight has a moment, and the same command goes on."""

import asyncio
import signal
import time
from pathlib import Path

import pytest
from many_standin import Many, ManyParts
from put_command import finished, put_command
from tree_manifests import states, write
from tree_tools import Onlooker, make_tree, paths_of
from uploader_standin import KEY, QUICK, serving

from uploader import Uploader, events


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "photos", 40)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupted_command_says_how_to_go_on_and_does(
    many: Many, tree: Path, tmp_path: Path, number: int
) -> None:
    many.store_faults.extend(["hold"] * 20)
    process = await put_command(many.broker_url, tmp_path / "state" / "x", tree)
    async with asyncio.timeout(30):
        await many.body_begun.wait()
    process.send_signal(number)
    code, out, err = await finished(process)
    assert (code, out) == (130, "")
    assert "the same command again" in err
    assert "Traceback" not in err
    many.store_faults.clear()
    many.may_go_on.set()
    code, _, err = await finished(await put_command(many.broker_url, tmp_path / "state" / "x", tree))
    assert (code, len(many.sessions)) == (0, 40), err
    assert many.paths() == paths_of(tree)


async def test_what_is_in_flight_may_end(tree_uploader: Uploader, many: Many, tree: Path, manifest: Path) -> None:
    onlooker = Onlooker()
    many.store_faults.extend(["hold"] * 40)
    run = asyncio.create_task(tree_uploader.put_tree([tree], manifest=manifest, observer=onlooker))
    async with asyncio.timeout(30):
        await many.body_begun.wait()
    run.cancel()
    asyncio.get_running_loop().call_later(0.2, many.may_go_on.set)
    with pytest.raises(asyncio.CancelledError):
        await run
    sent = sum(state == "sent" for state in states(manifest).values())
    assert sent == len(many.objects) > 0
    assert set(states(manifest).values()) == {"sent", "pending"}
    (end,) = onlooker.of(events.TreeFinished)
    assert isinstance(end, events.TreeFinished)
    assert (end.exit_code, end.unsettled_files) == (130, sent)
    many.store_faults.clear()
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, result.sent_files) == (0, 40 - sent)
    assert len(many.objects) == len(many.sessions) == 40


async def test_what_does_not_end_is_not_waited_for(
    tree_uploader: Uploader, many: Many, tree: Path, manifest: Path
) -> None:
    many.store_faults.extend(["silent"] * 40)
    run = asyncio.create_task(tree_uploader.put_tree([tree], manifest=manifest))
    async with asyncio.timeout(30):
        await many.body_begun.wait()
    began_at = time.monotonic()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert time.monotonic() - began_at < 10  # the store says nothing for a minute
    assert "claimed" not in states(manifest).values()
    many.store_faults.clear()
    result = await tree_uploader.put_tree([tree], manifest=manifest)
    assert (result.exit_code, len(many.objects), len(many.sessions)) == (0, 40, 40)


async def test_a_large_file_goes_on_with_the_parts_that_are_missing(tmp_path: Path, manifest: Path) -> None:
    path = write(tmp_path / "films" / "film.mkv", 8 << 20)
    async with (
        serving(ManyParts(part_size_bytes=1 << 20)) as parted,
        Uploader(parted.broker_url, KEY, retry=QUICK) as uploader,
    ):
        assert isinstance(parted, ManyParts)
        for number in range(5, 9):
            parted.part_faults[number].append("hold")
        run = asyncio.create_task(uploader.put_tree([path.parent], manifest=manifest))
        await parted.until(stored=4)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        parted.may_go_on.set()
        assert states(manifest) == {"film.mkv": "pending"}
        result = await uploader.put_tree([path.parent], manifest=manifest)
        assert (result.exit_code, len(parted.sessions)) == (0, 1)
        assert [parted.times_sent()[number] for number in range(1, 5)] == [1, 1, 1, 1]
