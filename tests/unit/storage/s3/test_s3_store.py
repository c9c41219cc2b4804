"""How answers of a store are read, and how its troubles are named. What a real store does is in the contract suite."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from broker.contract import Checksum
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable
from broker.domain.objects import ObjectInfo, Pin
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
KEYS = Credential(access_key="AKID", secret_key="hush")
FOUND = b'HTTP/1.1 200 OK\r\ncontent-length: 17\r\ncontent-type: text/csv\r\netag: "abc"\r\n'

Answers = Callable[[bytes], bytes]


class StoppedClock:
    def now(self) -> datetime:
        return NOW


@asynccontextmanager
async def scripted_store(answers: Answers) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers each request head with the bytes that `answers` makes of it, then hangs up."""
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heads.append(head)
        writer.write(answers(head))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


@asynccontextmanager
async def caller_on(port: int, *, credential: Credential = KEYS) -> AsyncIterator[tuple[S3Caller, FixedCredentials]]:
    endpoint = Endpoint.of(bucket="acme", region="r", url=f"http://127.0.0.1:{port}", addressing="path")
    async with aiohttp.ClientSession() as http:
        yield (
            S3Caller(
                http=http,
                sigv4=SigV4(region="r"),
                endpoint=endpoint,
                clock=StoppedClock(),
                timeout=timedelta(seconds=0.5),
            ),
            FixedCredentials(credential=credential),
        )


async def head_of(answer: bytes) -> ObjectInfo | None:
    async with scripted_store(lambda _: answer) as (port, _), caller_on(port) as (caller, credentials):
        return await S3ObjectHead(caller=caller, credentials=credentials).head("k")


async def test_everything_that_head_tells_is_read() -> None:
    info = await head_of(
        FOUND + b"x-amz-version-id: v1\r\nx-amz-checksum-sha256: c2hh\r\nx-amz-checksum-type: FULL_OBJECT\r\n"
        b"X-Amz-Meta-Upload-Session: sealed\r\nx-amz-meta-case: 17\r\n"
        b"last-modified: Fri, 20 Nov 2026 08:29:00 GMT\r\n\r\n"
    )

    assert info == ObjectInfo(
        size_bytes=17,
        content_type="text/csv",
        etag="abc",
        version="v1",
        checksum=Checksum(sha256="c2hh"),
        metadata={"upload-session": "sealed", "case": "17"},
        last_modified=datetime(2026, 11, 20, 8, 29, tzinfo=UTC),
    )


async def test_an_object_that_is_not_there_is_none() -> None:
    assert await head_of(b"HTTP/1.1 404 Not Found\r\n\r\n") is None


async def test_the_null_version_pins_nothing_and_is_none() -> None:
    info = await head_of(FOUND + b"x-amz-version-id: null\r\n\r\n")

    assert info is not None
    assert info.version is None


async def test_an_etag_without_quotes_is_the_same_etag() -> None:
    info = await head_of(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\netag: abc\r\n\r\n")

    assert info is not None
    assert info.etag == "abc"


@pytest.mark.parametrize(
    "headers",
    [
        b"x-amz-checksum-sha256: c2hh-3\r\n",
        b"x-amz-checksum-sha256: c2hh-3\r\nx-amz-checksum-type: COMPOSITE\r\n",
        b"x-amz-checksum-crc32c: AAAAAA==\r\nx-amz-checksum-type: COMPOSITE\r\n",
    ],
)
async def test_a_composite_checksum_is_not_taken_for_that_of_the_object(headers: bytes) -> None:
    info = await head_of(FOUND + headers + b"\r\n")

    assert info is not None
    assert info.checksum == Checksum()


@pytest.mark.parametrize("spelled", ["é".encode(), "é".encode("latin-1")])
async def test_metadata_is_read_as_utf_8_and_else_as_latin_1(spelled: bytes) -> None:
    info = await head_of(FOUND + b"x-amz-meta-name: " + spelled + b"\r\n\r\n")

    assert info is not None
    assert info.metadata == {"name": "é"}


async def test_repeated_metadata_is_one_list() -> None:
    info = await head_of(FOUND + b"x-amz-meta-a: 1\r\nX-Amz-Meta-A: 2\r\n\r\n")

    assert info is not None
    assert info.metadata == {"a": "1,2"}


@pytest.mark.parametrize("status", [301, 400, 401, 403, 501])
async def test_what_an_operator_must_mend_is_a_refusal(status: int) -> None:
    with pytest.raises(StoreRefused, match=str(status)):
        await head_of(f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\n\r\n".encode())


@pytest.mark.parametrize("status", [307, 429, 500, 503, 599, 418])
async def test_what_may_pass_is_unavailability(status: int) -> None:
    with pytest.raises(StoreUnavailable, match=str(status)):
        await head_of(f"HTTP/1.1 {status} X\r\nlocation: http://127.0.0.1:1/\r\n\r\n".encode())


@pytest.mark.parametrize(
    "answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n"]
)
async def test_an_answer_that_makes_no_sense_is_unavailability(answer: bytes) -> None:
    with pytest.raises(StoreUnavailable):
        await head_of(answer)


async def test_a_store_that_is_not_there_is_unavailable_and_its_url_is_not_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    async with caller_on(port) as (caller, credentials):
        with pytest.raises(StoreUnavailable) as trouble:
            await S3ObjectHead(caller=caller, credentials=credentials).head("private-name")

    assert "private-name" not in str(trouble.value)


async def test_a_store_that_is_silent_is_unavailable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with caller_on(silent.getsockname()[1]) as (caller, credentials):
            with pytest.raises(StoreUnavailable, match="TimeoutError"):
                await S3ObjectHead(caller=caller, credentials=credentials).head("k")


async def test_a_dead_credential_sends_nothing() -> None:
    dead = Credential(access_key="AKID", secret_key="hush", expires_at=NOW)
    async with scripted_store(lambda _: b"") as (port, heads), caller_on(port, credential=dead) as (caller, fixed):
        with pytest.raises(CredentialsUnavailable):
            await S3ObjectHead(caller=caller, credentials=fixed).head("k")

    assert heads == []


@pytest.mark.parametrize("key", ["a b+c%é", "a//b", "./a/../b", "/lead"])
async def test_the_path_travels_as_it_was_signed(key: str) -> None:
    async with scripted_store(lambda _: b"HTTP/1.1 404 X\r\n\r\n") as (port, heads), caller_on(port) as (caller, fixed):
        await S3ObjectHead(caller=caller, credentials=fixed).head(key)

    assert heads[0].split(b" ")[1].decode() == caller.endpoint.path(key)


async def removed(dialect: DialectName, answers: Answers, pin: Pin) -> tuple[bool, list[bytes]]:
    """Return what `remove` said, and the request lines that the store saw."""

    async with scripted_store(answers) as (port, heads), caller_on(port) as (caller, credentials):
        objects = S3ObjectHead(caller=caller, credentials=credentials)
        remover = S3ObjectRemover(caller=caller, credentials=credentials, dialect=DIALECTS[dialect], objects=objects)
        return await remover.remove("k", pin), heads


def store_with_abc(head: bytes) -> bytes:
    return FOUND + b"\r\n" if head.startswith(b"HEAD") else b"HTTP/1.1 204 No Content\r\n\r\n"


async def test_where_deletes_can_be_conditional_one_request_compares_and_removes() -> None:
    is_removed, heads = await removed("aws", store_with_abc, Pin(etag="abc"))

    assert is_removed
    assert [head.split(b" ")[0] for head in heads] == [b"DELETE"]
    assert b'if-match: "abc"' in heads[0]


@pytest.mark.parametrize("status", [404, 412])
async def test_a_conditional_delete_that_finds_something_else_removes_nothing(status: int) -> None:
    is_removed, _ = await removed("aws", lambda _: f"HTTP/1.1 {status} X\r\n\r\n".encode(), Pin(etag="abc"))

    assert not is_removed


async def test_elsewhere_the_etag_is_compared_before_an_unconditional_delete() -> None:
    is_removed, heads = await removed("ceph", store_with_abc, Pin(etag="abc"))

    assert is_removed
    assert [head.split(b" ")[0] for head in heads] == [b"HEAD", b"DELETE"]


@pytest.mark.parametrize("pin", [Pin(etag="other"), Pin(etag="other", version="v1")])
async def test_what_is_not_the_judged_object_is_never_deleted(pin: Pin) -> None:
    is_removed, heads = await removed("ceph", store_with_abc, pin)

    assert not is_removed
    assert [head.split(b" ")[0] for head in heads] == [b"HEAD"]


async def test_a_version_is_removed_by_its_id() -> None:
    is_removed, heads = await removed("aws", store_with_abc, Pin(etag="abc", version="v/1"))

    assert is_removed
    assert [head.split(b" ")[:2] for head in heads] == [
        [b"HEAD", b"/acme/k?versionId=v%2F1"],
        [b"DELETE", b"/acme/k?versionId=v%2F1"],
    ]


async def test_a_version_that_is_gone_is_not_removed_again() -> None:
    is_removed, _ = await removed("aws", lambda _: b"HTTP/1.1 405 X\r\n\r\n", Pin(etag="abc", version="v1"))

    assert not is_removed


@pytest.mark.parametrize(("status", "trouble"), [(403, StoreRefused), (409, StoreUnavailable), (503, StoreUnavailable)])
async def test_a_delete_that_fails_is_never_taken_for_an_answer(status: int, trouble: type[Exception]) -> None:
    with pytest.raises(trouble):
        await removed("aws", lambda _: f"HTTP/1.1 {status} X\r\n\r\n".encode(), Pin(etag="abc"))
