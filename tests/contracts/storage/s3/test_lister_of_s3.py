"""What only S3 lists: uploads in parts, and buckets of stores that have no listing of versions."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.clock import SystemClock
from broker.domain.errors import StoreRefused, StoreUnavailable
from broker.ports import ListedObject
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.lister import S3ObjectLister
from broker.storage.s3.sigv4 import Credential, SigV4
from tests.contracts.storage.s3.multiparts import SPEC as LARGE
from tests.contracts.storage.s3.multiparts import PartsPlace
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.test_lister import NAMES, SKEW, all_of

Answering = Callable[..., Awaitable[S3ObjectLister]]


@pytest.fixture
def prefix() -> str:
    return f"up's-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def lister(store: S3Store, http: aiohttp.ClientSession, prefix: str) -> S3ObjectLister:
    """On the plain bucket, three entries a page."""
    return store.place(store.bucket, http, prefix=prefix, page_size=3).lister


async def test_where_nothing_was_begun_one_empty_page_of_uploads_says_so(lister: S3ObjectLister) -> None:
    assert [page async for page in lister.uploads()] == [[]]


async def test_unfinished_uploads_are_listed_with_their_age_until_they_end(
    store: S3Store, lister: S3ObjectLister, http: aiohttp.ClientSession, prefix: str
) -> None:
    place = PartsPlace.on(store, store.bucket, http, store.credential)
    keys = [f"{prefix}/{name}" for name in ("a b+c%41&d.csv", "é日本.csv", "plain", "zz")]
    opened = {(key, await place.uploads.open(key, LARGE, "sealed")) for key in [*keys, *keys]}
    await place.uploads.open(f"{prefix}-other/a", LARGE, "sealed")

    listed = await all_of(lister.uploads())

    assert {(each.key, each.upload_id) for each in listed} == opened
    assert len(listed) == len(opened)
    assert all(abs(each.initiated - datetime.now(UTC)) < SKEW for each in listed)
    for key, upload_id in opened:
        assert await place.remover.abort(key, upload_id)
    assert await all_of(lister.uploads()) == []


async def test_a_store_that_refuses_us_is_not_taken_for_one_without_uploads(
    store: S3Store, http: aiohttp.ClientSession
) -> None:
    stranger = store.place(store.bucket, http, who="neighbour").lister

    with pytest.raises(StoreRefused):
        await all_of(stranger.uploads())


async def test_where_there_is_no_listing_of_versions_the_latest_are_listed(
    store: S3Store, lister: S3ObjectLister, prefix: str
) -> None:
    """`_latest` is what R2 gets; these stores have both calls, and both must tell the same."""
    await asyncio.gather(*(store.witness.put(store.bucket, f"{prefix}/{name}", b"x") for name in NAMES))

    assert await all_of(lister._latest()) == await all_of(lister.objects())


# --- answers that no store under test gives


@pytest.fixture
async def answering(http: aiohttp.ClientSession) -> AsyncIterator[Answering]:
    """A lister whose store gives these answers, one after the other and the last one for ever."""
    servers: list[TestServer] = []

    async def start(*answers: tuple[int, str]) -> S3ObjectLister:
        left = list(answers)

        async def answer(request: web.Request) -> web.Response:  # noqa: ARG001
            status, body = left.pop(0) if len(left) > 1 else left[0]
            return web.Response(status=status, text=body)

        app = web.Application()
        app.router.add_get("/{any:.*}", answer)
        server = TestServer(app, host="127.0.0.1")
        servers.append(server)
        await server.start_server()
        endpoint = Endpoint.of(bucket="acme", region="x", url=str(server.make_url("/")), addressing="path")
        sigv4 = SigV4(region="x")
        caller = S3Caller(http=http, sigv4=sigv4, endpoint=endpoint, clock=SystemClock(), timeout=timedelta(seconds=5))
        credentials = FixedCredentials(credential=Credential(access_key="a", secret_key="b"))
        return S3ObjectLister(caller=caller, credentials=credentials, prefix="uploads")

    yield start
    for server in servers:
        await server.close()


NOT_IMPLEMENTED = (501, "<Error><Code>NotImplemented</Code></Error>")
ONE = (
    "<Contents><Key>uploads/a%20b</Key><Size>1</Size><ETag>x</ETag>"
    "<LastModified>2026-11-20T12:00:00.000Z</LastModified></Contents>"
)


async def test_a_store_without_versions_is_listed_by_its_latest(answering: Answering) -> None:
    page = f"<ListBucketResult><EncodingType>url</EncodingType>{ONE}</ListBucketResult>"
    lister = await answering(NOT_IMPLEMENTED, (200, page))

    (listed,) = await all_of(lister.objects())

    assert listed == ListedObject(
        key="uploads/a b",
        size_bytes=1,
        etag="x",
        version=None,
        is_latest=True,
        last_modified=datetime(2026, 11, 20, 12, tzinfo=UTC),
    )


def page(root: str, *children: str) -> tuple[int, str]:
    return 200, f"<{root}>{''.join(children)}</{root}>"


MORE = "<IsTruncated>true</IsTruncated>"
SENSELESS = {
    "no marker": [page("ListVersionsResult", MORE)],
    "a circle": [page("ListVersionsResult", MORE, "<NextKeyMarker>uploads/a</NextKeyMarker>")],
    "no size": [page("ListVersionsResult", "<Version><Key>uploads/a</Key><Size>-1</Size></Version>")],
    "no listing": [page("html", "welcome")],
    "nothing": [(200, "")],
    "trouble": [(500, "")],
    "no token": [NOT_IMPLEMENTED, page("ListBucketResult", MORE)],
    "a circle of tokens": [
        NOT_IMPLEMENTED,
        page("ListBucketResult", MORE, "<NextContinuationToken>t</NextContinuationToken>"),
    ],
}


@pytest.mark.parametrize("answers", SENSELESS.values(), ids=SENSELESS.keys())
async def test_an_answer_that_makes_no_sense_is_trouble_and_no_end(
    answering: Answering, answers: list[tuple[int, str]]
) -> None:
    lister = await answering(*answers)

    with pytest.raises(StoreUnavailable):
        await all_of(lister.objects())
