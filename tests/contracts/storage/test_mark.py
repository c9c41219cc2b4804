"""The note in a destination: left once, read back, and never mistaken for something else."""

import asyncio
import uuid

import aiohttp
import msgspec
import pytest

from broker.domain.errors import StoreRefused
from broker.ports import StoreMark
from tests.clock import START
from tests.contracts.storage.stores import Store, Who


@pytest.fixture
def prefix() -> str:
    return f"marks-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def mark(store: Store, http: aiohttp.ClientSession, prefix: str) -> StoreMark:
    return store.place(store.bucket, http, prefix=prefix).mark


async def test_nobody_marked_an_empty_prefix(mark: StoreMark) -> None:
    assert await mark.read() is None


async def test_a_note_is_read_back_and_says_who_left_it(store: Store, mark: StoreMark, prefix: str) -> None:
    await mark.write("one", now=START)

    assert await mark.read() == "one"
    assert await store.witness.keys(store.bucket, prefix) == {f"{prefix}/.broker"}
    note = msgspec.json.decode(await store.witness.get(store.bucket, f"{prefix}/.broker"))
    assert note == {"id": "one", "written_at": "2026-11-20T12:00:00Z", "product": "upload-broker"}


async def test_the_first_note_stays(mark: StoreMark) -> None:
    await mark.write("one", now=START)
    await mark.write("two", now=START)

    assert await mark.read() == "one"


async def test_of_many_at_once_one_is_left(mark: StoreMark) -> None:
    await asyncio.gather(*(mark.write(f"id-{number}", now=START) for number in range(8)))

    held = await mark.read()

    await mark.write("late", now=START)
    assert await mark.read() == held
    assert held is not None


async def test_every_prefix_has_its_own(
    store: Store, http: aiohttp.ClientSession, mark: StoreMark, prefix: str
) -> None:
    await mark.write("one", now=START)

    for other in (prefix[:-1], f"{prefix}/", ""):
        assert await store.place(store.bucket, http, prefix=other).mark.read() is None


@pytest.mark.parametrize("who", ["neighbour", "unknown", "impostor"])
async def test_a_stranger_reads_and_leaves_no_note(
    store: Store, http: aiohttp.ClientSession, mark: StoreMark, prefix: str, who: Who
) -> None:
    stranger = store.place(store.bucket, http, who=who, prefix=prefix).mark
    with pytest.raises(StoreRefused):
        await stranger.write("theirs", now=START)
    assert await mark.read() is None
    await mark.write("one", now=START)

    with pytest.raises(StoreRefused):
        await stranger.read()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"{}",
        b'{"id":"","written_at":"2026-11-20T12:00:00Z","product":"upload-broker"}',
        b'{"id":"x","written_at":"2026-11-20T12:00:00Z","product":"other"}',
        b"\xff",
    ],
)
async def test_something_else_there_is_neither_nothing_nor_ours(
    store: Store, mark: StoreMark, prefix: str, body: bytes
) -> None:
    await store.witness.put(store.bucket, f"{prefix}/.broker", body)

    with pytest.raises(StoreRefused, match="no note of a broker"):
        await mark.read()
    await mark.write("one", now=START)
    with pytest.raises(StoreRefused):
        await mark.read()
