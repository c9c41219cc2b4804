"""Parsers and pages, over all that hypothesis can think of."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emulators.gcs.catalogue import Catalogue
from emulators.gcs.errors import GcsError
from emulators.gcs.listing import Query, behind, page_of
from emulators.gcs.records import Bucket, Stored
from emulators.gcs.related import Related

BOUNDARY = b"=_b"
NAMES = st.text(st.sampled_from("ab/é😀"), min_size=1, max_size=5)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    bounds = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[low:high] for low, high in pairwise(bounds)]


async def arriving(data: list[bytes]) -> AsyncIterator[bytes]:
    for piece in data:
        yield piece


async def taken_apart(data: list[bytes]) -> tuple[bytes, bytes]:
    related = Related(arriving(data), BOUNDARY)
    resource = await related.resource()
    return resource, b"".join([piece async for piece in related.content()])


@settings(deadline=None)
@given(
    content=st.lists(st.sampled_from([b"\r\n--=_", b"\r\n--=_a", b"\r\n", b"--", b"x", b"\r", b"=_b"])).map(b"".join),
    cuts=st.lists(st.integers(0, 10_000)),
)
def test_multipart_content_is_the_same_however_it_arrives(content: bytes, cuts: list[int]) -> None:
    if b"\r\n--=_b" in b"\r\n" + content:
        content = b""
    body = b"--=_b\r\ncontent-type: application/json\r\n\r\n{}\r\n--=_b\r\ncontent-type: a/b\r\n\r\n" + content
    assert asyncio.run(taken_apart(pieces(body + b"\r\n--=_b--", cuts))) == (b"{}", content)


@settings(deadline=None)
@given(body=st.binary(max_size=200), cuts=st.lists(st.integers(0, 200)))
def test_what_is_no_multipart_is_refused_and_nothing_else_happens(body: bytes, cuts: list[int]) -> None:
    with pytest.raises(GcsError):
        asyncio.run(taken_apart(pieces(body, cuts)))


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalogue]:
    path: Path = tmp_path_factory.mktemp("pages") / "catalogue.sqlite3"
    catalogue = Catalogue(path, is_fsynced=False)
    yield catalogue
    catalogue.close()


def stored(catalogue: Catalogue, name: str) -> Stored:
    generation = catalogue.next_generation()
    return Stored(name=name, generation=generation, created=0, updated=0, size_bytes=0, crc32c="", md5="")


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    names=st.sets(NAMES, max_size=12),
    prefix=st.just("") | NAMES,
    delimiter=st.sampled_from(["", "/", "b/", "é"]),
    limit=st.integers(1, 4),
)
def test_pages_together_are_the_whole_listing(
    catalogue: Catalogue, names: set[str], prefix: str, delimiter: str, limit: int
) -> None:
    bucket = Bucket(name=str(catalogue.next_generation()), created=0, updated=0, location="US")
    for name in names:
        catalogue.put(bucket, stored(catalogue, name))
    query = Query(
        bucket=bucket.name,
        prefix=prefix,
        delimiter=delimiter,
        low=prefix.encode(),
        high=behind(prefix.encode()),
        limit=limit,
        all_versions=False,
    )
    seen: list[str] = []
    cursor: tuple[bytes, int] | None = (b"", -1)
    while cursor is not None:
        items, prefixes, cursor = page_of(catalogue, query, cursor)
        assert len(items) + len(prefixes) <= limit
        seen += sorted([each.name for each in items] + prefixes, key=str.encode)
    assert seen == expected(names, prefix, delimiter)


def expected(names: set[str], prefix: str, delimiter: str) -> list[str]:
    folded = set()
    for name in names:
        if name.startswith(prefix):
            head, found, _ = name[len(prefix) :].partition(delimiter) if delimiter else (name, "", "")
            folded.add(prefix + head + found if found else name)
    return sorted(folded, key=str.encode)
