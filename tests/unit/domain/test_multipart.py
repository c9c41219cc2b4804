"""How an object is cut: never more parts than a store takes, every byte in exactly one of them."""

from collections.abc import Iterator

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from broker.domain.multipart import (
    MAX_PART_BYTES,
    MAX_PARTS,
    MIN_PART_BYTES,
    Multipart,
    StoredPart,
    cut,
    is_exact,
    missing,
)

MIB = 2**20
TIB = 2**40
sizes = st.integers(1, 5 * TIB) | st.integers(1, 100 * MIB)
preferences = st.integers(MIN_PART_BYTES, MAX_PART_BYTES)


def stored(plan: Multipart, size_bytes: int) -> list[StoredPart]:
    return [
        StoredPart(number=number, size_bytes=plan.size_of(number, size_bytes), etag=str(number))
        for number in range(1, plan.part_count + 1)
    ]


def some_numbers(plan: Multipart) -> Iterator[int]:
    yield from {1, 2, plan.part_count // 2, plan.part_count - 1, plan.part_count} & {*range(1, plan.part_count + 1)}


@given(sizes, preferences)
def test_a_cut_is_what_every_store_takes(size_bytes: int, preferred: int) -> None:
    plan = cut(size_bytes, preferred)
    assert 1 <= plan.part_count <= MAX_PARTS
    assert MIN_PART_BYTES <= plan.part_size_bytes <= MAX_PART_BYTES
    assert plan.part_size_bytes >= preferred
    assert plan.upload_id == ""


@given(sizes, preferences)
def test_parts_are_contiguous_and_cover_the_object_exactly(size_bytes: int, preferred: int) -> None:
    plan = cut(size_bytes, preferred)
    assert plan.offset_of(1) == 0
    for number in some_numbers(plan):
        end = plan.offset_of(number) + plan.size_of(number, size_bytes)
        is_last = number == plan.part_count
        assert end == (size_bytes if is_last else plan.offset_of(number + 1))
        assert 1 <= plan.size_of(number, size_bytes) <= plan.part_size_bytes
        assert is_last or plan.size_of(number, size_bytes) == plan.part_size_bytes
    whole = (plan.part_count - 1) * plan.part_size_bytes + plan.size_of(plan.part_count, size_bytes)
    assert whole == size_bytes


@given(sizes, preferences)
def test_a_part_grows_only_where_ten_thousand_of_the_preferred_size_do_not_suffice(size: int, preferred: int) -> None:
    plan = cut(size, preferred)
    if preferred * MAX_PARTS >= size:
        assert plan.part_size_bytes == preferred
    else:
        assert plan.part_size_bytes % MIB == 0
        assert (plan.part_size_bytes - MIB) * MAX_PARTS < size


@pytest.mark.parametrize(
    ("size_bytes", "preferred", "part_size_bytes", "part_count"),
    [
        (1, 16 * MIB, 16 * MIB, 1),
        ((9 * MIB + 1) * MAX_PARTS, 9 * MIB + 1, 9 * MIB + 1, MAX_PARTS),
        (16 * MIB, 16 * MIB, 16 * MIB, 1),
        (16 * MIB + 1, 16 * MIB, 16 * MIB, 2),
        (16 * MIB * 10_000, 16 * MIB, 16 * MIB, 10_000),
        (16 * MIB * 10_000 + 1, 16 * MIB, 17 * MIB, 9_412),
        (5 * TIB, 5 * MIB, 525 * MIB, 9_987),
        (5 * TIB, MAX_PART_BYTES, MAX_PART_BYTES, 1_024),
        (1, 1, MIN_PART_BYTES, 1),
    ],
)
def test_a_cut_at_its_edges(size_bytes: int, preferred: int, part_size_bytes: int, part_count: int) -> None:
    assert cut(size_bytes, preferred) == Multipart(part_size_bytes=part_size_bytes, part_count=part_count)


shortish = st.integers(1, 60 * MIB)


@given(shortish, st.data())
def test_exactly_what_is_not_there_is_missing(size_bytes: int, data: st.DataObject) -> None:
    plan = cut(size_bytes, MIN_PART_BYTES)
    parts = stored(plan, size_bytes)
    absent = data.draw(st.sets(st.sampled_from([part.number for part in parts])))
    present = data.draw(st.permutations([part for part in parts if part.number not in absent]))
    assert missing(plan, size_bytes, present) == sorted(absent)
    assert is_exact(plan, size_bytes, present) == (not absent)


@given(shortish, st.data())
def test_a_part_of_another_size_is_missing_and_spoils_the_set(size_bytes: int, data: st.DataObject) -> None:
    plan = cut(size_bytes, MIN_PART_BYTES)
    parts = stored(plan, size_bytes)
    at = data.draw(st.integers(0, len(parts) - 1))
    wrong = data.draw(st.integers(0, 2 * plan.part_size_bytes))
    assume(wrong != parts[at].size_bytes)
    parts[at] = StoredPart(number=parts[at].number, size_bytes=wrong, etag="other")
    assert missing(plan, size_bytes, parts) == [parts[at].number]
    assert not is_exact(plan, size_bytes, parts)


@pytest.mark.parametrize("beside", [0, 4, 10_000])
def test_a_part_too_many_spoils_the_set(beside: int) -> None:
    plan = cut(11 * MIB, 5 * MIB)
    parts = [*stored(plan, 11 * MIB), StoredPart(number=beside, size_bytes=5 * MIB, etag="extra")]
    assert missing(plan, 11 * MIB, parts) == []
    assert not is_exact(plan, 11 * MIB, parts)
