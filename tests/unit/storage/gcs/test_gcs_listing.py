"""What lies in a bucket of Cloud Storage, and the note that says whose it is."""

from datetime import UTC, datetime

import msgspec
import pytest

from broker.domain.errors import StoreRefused, StoreUnavailable
from broker.ports import ListedObject
from broker.storage.gcs.lister import GcsObjectLister
from broker.storage.gcs.mark import GcsStoreMark
from tests.unit.storage.gcs.scripted import NOW, Answers, Scripted, Sent, answer, error, scripted

TIME = "2026-11-21T08:29:00Z"
OLD = {"name": "up/k", "generation": "1", "size": "3", "timeCreated": TIME, "timeDeleted": TIME, "md5Hash": "AAAA"}
LIVE = {"name": "up/k", "generation": "2", "size": "0", "timeCreated": TIME}


def page(*items: object, token: str = "") -> bytes:
    return answer(200, msgspec.json.encode({"kind": "storage#objects", "items": items, "nextPageToken": token}))


def lister_at(store: Scripted) -> GcsObjectLister:
    return GcsObjectLister(caller=store.caller, tokens=store.tokens, bucket="acme", prefix="up", page_size=2)


async def listed(told: Answers | bytes) -> list[ListedObject]:
    async with scripted(told) as store:
        return [each async for found in lister_at(store).objects() for each in found]


async def test_every_generation_is_listed_and_the_live_one_is_known() -> None:
    moment = datetime(2026, 11, 21, 8, 29, tzinfo=UTC)
    assert await listed(page(OLD, LIVE)) == [
        ListedObject(key="up/k", size_bytes=3, etag="000000", version="1", is_latest=False, last_modified=moment),
        ListedObject(key="up/k", size_bytes=0, etag="2", version="2", is_latest=True, last_modified=moment),
    ]


async def test_pages_follow_each_other_and_ask_for_versions_below_the_prefix() -> None:
    def told(sent: Sent) -> bytes:
        return page(LIVE) if "pageToken=a%2Fb" in sent.line else page(OLD, token="a/b")

    async with scripted(told) as store:
        assert [len(found) async for found in lister_at(store).objects()] == [1, 1]

    first, second = (sent.line for sent in store.sent)
    assert first.startswith("GET /storage/v1/b/acme/o?prefix=up%2F&versions=true&maxResults=2&fields=")
    assert second.endswith("&pageToken=a%2Fb HTTP/1.1")


async def test_an_empty_bucket_is_one_page_of_nothing_and_knows_no_uploads() -> None:
    assert await listed(answer(200, b'{"kind": "storage#objects"}')) == []
    async with scripted(b"") as store:
        assert [found async for found in lister_at(store).uploads()] == [()]
    assert store.sent == []


@pytest.mark.parametrize("body", [b"", b"[]", b'{"items": [{}]}', b'{"items": [{"name": "k"}]}'])
async def test_what_is_no_listing_is_not_taken_for_an_empty_bucket(body: bytes) -> None:
    with pytest.raises(StoreUnavailable):
        await listed(answer(200, body))


async def test_a_listing_that_turns_in_circles_is_left() -> None:
    with pytest.raises(StoreUnavailable, match="same page"):
        await listed(page(LIVE, token="again"))


@pytest.mark.parametrize(
    "told",
    [
        error(404, "notFound", "The specified bucket does not exist."),
        error(403, "forbidden", "Permission 'storage.objects.list' denied on resource (or it may not exist)."),
    ],
)
async def test_a_listing_that_is_refused_is_no_empty_one(told: bytes) -> None:
    with pytest.raises(StoreRefused):
        await listed(told)


def mark_at(store: Scripted) -> GcsStoreMark:
    return GcsStoreMark(
        caller=store.caller, reading=store.tokens, writing=store.tokens, bucket="acme", prefix="uploads"
    )


async def test_the_note_is_written_unless_there_is_one() -> None:
    async with scripted(answer(200, b"{}")) as store:
        await mark_at(store).write("store-1", now=NOW)

    (sent,) = store.sent
    assert sent.line == (
        "POST /upload/storage/v1/b/acme/o?uploadType=media&name=uploads%2F.broker&ifGenerationMatch=0 HTTP/1.1"
    )
    assert sent.headers["content-type"] == "application/json"
    assert msgspec.json.decode(sent.body)["id"] == "store-1"
    async with scripted(answer(200, sent.body)) as store:
        assert await mark_at(store).read() == "store-1"
    assert store.sent[0].line == "GET /storage/v1/b/acme/o/uploads%2F.broker?alt=media HTTP/1.1"


async def test_a_note_that_is_there_already_stays() -> None:
    async with scripted(error(412, "conditionNotMet", "no")) as store:
        await mark_at(store).write("store-2", now=NOW)


async def test_a_note_that_could_not_be_left_is_said() -> None:
    async with scripted(error(403, "forbidden", "Permission 'storage.objects.create' denied")) as store:
        with pytest.raises(StoreRefused, match=r"storage\.objects\.create"):
            await mark_at(store).write("store-2", now=NOW)


@pytest.mark.parametrize("told", [answer(404, b"No such object: acme/uploads/.broker"), error(404, "notFound", "No")])
async def test_where_nobody_left_a_note_there_is_none(told: bytes) -> None:
    async with scripted(told) as store:
        assert await mark_at(store).read() is None


async def test_a_missing_bucket_is_no_missing_note() -> None:
    async with scripted(answer(404, b"The specified bucket does not exist.")) as store:
        with pytest.raises(StoreRefused):
            await mark_at(store).read()


@pytest.mark.parametrize("body", [b"hello", b"{}", b'{"id": "", "written_at": "2026-11-21T08:30:00Z", "product": "x"}'])
async def test_something_else_under_that_name_is_no_note(body: bytes) -> None:
    async with scripted(answer(200, body)) as store:
        with pytest.raises(StoreRefused, match="no note of a broker"):
            await mark_at(store).read()
