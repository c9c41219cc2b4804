"""What is asked of Cloud Storage, how its answers are read, and how its troubles are named."""

import logging
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from broker.contract import Checksum
from broker.domain.errors import StoreRefused, StoreUnavailable, Unavailable
from broker.domain.objects import ObjectInfo, Pin
from broker.storage.gcs.caller import LONGEST_WAIT, MAX_ANSWER_BYTES
from broker.storage.gcs.store import GcsObjectHead, GcsObjectRemover
from tests.unit.storage.gcs.scripted import Answers, Scripted, Sent, answer, error, scripted

KEY = "uploads/0abc/ä b.csv"
FOUND = {
    "kind": "storage#object",
    "name": KEY,
    "bucket": "acme",
    "generation": "1732178000123456",
    "metageneration": "1",
    "size": "17",
    "contentType": "text/csv",
    "md5Hash": "CY9rzUYh03PK3k6DJie09g==",
    "crc32c": "AAAAAA==",
    "metadata": {"upload-session": "sealed", "case": "17"},
    "timeCreated": "2026-11-21T08:29:00.123Z",
    "updated": "2026-11-21T08:29:30.123Z",
}
LIST_DENIED = "reader@acme does not have storage.objects.list access. Permission 'storage.objects.list' denied"
GET_DENIED = "reader@acme does not have storage.objects.get access. Permission 'storage.objects.get' denied"


def resource(**differs: object) -> bytes:
    shown = {name: value for name, value in {**FOUND, **differs}.items() if value is not None}
    return answer(200, msgspec.json.encode(shown), content_type="application/json")


def head_at(store: Scripted) -> GcsObjectHead:
    return GcsObjectHead(caller=store.caller, tokens=store.tokens, bucket="acme")


async def head_of(told: Answers | bytes) -> ObjectInfo | None:
    async with scripted(told) as store:
        return await head_at(store).head(KEY)


async def trouble_of(told: Answers | bytes) -> Unavailable:
    with pytest.raises(Unavailable) as caught:
        await head_of(told)
    return caught.value


async def test_everything_that_the_resource_tells_is_read() -> None:
    assert await head_of(resource()) == ObjectInfo(
        size_bytes=17,
        content_type="text/csv",
        etag="098f6bcd4621d373cade4e832627b4f6",
        version="1732178000123456",
        checksum=Checksum(crc32c="AAAAAA==", md5="CY9rzUYh03PK3k6DJie09g=="),
        metadata={"upload-session": "sealed", "case": "17"},
        last_modified=datetime(2026, 11, 21, 8, 29, 0, 123_000, tzinfo=UTC),
    )


async def test_exactly_one_request_is_sent_with_the_name_as_one_segment_and_the_token() -> None:
    async with scripted(resource()) as store:
        await head_at(store).head(KEY)

    (sent,) = store.sent
    assert sent.line == "GET /storage/v1/b/acme/o/uploads%2F0abc%2F%C3%A4%20b.csv HTTP/1.1"
    assert sent.headers["authorization"] == "Bearer first"
    assert sent.headers["host"] == store.host
    assert sent.body == b""


async def test_a_generation_is_asked_for_by_its_number_and_nothing_else_is_one() -> None:
    async with scripted(resource()) as store:
        assert await head_at(store).head_version(KEY, "1732178000123456") is not None
        for foreign in ("", "null", "-1", "1&x=2", "٣", "9" * 20):
            assert await head_at(store).head_version(KEY, foreign) is None

    (sent,) = store.sent
    assert sent.line.endswith("?generation=1732178000123456 HTTP/1.1")


async def test_an_object_without_a_digest_is_told_from_others_by_its_generation() -> None:
    info = await head_of(resource(md5Hash=None, contentType=None, metadata=None))

    assert info is not None
    assert (info.etag, info.content_type, info.metadata) == ("1732178000123456", "", {})
    assert info.checksum == Checksum(crc32c="AAAAAA==")


async def test_what_would_be_decompressed_on_its_way_is_of_another_type_than_any_that_is_declared() -> None:
    info = await head_of(resource(contentEncoding="gzip"))

    assert info is not None
    assert info.content_type == "text/csv in gzip"


@pytest.mark.parametrize(
    "told",
    [
        error(404, "notFound", "No such object: acme/k"),
        answer(404, b"No such object: acme/k"),
        error(403, "forbidden", LIST_DENIED),
    ],
)
async def test_an_object_that_is_not_there_is_none(told: bytes) -> None:
    assert await head_of(told) is None


@pytest.mark.parametrize("status", [400, 401, 403, 405, 501])
async def test_what_an_operator_must_mend_is_a_refusal(status: int) -> None:
    trouble = await trouble_of(error(status, "required", "no"))

    assert isinstance(trouble, StoreRefused)
    assert f"{status} required" in trouble.detail


@pytest.mark.parametrize(
    "message",
    [
        "Request for acme/uploads/ID/storage.objects.list is prohibited by organization's policy",
        "writer@acme does not have storage.objects.get access to acme/uploads/ID/Permission 'storage.objects.list'",
    ],
)
async def test_a_file_name_does_not_make_a_refusal_an_absence(message: str) -> None:
    """Older texts name the object, and its name is the client's."""
    assert isinstance(await trouble_of(error(403, "forbidden", message)), StoreRefused)


async def test_a_bucket_that_is_not_there_is_no_missing_object() -> None:
    trouble = await trouble_of(error(404, "notFound", "The specified bucket does not exist."))

    assert isinstance(trouble, StoreRefused)


async def test_the_missing_permission_is_named_in_error_and_log_and_nothing_else_of_the_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        trouble = await trouble_of(error(403, "forbidden", f"{GET_DENIED} ya29.secret"))

    assert isinstance(trouble, StoreRefused)
    assert trouble.detail == "the store answers 403 forbidden: the service account lacks storage.objects.get"
    (record,) = caplog.records
    assert (record.message, record.reason) == (  # type: ignore[attr-defined]
        "store.refused",
        "the service account lacks storage.objects.get",
    )
    assert "secret" not in str(record.__dict__)
    assert "acme" not in str(record.__dict__)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 418])
async def test_what_may_pass_is_unavailable(status: int) -> None:
    trouble = await trouble_of(error(status, "backendError", "later"))

    assert isinstance(trouble, StoreUnavailable)
    assert str(status) in trouble.detail


async def test_a_403_of_a_rate_is_patience_and_no_refusal() -> None:
    assert isinstance(await trouble_of(error(403, "rateLimitExceeded", "slow down")), StoreUnavailable)


@pytest.mark.parametrize(
    ("asked", "waits"),
    [("7", timedelta(seconds=7)), ("0", timedelta(seconds=1)), ("86400", LONGEST_WAIT), ("soon", timedelta(seconds=1))],
)
async def test_the_patience_that_is_asked_for_is_had_within_reason(asked: str, waits: timedelta) -> None:
    trouble = await trouble_of(error(503, "backendError", "later", retry_after=asked))

    assert trouble.retry_after == waits


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"name": "k"}', msgspec.json.encode({**FOUND, "size": "much"}), b'{"\xff": 1}'],
)
async def test_what_is_no_resource_is_no_answer(body: bytes) -> None:
    assert isinstance(await trouble_of(answer(200, body)), StoreUnavailable)


async def test_no_answer_is_unavailable_and_the_error_names_no_url() -> None:
    for told in (b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", b"nonsense\r\n\r\n"):
        trouble = await trouble_of(told)
        assert isinstance(trouble, StoreUnavailable)
        assert "127.0.0.1" not in trouble.detail
        assert "uploads" not in trouble.detail


async def test_a_token_that_is_not_taken_is_replaced_once() -> None:
    def told(sent: Sent) -> bytes:
        return resource() if sent.headers["authorization"] == "Bearer second" else error(401, "authError", "no")

    async with scripted(told) as store:
        store.tokens.texts.append("second")
        assert await head_at(store).head(KEY) is not None

    assert [sent.headers["authorization"] for sent in store.sent] == ["Bearer first", "Bearer second"]
    assert store.tokens.distrusted == ["first"]


async def test_tokens_that_are_never_taken_are_a_refusal_after_two() -> None:
    async with scripted(error(401, "authError", "no")) as store:
        store.tokens.texts += ["second", "third"]
        with pytest.raises(StoreRefused, match="401 authError"):
            await head_at(store).head(KEY)

    assert len(store.sent) == 2


async def test_an_answer_shows_nothing_that_may_be_a_secret() -> None:
    """Where a session opens, its Location is one."""
    async with scripted(answer(200, b"ya29.secret", location="https://storage.example/secret")) as store:
        shown = repr(await store.caller.send("POST", "/"))

    assert "status=200" in shown
    assert "secret" not in shown


async def test_no_more_is_read_than_anybody_asked_for() -> None:
    trouble = await trouble_of(answer(200, b" " * (MAX_ANSWER_BYTES + 1)))

    assert isinstance(trouble, StoreUnavailable)
    assert "more than anybody asked for" in trouble.detail


async def test_a_redirect_is_not_followed() -> None:
    async with scripted(answer(302, location="http://127.0.0.1:1/elsewhere")) as store:
        with pytest.raises(StoreRefused, match="302"):
            await head_at(store).head(KEY)

    assert len(store.sent) == 1


@pytest.mark.parametrize(
    ("told", "is_removed"),
    [
        (answer(204), True),
        (error(404, "notFound", "No such object: acme/k"), False),
        # A janitor that lists under a condition on the prefix of the listing, as `setup gcs` prints it.
        (error(403, "forbidden", LIST_DENIED), False),
    ],
)
async def test_exactly_one_generation_is_removed(told: bytes, is_removed: bool) -> None:
    async with scripted(told) as store:
        remover = GcsObjectRemover(caller=store.caller, tokens=store.tokens, bucket="acme")
        assert await remover.remove(KEY, Pin(etag="x", version="17")) is is_removed

    (sent,) = store.sent
    assert sent.line == "DELETE /storage/v1/b/acme/o/uploads%2F0abc%2F%C3%A4%20b.csv?generation=17 HTTP/1.1"


@pytest.mark.parametrize("version", [None, "null", "", "17&ifGenerationMatch=1"])
async def test_nothing_is_removed_without_a_generation(version: str | None) -> None:
    async with scripted(answer(204)) as store:
        remover = GcsObjectRemover(caller=store.caller, tokens=store.tokens, bucket="acme")
        assert not await remover.remove(KEY, Pin(etag="x", version=version))

    assert store.sent == []


async def test_a_removal_that_is_not_permitted_is_said() -> None:
    async with scripted(error(403, "forbidden", "Permission 'storage.objects.delete' denied on resource")) as store:
        remover = GcsObjectRemover(caller=store.caller, tokens=store.tokens, bucket="acme")
        with pytest.raises(StoreRefused, match=r"storage\.objects\.delete"):
            await remover.remove(KEY, Pin(etag="x", version="17"))
