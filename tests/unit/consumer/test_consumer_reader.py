"""Reading from a store that breaks: every byte once, or a fault that says why."""

import asyncio
import base64
import hashlib
import random
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker import contract
from consumer import errors
from consumer.remote import RemoteReader

BODY = random.Random(7).randbytes(300_000)
Open = Callable[[], Awaitable[RemoteReader]]


async def _all(pieces: AsyncIterator[bytes]) -> list[bytes]:
    return [piece async for piece in pieces]


@pytest.mark.parametrize("size", [1000, 65_536, 299_999, 300_000, 1_000_000])
async def test_chunks_have_the_size_that_was_asked_for_and_the_last_is_shorter(
    standin: Any, open_reader: Open, size: int
) -> None:
    standin.add(BODY)
    chunks = await _all((await open_reader()).iter_chunks(size))
    assert b"".join(chunks) == BODY
    assert {len(chunk) for chunk in chunks[:-1]} <= {size}
    assert 0 < len(chunks[-1]) <= size


async def test_an_empty_object_is_read_with_one_get(standin: Any, open_reader: Open) -> None:
    job = standin.add(b"")
    reader = await open_reader()
    assert await reader.read() == b""
    assert len(standin.objects[job].gets) == 1


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", []),
        (b"a", [b"a"]),
        (b"a\n", [b"a"]),
        (b"a\r\nb\n\nc", [b"a", b"b", b"", b"c"]),
        (b"\n\n", [b"", b""]),
        (b"x" * 100_000 + b"\ny", [b"x" * 100_000, b"y"]),
    ],
)
async def test_lines_come_without_their_ends(
    standin: Any, open_reader: Open, body: bytes, expected: list[bytes]
) -> None:
    standin.add(body)
    assert await _all((await open_reader()).iter_lines()) == expected


async def test_a_line_that_never_ends_is_refused_in_constant_memory(standin: Any, open_reader: Open) -> None:
    standin.add(b"x" * 300_000)
    reader = await open_reader()
    with pytest.raises(errors.LineTooLong):
        await _all(reader.iter_lines(max_bytes=1000))


async def test_read_refuses_more_than_was_permitted(standin: Any, open_reader: Open) -> None:
    job = standin.add(BODY)
    with pytest.raises(errors.TooLargeForMemory):
        await (await open_reader()).read(max_bytes=len(BODY) - 1)
    assert standin.objects[job].gets == []


@pytest.mark.parametrize(("start", "end"), [(0, 10), (5, 5), (299_990, 400_000), (0, 300_000), (400_000, 500_000)])
async def test_a_range_is_that_range(standin: Any, open_reader: Open, start: int, end: int) -> None:
    standin.add(BODY)
    assert await (await open_reader()).read_range(start, end) == BODY[start:end]


async def test_a_range_that_is_none_is_the_caller_s_mistake(standin: Any, open_reader: Open) -> None:
    standin.add(BODY)
    reader = await open_reader()
    with pytest.raises(ValueError, match="range"):
        await reader.read_range(-1, 5)
    with pytest.raises(errors.TooLargeForMemory):
        await reader.read_range(0, 300_000, max_bytes=10)


async def test_a_file_has_the_bytes_and_is_removed(standin: Any, open_reader: Open, tmp_path: Path) -> None:
    standin.add(BODY)
    async with (await open_reader()).as_file(suffix=".tif") as path:
        assert path.suffix == ".tif"
        assert await asyncio.to_thread(path.read_bytes) == BODY
    assert _is_empty(tmp_path)


async def test_a_file_whose_bytes_do_not_hold_is_never_shown(
    standin: Any, open_reader: Open, tmp_path: Path, digests: Any
) -> None:
    standin.add(BODY, prove=["sha256"], checksum=digests(b"other"))
    with pytest.raises(errors.ChecksumMismatch):
        async with (await open_reader()).as_file():
            pytest.fail("the file was shown")
    assert _is_empty(tmp_path)


async def test_a_disk_that_is_not_there_is_spool_trouble(standin: Any, open_reader: Open, tmp_path: Path) -> None:
    standin.add(BODY)
    reader = await open_reader()
    _remove(tmp_path)
    with pytest.raises(errors.SpoolTrouble):
        async with reader.as_file():
            pytest.fail("there is no file")
    assert isinstance(reader.fault, errors.SpoolTrouble)


@pytest.mark.parametrize("kind", ["truncate", "reset", "stall"])
async def test_a_broken_get_goes_on_by_range_and_reads_no_byte_twice(
    standin: Any, open_reader: Open, fault: Any, kind: str
) -> None:
    job = standin.add(BODY, faults=[fault(kind=kind, after=100_000), fault(kind=kind, after=50_000)])
    chunks = await _all((await open_reader()).iter_chunks(10_000))
    assert b"".join(chunks) == BODY
    starts = [start for start, _ in standin.objects[job].gets]
    if kind == "reset":  # a reset may destroy what was on its way
        assert starts == sorted(starts)
        assert starts[1] <= 100_000
    else:
        assert starts == [0, 100_000, 150_000]


async def test_a_range_resumes_within_itself(standin: Any, open_reader: Open, fault: Any) -> None:
    job = standin.add(BODY, faults=[fault(kind="truncate", after=10)])
    assert await (await open_reader()).read_range(1000, 2000) == BODY[1000:2000]
    assert [start for start, _ in standin.objects[job].gets] == [1000, 1010]


async def test_a_refused_get_is_sent_again_with_a_fresh_grant(standin: Any, open_reader: Open, fault: Any) -> None:
    job = standin.add(BODY, faults=[fault(kind="truncate", after=1000)])
    reader = await open_reader()
    chunks = reader.iter_chunks(1000)
    assert await anext(chunks) == BODY[:1000]
    standin.ended_grants.add(1)
    assert b"".join(await _all(chunks)) == BODY[1000:]
    assert standin.objects[job].gets == [(0, 1), (1000, 2)]
    assert len(standin.verbs("renew")) == 1


@pytest.mark.parametrize("life", [-1.0, 0.0])
async def test_a_grant_that_has_ended_is_renewed_before_it_is_used(
    standin: Any, open_reader: Open, life: float
) -> None:
    job = standin.add(BODY)
    whole, standin.life = standin.life, standin.life * life
    reader = await open_reader()
    standin.life = whole
    assert await reader.read() == BODY
    assert standin.objects[job].gets == [(0, 2)]


@pytest.mark.parametrize("hours", [-5, 5])
async def test_a_wrong_clock_here_does_not_make_a_grant_look_ended(standin: Any, open_reader: Open, hours: int) -> None:
    standin.clock_offset += standin.life * 60 * hours
    job = standin.add(BODY)
    assert await (await open_reader()).read() == BODY
    assert standin.objects[job].gets == [(0, 1)]


@pytest.mark.parametrize("status", [403, 400, 500, 503, 429, 302])
async def test_a_store_that_keeps_refusing_is_trouble_after_bounded_tries(
    standin: Any, open_reader: Open, fault: Any, status: int
) -> None:
    job = standin.add(BODY, faults=[fault(kind="status", status=status)] * 10)
    with pytest.raises(errors.StoreTrouble) as caught:
        await (await open_reader()).read()
    assert len(standin.objects[job].gets) == 4
    assert "://" not in str(caught.value)


async def test_progress_renews_the_patience(standin: Any, open_reader: Open, fault: Any) -> None:
    standin.add(BODY, faults=[fault(kind="truncate", after=10)] * 10)
    assert await (await open_reader()).read() == BODY


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("status", 404, errors.ObjectMissing),
        ("status", 412, errors.ObjectChanged),
        ("status", 416, errors.ObjectChanged),
        ("etag", 0, errors.ObjectChanged),
        ("longer", 0, errors.ObjectChanged),
    ],
)
async def test_what_is_not_what_was_verified_ends_the_read_at_once(
    standin: Any, open_reader: Open, fault: Any, kind: str, status: int, error: type[Exception]
) -> None:
    job = standin.add(BODY, faults=[fault(kind=kind, status=status)] * 5)
    reader = await open_reader()
    with pytest.raises(error):
        await reader.read()
    assert len(standin.objects[job].gets) == 1
    assert isinstance(reader.fault, error)


async def test_a_store_that_numbers_what_it_has_is_asked_for_the_number_and_for_no_etag(
    standin: Any, open_reader: Open, fault: Any
) -> None:
    """Cloud Storage shows no MD5 as ETag of what is encrypted under a key of the customer's, also in between."""
    job = standin.add(BODY, version="17", faults=[fault(kind="truncate", after=1000), fault(kind="etag")])
    standin.objects[job].etag, standin.objects[job].generation = '"CKih16GjycICEAE="', "17"

    assert await (await open_reader()).read() == BODY


async def test_another_number_is_another_object_whatever_its_etag_is(standin: Any, open_reader: Open) -> None:
    job = standin.add(BODY, version="17")
    standin.objects[job].generation = "18"

    with pytest.raises(errors.ObjectChanged, match="generation"):
        await (await open_reader()).read()


@pytest.mark.parametrize("kind", ["etag", "longer"])
async def test_an_object_that_changes_between_two_gets_is_found_out(
    standin: Any, open_reader: Open, fault: Any, kind: str
) -> None:
    standin.add(BODY, faults=[fault(kind="truncate", after=1000), fault(kind=kind)])
    with pytest.raises(errors.ObjectChanged):
        await (await open_reader()).read()


async def test_a_store_that_ignores_ranges_is_not_believed(standin: Any, open_reader: Open, fault: Any) -> None:
    standin.add(BODY, faults=[fault(kind="truncate", after=1000), *[fault(kind="ignore-range")] * 5])
    with pytest.raises(errors.StoreTrouble):
        await (await open_reader()).read()


async def test_a_lost_lease_ends_the_read(standin: Any, open_reader: Open, fault: Any) -> None:
    job = standin.add(BODY, faults=[fault(kind="status", status=403)])
    reader = await open_reader()
    standin.lose(job)
    with pytest.raises(errors.LeaseLost):
        await reader.read()
    assert isinstance(reader.fault, errors.LeaseLost)


@pytest.mark.parametrize("names", [["sha256"], ["md5"], ["sha256", "md5"]])
async def test_declared_digests_are_proved_while_reading(
    standin: Any, open_reader: Open, digests: Any, names: list[str]
) -> None:
    job = standin.add(BODY, prove=names, checksum=digests(BODY))
    reader = await open_reader()
    assert await reader.read() == BODY
    await reader.prove()
    assert len(standin.objects[job].gets) == 1, "the pass of the processor is proof enough"


async def test_crc32c_is_proved(standin: Any, open_reader: Open) -> None:
    pytest.importorskip("google_crc32c")
    good = contract.Checksum(crc32c="4waSgw==")  # RFC 3720 B.4 names the polynomial; "123456789" is its check value
    standin.add(b"123456789", prove=["crc32c"], checksum=good)
    assert await (await open_reader()).read() == b"123456789"
    standin.add(b"123456780", prove=["crc32c"], checksum=good)
    with pytest.raises(errors.ChecksumMismatch):
        await (await open_reader()).read()


@pytest.mark.parametrize("name", ["sha256", "md5"])
async def test_other_bytes_of_the_same_length_are_a_mismatch(
    standin: Any, open_reader: Open, digests: Any, name: str
) -> None:
    standin.add(BODY, prove=[name], checksum=digests(BODY[::-1]))
    reader = await open_reader()
    with pytest.raises(errors.ChecksumMismatch):
        await reader.read()
    with pytest.raises(errors.ChecksumMismatch):
        await reader.prove()


async def test_what_the_processor_left_unread_is_read_to_prove_it(
    standin: Any, open_reader: Open, digests: Any
) -> None:
    job = standin.add(BODY, prove=["sha256"], checksum=digests(BODY))
    reader = await open_reader()
    await reader.read_range(0, 10)
    async for _ in reader.iter_chunks(1000):
        break
    await reader.prove()
    assert len(standin.objects[job].gets) == 3


async def test_without_anything_to_prove_nothing_is_read(standin: Any, open_reader: Open) -> None:
    job = standin.add(BODY)
    await (await open_reader()).prove()
    assert standin.objects[job].gets == []


async def test_a_digest_holds_across_a_break(standin: Any, open_reader: Open, digests: Any, fault: Any) -> None:
    standin.add(
        BODY,
        prove=["sha256"],
        checksum=digests(BODY),
        faults=[fault(kind="truncate", after=77_777), fault(kind="reset", after=11)],
    )
    assert await (await open_reader()).read() == BODY


async def test_chunks_lines_and_files_take_constant_memory(standin: Any, open_reader: Open, tmp_path: Path) -> None:
    body = (b"0" * 1023 + b"\n") * 32_768  # 32 MiB
    standin.add(body, prove=["md5"], checksum=contract.Checksum(md5=_md5(body)))
    reader = await open_reader()
    tracemalloc.start()
    try:
        async for _ in reader.iter_chunks():
            pass
        async for _ in reader.iter_lines():
            pass
        async with reader.as_file() as path:
            assert path.stat().st_size == len(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 * 2**20
    assert _is_empty(tmp_path)


def _is_empty(directory: Path) -> bool:
    return not list(directory.iterdir())


def _remove(directory: Path) -> None:
    directory.rmdir()


def _md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
