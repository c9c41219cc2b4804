"""What if the process dies here? It is killed wherever the broker or the store can see it; the same command then ends
with every file verified, and no object twice."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from many_standin import Many
from put_command import finished, put_command
from tree_tools import make_tree, paths_of, sent_bytes

Reached = Callable[[Many], Awaitable[None]]


async def held(many: Many) -> None:
    await many.is_held.wait()


async def begun(many: Many) -> None:
    await many.body_begun.wait()


async def stored(many: Many) -> None:
    """The store has everything, and says nothing."""
    await many.has_five.wait()


POINTS = {
    "asked for sessions": ("batch-before", "", held),
    "sessions made, unheard": ("batch-after", "", held),
    "sessions heard, nothing sent": ("", "hold", begun),
    "sent, unheard": ("", "silent", stored),
    "sent, about to ask": ("completions-before", "", held),
    "verified, unheard": ("completions-after", "", held),
}


@pytest.mark.parametrize("point", POINTS)
async def test_the_same_command_ends_what_a_killed_one_has_begun(many: Many, tmp_path: Path, point: str) -> None:
    many.held_at, fault, reached = POINTS[point]
    root = make_tree(tmp_path / "photos", 5)
    many.store_faults.extend([fault] * 5 if fault else [])
    killed = await put_command(many.broker_url, tmp_path / "state" / "x", root)
    async with asyncio.timeout(30):
        await reached(many)
    killed.kill()
    await finished(killed)
    many.held_at = ""
    many.store_faults.clear()
    many.may_go_on.set()
    code, _, err = await finished(await put_command(many.broker_url, tmp_path / "state" / "x", root))
    assert code == 0, err
    assert many.paths() == paths_of(root)
    assert len(many.sessions) == len(many.objects) == 5
    if fault != "hold":
        assert sent_bytes(many) == sum(path.stat().st_size for path in root.rglob("*.jpg"))


@pytest.mark.parametrize("name", ["batch", "completions"])
@pytest.mark.parametrize("fault", ["busy", "reset", "lost"])
async def test_answers_of_the_broker_that_are_lost_are_asked_for_again(
    many: Many, tmp_path: Path, name: str, fault: str
) -> None:
    root = make_tree(tmp_path / "photos", 25)
    many.broker_faults[name].append(fault)
    code, _, err = await finished(await put_command(many.broker_url, tmp_path / "state" / "x", root))
    assert code == 0, err
    assert many.paths() == paths_of(root)
    assert len(many.sessions) == len(many.puts) == 25
