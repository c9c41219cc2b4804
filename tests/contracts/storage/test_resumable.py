"""A resumable upload is opened and ended by the broker; between, whoever holds its URI sends what was declared, once.

What happens to other bytes than declared is in gcs/test_resumable_bytes.py.
"""

import asyncio

import pytest

from broker.domain.objects import judge
from tests.contracts.storage.resumables import BODY, MULTIPLE, SPEC, ResumablePlace


async def test_what_was_just_opened_holds_nothing_and_is_no_object(resumable_place: ResumablePlace, key: str) -> None:
    uri = await resumable_place.opened(key)

    assert resumable_place.uploads.chunk_multiple_bytes == MULTIPLE
    assert await resumable_place.uploads.offset(uri, SPEC.size_bytes) == 0
    assert await resumable_place.objects.head(key) is None


async def test_sent_at_once_it_is_what_was_declared(resumable_place: ResumablePlace, key: str) -> None:
    uri = await resumable_place.opened(key)

    assert await resumable_place.holder.send(uri) == 200

    info = await resumable_place.stored(key)
    assert judge(SPEC, info) is None
    assert info.metadata == {"upload-session": "sealed", "mtime": "1732100000"}
    assert await resumable_place.uploads.offset(uri, SPEC.size_bytes) == SPEC.size_bytes


async def test_piece_by_piece_it_is_the_same_and_each_is_counted(resumable_place: ResumablePlace, key: str) -> None:
    uri, at = await resumable_place.opened(key), 0
    for end in (MULTIPLE, 2 * MULTIPLE):
        assert await resumable_place.holder.send(uri, first=at, end=end) == 308
        assert await resumable_place.uploads.offset(uri, SPEC.size_bytes) == end
        assert await resumable_place.objects.head(key) is None
        at = end

    assert await resumable_place.holder.send(uri, first=at) == 200

    assert judge(SPEC, await resumable_place.stored(key)) is None


async def test_asking_changes_nothing(resumable_place: ResumablePlace, key: str) -> None:
    uri = await resumable_place.opened(key)
    await resumable_place.holder.send(uri, end=MULTIPLE)

    offsets = [await resumable_place.uploads.offset(uri, SPEC.size_bytes) for _ in range(3)]

    assert offsets == [MULTIPLE] * 3
    assert await resumable_place.holder.send(uri, first=MULTIPLE) == 200


async def test_a_piece_sent_again_counts_once(resumable_place: ResumablePlace, key: str) -> None:
    uri = await resumable_place.opened(key)
    await resumable_place.holder.send(uri, end=2 * MULTIPLE)

    assert await resumable_place.holder.send(uri, end=MULTIPLE) == 308

    assert await resumable_place.uploads.offset(uri, SPEC.size_bytes) == 2 * MULTIPLE


async def test_what_is_whole_is_sent_again_without_harm(resumable_place: ResumablePlace, key: str) -> None:
    uri = await resumable_place.opened(key)
    await resumable_place.holder.send(uri)
    before = await resumable_place.stored(key)

    assert await resumable_place.holder.send(uri) == 200

    assert await resumable_place.stored(key) == before


@pytest.mark.parametrize("sent", [0, MULTIPLE], ids=["nothing yet", "a piece"])
async def test_what_was_cancelled_takes_no_byte_and_leaves_nothing(
    resumable_place: ResumablePlace, key: str, sent: int
) -> None:
    uri = await resumable_place.opened(key)
    if sent:
        await resumable_place.holder.send(uri, end=sent)

    assert await resumable_place.uploads.cancel(uri)

    assert await resumable_place.uploads.offset(uri, SPEC.size_bytes) is None
    assert await resumable_place.holder.send(uri, first=sent) not in {200, 308}
    assert await resumable_place.objects.head(key) is None
    assert await resumable_place.uploads.cancel(uri)


async def test_cancelling_what_is_whole_leaves_the_object(resumable_place: ResumablePlace, key: str) -> None:
    uri = await resumable_place.opened(key)
    await resumable_place.holder.send(uri)
    before = await resumable_place.stored(key)

    assert await resumable_place.uploads.cancel(uri)

    assert await resumable_place.objects.head(key) == before


async def test_of_a_cancel_and_the_last_bytes_at_once_one_wins_for_good(
    resumable_place: ResumablePlace, key: str
) -> None:
    for number in range(8):
        name = f"{key}/{number}"
        uri = await resumable_place.opened(name)

        status, is_over = await asyncio.gather(
            resumable_place.holder.send(uri), resumable_place.uploads.cancel(uri), return_exceptions=True
        )

        info = await resumable_place.objects.head(name)
        assert is_over is True
        assert (status == 200) is (info is not None)
        assert (await resumable_place.holder.send(uri) == 200) is (info is not None)
        assert await resumable_place.objects.head(name) == info


async def test_bytes_for_a_key_that_was_taken_meanwhile_replace_nothing(
    resumable_place: ResumablePlace, key: str
) -> None:
    first, second = [await resumable_place.opened(key) for _ in range(2)]
    await resumable_place.holder.send(first)
    before = await resumable_place.stored(key)

    assert await resumable_place.holder.send(second) == 412

    assert await resumable_place.objects.head(key) == before
    assert await resumable_place.uploads.offset(second, SPEC.size_bytes) in {None, SPEC.size_bytes}
    assert await resumable_place.uploads.cancel(second)
    assert await resumable_place.objects.head(key) == before


async def test_of_many_for_one_key_one_is_stored(resumable_place: ResumablePlace, key: str) -> None:
    uris = [await resumable_place.opened(key) for _ in range(8)]

    statuses = await asyncio.gather(*(resumable_place.holder.send(uri) for uri in uris))

    assert sorted(statuses) == [200] + [412] * 7


@pytest.mark.parametrize(
    "name", ["a b+c%41&d=e?f#g;h.csv", "é日本🗺.csv", "a//b/./../c.csv", "~'()*!@$,[]{}|^`\"\\<>.csv"]
)
async def test_every_key_arrives_as_it_was_opened(resumable_place: ResumablePlace, key: str, name: str) -> None:
    uri = await resumable_place.opened(f"{key}/{name}")

    assert await resumable_place.holder.send(uri) == 200

    assert (await resumable_place.stored(f"{key}/{name}")).size_bytes == len(BODY)
    assert await resumable_place.objects.head(key) is None


async def test_an_upload_that_never_was_is_gone(resumable_place: ResumablePlace, key: str) -> None:
    uri = f"{await resumable_place.opened(key)}x"

    assert await resumable_place.uploads.offset(uri, SPEC.size_bytes) is None
    assert await resumable_place.uploads.cancel(uri)
    assert await resumable_place.holder.send(uri) not in {200, 308}
