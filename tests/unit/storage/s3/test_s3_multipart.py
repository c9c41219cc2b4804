"""How answers to multipart calls are read: odd, hostile, late and in pieces. Real stores are in the contract suite."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.errors import StoreRefused, StoreUnavailable, Unavailable
from broker.domain.multipart import StoredPart
from broker.domain.objects import UploadSpec
from broker.storage.s3 import xml
from broker.storage.s3.caller import MAX_ANSWER_BYTES, S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.multipart import (
    MAX_PAGES,
    S3MultipartRemover,
    S3MultipartUploads,
    _completion,
    _part_page,
    _upload_page,
)
from broker.storage.s3.sigv4 import Credential, SigV4

NOW = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
SPEC = UploadSpec(filename="r.csv", size_bytes=17, content_type="text/csv", object_metadata={"mtime": "1"})
PARTS = [StoredPart(number=1, size_bytes=9, etag="a"), StoredPart(number=2, size_bytes=8, etag='b"<&')]
DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>\n'
COMPLETED = DECLARATION + b"<CompleteMultipartUploadResult><ETag>x</ETag></CompleteMultipartUploadResult>"
GONE = b"<Error><Code>NoSuchUpload</Code></Error>"
BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><Error><Code>&c;</Code></Error>'
)
EXTERNAL = b'<!DOCTYPE Error [<!ENTITY x SYSTEM "file:///etc/passwd">]><Error><Code>&x;</Code></Error>'

T = TypeVar("T")
Answer = tuple[int, bytes]


class StoppedClock:
    def now(self) -> datetime:
        return NOW


@dataclass(slots=True, kw_only=True)
class Asked:
    """One request as the scripted store saw it."""

    method: str
    path: str
    query: dict[str, list[str]]
    head: str
    body: bytes = b""


@dataclass(slots=True, kw_only=True)
class Script:
    """A store that answers by the book of one test, and keeps what it was asked."""

    answers: Callable[[Asked], Answer]
    asked: list[Asked] = field(default_factory=list)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, target, _ = head.split(" ", 2)
        length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
        url = urlsplit(target)
        query = parse_qs(url.query, keep_blank_values=True)
        asked = Asked(method=method, path=url.path, query=query, head=head)
        asked.body = await reader.readexactly(int(length[1]) if length else 0)
        self.asked.append(asked)
        status, body = self.answers(asked)
        writer.write(f"HTTP/1.1 {status} X\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()


@asynccontextmanager
async def adapters(
    script: Script, dialect: DialectName = "aws"
) -> AsyncIterator[tuple[S3MultipartUploads, S3MultipartRemover]]:
    server = await asyncio.start_server(script.talk, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    credentials = FixedCredentials(credential=Credential(access_key="AKID", secret_key="hush"))
    async with server, aiohttp.ClientSession() as http:
        caller = S3Caller(
            http=http,
            sigv4=SigV4(region="r"),
            endpoint=Endpoint.of(bucket="acme", region="r", url=f"http://127.0.0.1:{port}", addressing="path"),
            clock=StoppedClock(),
            timeout=timedelta(seconds=5),
        )
        yield (
            S3MultipartUploads(caller=caller, credentials=credentials, dialect=DIALECTS[dialect]),
            S3MultipartRemover(caller=caller, credentials=credentials),
        )


async def completed(*answers: Answer, dialect: DialectName = "aws") -> tuple[bool, list[Asked]]:
    left = list(answers)
    script = Script(answers=lambda _: left.pop(0))
    async with adapters(script, dialect) as (uploads, _):
        return await uploads.complete("k", "u", PARTS), script.asked


async def from_uploads(answer: Answer, call: Callable[[S3MultipartUploads], Awaitable[T]]) -> T:
    async with adapters(Script(answers=lambda _: answer)) as (uploads, _):
        return await call(uploads)


# --- XML


def part_xml(number: int, size_bytes: int, etag: str) -> str:
    return f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag><Size>{size_bytes}</Size></Part>"


def parts_xml(parts: str, *, is_truncated: bool = False, namespace: str = "") -> bytes:
    flag = str(is_truncated).lower()
    return f"<ListPartsResult{namespace}><IsTruncated>{flag}</IsTruncated>{parts}</ListPartsResult>".encode()


@pytest.mark.parametrize(
    "before", [b"", b" \n\t\r\n" * 100, DECLARATION, b"\n " + DECLARATION + b"\n \n", b"\xef\xbb\xbf"]
)
@pytest.mark.parametrize("namespace", ["", ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', ' xmlns="urn:else"'])
@pytest.mark.parametrize("etag", ["abc", '"abc"', "&quot;abc&quot;", " &#34;abc&#34;\n", 'W/"abc"'])
def test_a_part_is_read_however_it_is_spelled(before: bytes, namespace: str, etag: str) -> None:
    body = before + parts_xml(part_xml(3, 17, etag), namespace=namespace)

    assert _part_page(body) == ([StoredPart(number=3, size_bytes=17, etag="abc")], True)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10_000), st.integers(0, 5 * 2**30), st.text("0123456789abcdef-", min_size=1))))
def test_every_page_of_parts_is_read_back_by_number(parts: list[tuple[int, int, str]]) -> None:
    page, is_last = _part_page(parts_xml("".join(part_xml(*part) for part in parts), is_truncated=True))

    assert not is_last
    assert sorted(parts) == sorted((part.number, part.size_bytes, part.etag) for part in page)
    assert [part.number for part in page] == sorted(number for number, _, _ in parts)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"nonsense",
        b'{"json": true}',
        b"<html><body>Sign in</body></html>",
        b"<ListPartsResult>",
        b"<ListPartsResult/><ListPartsResult/>",
        b"\xff\xfe\x00",
        b'<?xml version="1.0" encoding="no-such"?><ListPartsResult/>',
        b'<?xml version="1.0" encoding="utf-8"?><ListPartsResult>\xff</ListPartsResult>',
        b"<ListPartsResult>&undefined;</ListPartsResult>",
        b"<ListPartsResult>&#x1;</ListPartsResult>",
        b"<!DOCTYPE ListPartsResult><ListPartsResult/>",
        "<!DOCTYPE ListPartsResult []><ListPartsResult/>".encode("utf-16"),
        BOMB,
        EXTERNAL,
        parts_xml("<Part/>"),
        parts_xml(part_xml(1, 2, "a").replace(">1<", "><")),
        parts_xml(part_xml(-1, 2, "a")),
        parts_xml(part_xml(1, 2, "a").replace(">2<", ">1e9<")),
        parts_xml(part_xml(1, 2, "a").replace(">2<", ">٣<")),
        parts_xml(part_xml(1, int("9" * 20), "a")),
    ],
)
def test_what_is_no_list_of_parts_is_unavailability(body: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="ListParts"):
        _part_page(body)


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=200) | st.text(max_size=80).map(lambda text: f"<Error>{text}</Error>".encode(errors="replace"))
)
def test_no_body_makes_the_parser_raise_anything_else(body: bytes) -> None:
    assert re.fullmatch(r"[A-Za-z0-9]{0,64}", xml.error_code(body))
    for read in (_part_page, _upload_page):
        with pytest.raises(StoreUnavailable):
            read(body)


@pytest.mark.parametrize("body", [BOMB, EXTERNAL, b"<Error><Code>a b</Code></Error>", b"<Error/>", b"<Code>X</Code>"])
def test_an_error_code_is_a_word_or_nothing(body: bytes) -> None:
    assert xml.error_code(body) == ""


def test_deep_and_wide_documents_are_read_or_refused_in_time() -> None:
    with pytest.raises(StoreUnavailable):
        _part_page(b"<a>" * 1_000_000)
    wide = parts_xml("".join(part_xml(number, 1, "a" * 32) for number in range(1, 20_001)))
    assert len(_part_page(wide)[0]) == 20_000


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 10_000), st.text(st.characters(min_codepoint=32, max_codepoint=126)))))
def test_a_completion_names_every_part_and_can_be_read(parts: list[tuple[int, str]]) -> None:
    body = _completion([StoredPart(number=number, size_bytes=1, etag=etag) for number, etag in parts])

    named = xml.parse(body, "CompleteMultipartUpload").findall("{*}Part")

    assert [(xml.number(part, "PartNumber"), part.findtext("{*}ETag")) for part in named] == [
        (number, f'"{etag}"') for number, etag in parts
    ]


# --- open


async def test_opening_says_what_the_object_will_be() -> None:
    body = b"<InitiateMultipartUploadResult><UploadId> 2~a/b </UploadId></InitiateMultipartUploadResult>"
    script = Script(answers=lambda _: (200, body))

    async with adapters(script) as (uploads, _):
        assert await uploads.open("a b", SPEC, "sealed") == "2~a/b"

    (asked,) = script.asked
    assert (asked.method, asked.path, asked.query) == ("POST", "/acme/a%20b", {"uploads": [""]})
    for line in ("content-type: text/csv", "x-amz-meta-upload-session: sealed", "x-amz-meta-mtime: 1"):
        assert line in asked.head.lower()
    assert "checksum" not in asked.head
    assert asked.body == b""


@pytest.mark.parametrize(
    "body", [b"", b"<InitiateMultipartUploadResult/>", b"<Error><Code>InternalError</Code></Error>", BOMB]
)
async def test_an_upload_without_an_id_was_not_opened(body: bytes) -> None:
    with pytest.raises(StoreUnavailable, match="CreateMultipartUpload"):
        await from_uploads((200, body), lambda uploads: uploads.open("k", SPEC, "sealed"))


@pytest.mark.parametrize(
    ("answer", "trouble", "said"),
    [
        ((403, b"<Error><Code>AccessDenied</Code></Error>"), StoreRefused, "403 AccessDenied"),
        ((404, b"<Error><Code>NoSuchBucket</Code></Error>"), StoreRefused, "404 NoSuchBucket"),
        ((501, b""), StoreRefused, "501"),
        ((503, b"<Error><Code>SlowDown</Code><Message>secret</Message></Error>"), StoreUnavailable, "503 SlowDown"),
    ],
)
async def test_trouble_names_status_and_code_and_nothing_else(
    answer: Answer, trouble: type[Unavailable], said: str
) -> None:
    with pytest.raises(trouble, match=said) as raised:
        await from_uploads(answer, lambda uploads: uploads.open("k", SPEC, "sealed"))

    assert "secret" not in str(raised.value)


# --- parts


async def test_parts_are_asked_for_page_by_page_after_the_last_number() -> None:
    pages = {
        "": parts_xml(part_xml(1, 5, "a") + part_xml(4, 5, "b"), is_truncated=True),
        "4": parts_xml(part_xml(9, 5, "c")),
    }
    script = Script(answers=lambda asked: (200, pages[asked.query.get("part-number-marker", [""])[0]]))

    async with adapters(script) as (uploads, _):
        parts = await uploads.parts("k", "u/1")

    assert parts is not None
    assert [part.number for part in parts] == [1, 4, 9]
    assert [asked.query["uploadId"] for asked in script.asked] == [["u/1"], ["u/1"]]


@pytest.mark.parametrize("page", [parts_xml("", is_truncated=True), parts_xml(part_xml(1, 5, "a"), is_truncated=True)])
async def test_a_listing_that_never_ends_is_given_up(page: bytes) -> None:
    script = Script(answers=lambda _: (200, page))

    async with adapters(script) as (uploads, _):
        with pytest.raises(StoreUnavailable, match="ListParts"):
            await uploads.parts("k", "u")

    assert len(script.asked) <= MAX_PAGES


@pytest.mark.parametrize("body", [GONE, b"<Error><Code>NoSuchKey</Code></Error>", b""])
async def test_an_upload_that_the_store_does_not_know_has_no_parts(body: bytes) -> None:
    assert await from_uploads((404, body), lambda uploads: uploads.parts("k", "u")) is None


async def test_a_bucket_that_is_gone_is_not_an_upload_that_is_gone() -> None:
    answer = (404, b"<Error><Code>NoSuchBucket</Code></Error>")

    with pytest.raises(StoreRefused, match="NoSuchBucket"):
        await from_uploads(answer, lambda uploads: uploads.parts("k", "u"))


async def test_an_answer_without_an_end_is_not_kept_in_memory() -> None:
    answer = (200, b" " * (MAX_ANSWER_BYTES + 1))

    with pytest.raises(StoreUnavailable, match="more than anybody asked for"):
        await from_uploads(answer, lambda uploads: uploads.parts("k", "u"))


# --- complete


async def test_a_completion_sends_its_parts_signed_and_create_only() -> None:
    is_completed, (asked,) = await completed((200, COMPLETED))

    assert is_completed
    assert (asked.method, asked.path, asked.query) == ("POST", "/acme/k", {"uploadId": ["u"]})
    assert asked.body == _completion(PARTS)
    assert "if-none-match: *" in asked.head
    assert re.search(r"SignedHeaders=[a-z0-9;-]*if-none-match;x-amz-content-sha256", asked.head)


@pytest.mark.parametrize("dialect", ["ceph", "r2", "generic"])
async def test_a_condition_is_not_sent_to_stores_that_do_not_document_it(dialect: DialectName) -> None:
    _, (asked,) = await completed((200, COMPLETED), dialect=dialect)

    assert "if-none-match" not in asked.head


@pytest.mark.parametrize("answer", [(200, b"\n \n" * 50 + COMPLETED), (200, COMPLETED.replace(DECLARATION, b" "))])
async def test_blanks_that_kept_the_connection_alive_are_no_part_of_the_answer(answer: Answer) -> None:
    assert (await completed(answer))[0]


@pytest.mark.parametrize(
    "answer",
    [
        (404, GONE),
        (404, b""),
        (412, b"<Error><Code>PreconditionFailed</Code></Error>"),
        (412, b""),
        (409, b"<Error><Code>ConditionalRequestConflict</Code></Error>"),
        (200, b"   " + GONE),
        (200, b"<Error><Code>PreconditionFailed</Code></Error>"),
    ],
)
async def test_an_upload_that_is_gone_or_a_key_that_is_taken_is_for_head_to_judge(answer: Answer) -> None:
    assert not (await completed(answer))[0]


@pytest.mark.parametrize(
    ("answer", "trouble", "said"),
    [
        ((200, DECLARATION + b"\n\n<Error><Code>InternalError</Code></Error>"), StoreUnavailable, "200 InternalError"),
        ((200, b"<Error/>"), StoreUnavailable, "CompleteMultipartUpload"),
        ((200, b""), StoreUnavailable, "CompleteMultipartUpload"),
        ((200, COMPLETED[:-9]), StoreUnavailable, "CompleteMultipartUpload"),
        ((400, b"<Error><Code>InvalidPart</Code></Error>"), StoreUnavailable, "InvalidPart"),
        ((400, b"<Error><Code>EntityTooSmall</Code></Error>"), StoreUnavailable, "EntityTooSmall"),
        ((400, b"<Error><Code>MalformedXML</Code></Error>"), StoreRefused, "MalformedXML"),
        ((403, b"<Error><Code>AccessDenied</Code></Error>"), StoreRefused, "AccessDenied"),
        ((404, b"<Error><Code>NoSuchBucket</Code></Error>"), StoreRefused, "NoSuchBucket"),
    ],
)
async def test_a_completion_that_failed_is_never_taken_for_an_answer(
    answer: Answer, trouble: type[Unavailable], said: str
) -> None:
    with pytest.raises(trouble, match=said):
        await completed(answer)


async def test_a_server_error_about_an_upload_that_is_gone_means_that_it_is_gone() -> None:
    internal = (500, b"<Error><Code>InternalError</Code></Error>")

    is_completed, asked = await completed(internal, (404, GONE))

    assert not is_completed
    assert [each.method for each in asked] == ["POST", "GET"]
    with pytest.raises(StoreUnavailable, match="500 InternalError"):
        await completed(internal, (200, parts_xml(part_xml(1, 9, "a"))))


# --- clearing away


def uploads_xml(uploads: Sequence[tuple[str, str]], *, more: str = "") -> bytes:
    listed = "".join(
        f"<Upload><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId></Upload>" for key, upload_id in uploads
    )
    return f"<ListMultipartUploadsResult>{more}{listed}</ListMultipartUploadsResult>".encode()


async def test_open_uploads_are_asked_for_page_by_page() -> None:
    encoded = "<EncodingType>url</EncodingType>"
    after = "<NextKeyMarker>k%26+1</NextKeyMarker><NextUploadIdMarker>u1</NextUploadIdMarker>"
    pages = [
        uploads_xml([("k%26+1", "u1")], more=f"{encoded}<IsTruncated>true</IsTruncated>{after}"),
        uploads_xml([("k%26+1", "u2"), ("k%26+12", "u3")], more=encoded),
    ]
    script = Script(answers=lambda _: (200, pages.pop(0)))

    async with adapters(script) as (_, remover):
        assert await remover.open_uploads("k& 1") == ["u1", "u2"]

    first, second = script.asked
    assert (first.path, first.query["prefix"], first.query["uploads"]) == ("/acme/", ["k& 1"], [""])
    assert "key-marker" not in first.query
    assert (second.query["key-marker"], second.query["upload-id-marker"]) == (["k& 1"], ["u1"])


@pytest.mark.parametrize("spelled", ["a b+c%41", "a+b%2Bc%2541", "a%20b%2Bc%2541"])
async def test_a_key_is_found_in_whatever_spelling(spelled: str) -> None:
    script = Script(answers=lambda _: (200, uploads_xml([(spelled, "u"), (f"{spelled}x", "v")])))

    async with adapters(script) as (_, remover):
        assert await remover.open_uploads("a b+c%41") == ["u"]


async def test_a_listing_of_uploads_that_never_ends_is_given_up() -> None:
    page = uploads_xml([("k", "u")], more="<IsTruncated>true</IsTruncated>")
    script = Script(answers=lambda _: (200, page))

    async with adapters(script) as (_, remover):
        with pytest.raises(StoreUnavailable, match="ListMultipartUploads"):
            await remover.open_uploads("k")

    assert len(script.asked) == MAX_PAGES


@pytest.mark.parametrize(
    ("left", "is_clear"),
    [
        ((404, GONE), True),
        ((200, parts_xml("")), True),
        ((200, parts_xml(part_xml(1, 5, "a"))), False),
    ],
)
@pytest.mark.parametrize("said", [204, 200, 404])
async def test_an_abort_is_believed_once_no_part_is_left(said: int, left: Answer, is_clear: bool) -> None:
    script = Script(answers=lambda asked: (said, b"") if asked.method == "DELETE" else left)

    async with adapters(script) as (_, remover):
        assert await remover.abort("k", "u") is is_clear

    assert [asked.method for asked in script.asked] == ["DELETE", "GET"]


@pytest.mark.parametrize(("status", "trouble"), [(403, StoreRefused), (409, StoreUnavailable), (503, StoreUnavailable)])
async def test_an_abort_that_fails_is_never_taken_for_done(status: int, trouble: type[Unavailable]) -> None:
    async with adapters(Script(answers=lambda _: (status, b""))) as (_, remover):
        with pytest.raises(trouble):
            await remover.abort("k", "u")
