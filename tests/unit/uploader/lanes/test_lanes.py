"""The lean client against stores that behave: what goes over the wire, and what comes back, on both event loops."""

import asyncio
from base64 import b64encode
from datetime import timedelta
from hashlib import new

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lanes_store import OK, SECRET, always, once, request_to, store_of

from uploader.errors import Unreachable
from uploader.lanes import Lanes
from uploader.lanes.head import cut, head, origin_of
from uploader.sender import Next

BODY = bytes(range(256)) * 16


@pytest.mark.parametrize("size", [0, 1, 4096, (1 << 16) + 1, 1 << 20])
async def test_the_store_hears_what_was_signed_and_nothing_more(lanes: Lanes, size: int) -> None:
    async with store_of(always(OK)) as store:
        body = (BODY * 256)[:size]
        answer = await lanes.send(store.request("/b/a%20%2Fx", content_type="text/plain", x_amz_meta_a="ü"), body)
    (heard,) = store.heard
    assert (answer.status, answer.next, answer.etag) == (200, Next.CONFIRM, '"abc"')
    assert heard.line == f"PUT /b/a%20%2Fx?sig={SECRET}%2B HTTP/1.1"
    assert heard.headers == [
        ("Host", store.url.removeprefix("http://")),
        ("User-Agent", "uploader"),
        ("Content-Length", str(size)),
        ("content-type", "text/plain"),
        ("x-amz-meta-a", "ü"),
    ]
    assert heard.body == body


@pytest.mark.parametrize("body", [bytearray(b"abc"), memoryview(b"abc"), memoryview(bytes(1 << 17))])
async def test_a_body_may_be_any_memory(lanes: Lanes, body: bytearray | memoryview) -> None:
    async with store_of(always(OK)) as store:
        await lanes.send(store.request(), body)
        assert store.heard[0].body == bytes(body)


async def test_a_connection_is_used_again(lanes: Lanes) -> None:
    async with store_of(always(OK)) as store:
        for _ in range(5):
            assert (await lanes.send(store.request(), BODY)).status == 200
        assert store.connections == 1


async def test_there_are_as_many_connections_as_requests_at_a_time(lanes: Lanes) -> None:
    async with store_of(always(OK)) as store:
        left = iter(range(300))

        async def work() -> None:
            for number in left:
                assert (await lanes.send(store.request(f"/{number}"), b"%d" % number)).status == 200

        await asyncio.gather(*[work() for _ in range(12)])
        assert store.connections <= 12
        assert sorted(heard.line.split("?")[0] for heard in store.heard) == sorted(f"PUT /{n}" for n in range(300))
        assert all(heard.line.startswith(f"PUT /{heard.body.decode()}?") for heard in store.heard)


@pytest.mark.parametrize(
    "goodbye",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end",
    ],
)
async def test_a_connection_that_the_store_ends_is_not_used_again(lanes: Lanes, goodbye: bytes) -> None:
    async with store_of(once(goodbye)) as store:
        for _ in range(3):
            assert (await lanes.send(store.request(), BODY)).status == 200
        assert (store.connections, len(store.heard)) == (3, 3)


async def test_what_comes_before_an_answer_is_skipped(lanes: Lanes) -> None:
    early = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nETag: no\r\nLink: </x>\r\n\r\n"
    async with store_of(always(early, OK)) as store:
        answers = [await lanes.send(store.request(), BODY) for _ in range(2)]
        assert [(answer.status, answer.etag) for answer in answers] == [(200, '"abc"')] * 2
        assert store.connections == 1


async def test_an_answer_may_come_byte_by_byte(lanes: Lanes) -> None:
    text = b"<Error><Code>SlowDown</Code><Message>Please.</Message></Error>"
    said = b"HTTP/1.1 503 Slow Down\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text)
    async with store_of(always(*(said[at : at + 1] for at in range(len(said))))) as store:
        answer = await lanes.send(store.request(), BODY)
        assert (answer.status, answer.code, answer.message) == (503, "SlowDown", "Please.")
        assert (answer.retry_after, answer.next) == (timedelta(seconds=7), Next.REPEAT)


async def test_a_chunked_answer_is_put_together(lanes: Lanes) -> None:
    chunks = (
        b"HTTP/1.1 400 Bad Request\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1f\r\n<Error><Code>EntityTooLarge</Code>\r\n",
        b"8\r\n</Error>\r\n",
        b"0\r\nETag: a trailer\r\n\r\n",
    )
    chunks = (chunks[0], b"%x\r\n<Error><Code>EntityTooLarge</Code>\r\n" % 34, *chunks[2:])
    async with store_of(always(*chunks)) as store:
        for _ in range(2):
            answer = await lanes.send(store.request(), BODY)
            assert (answer.code, answer.next, answer.etag) == ("EntityTooLarge", Next.GIVE_UP, None)
        assert store.connections == 1


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (b'ETag: "%b"\r\n', True),
        (b'ETag: "%b"\r\nx-amz-server-side-encryption: AES256\r\n', True),
        (b'ETag: "%b"\r\nX-Amz-Server-Side-Encryption: aws:kms\r\n', False),
        (b'ETag: "%b"\r\nx-goog-generation: 1\r\n', False),
        (b"x-goog-hash: crc32c=AAAAAA==\r\nX-Goog-Hash: md5=%b\r\n", True),
    ],
    ids=["plain", "the store's own key", "a key of KMS", "another store's", "named twice"],
)
async def test_the_md5_of_what_arrived_is_known_where_it_is_said(lanes: Lanes, lines: bytes, said: bool) -> None:
    digest = new("md5", BODY, usedforsecurity=False).digest()
    spelled = b64encode(digest) if b"md5=" in lines else digest.hex().encode()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + lines % spelled + b"\r\n"
    async with store_of(always(head)) as store:
        assert (await lanes.send(store.request(), BODY)).md5 == (digest if said else None)


async def test_without_a_document_the_reason_is_the_code(lanes: Lanes) -> None:
    async with store_of(always(b"HTTP/1.1 405 Not Allowed\r\nContent-Length: 0\r\n\r\n")) as store:
        assert str(await lanes.send(store.request(), BODY)) == "405 Not Allowed"


async def test_what_a_store_repeats_of_the_url_is_taken_out(lanes: Lanes) -> None:
    text = (
        f"<Error><Code>AccessDenied</Code><Message>sig={SECRET}%2B is no good, nor {SECRET}+</Message></Error>".encode()
    )
    async with store_of(always(b"HTTP/1.1 403 No\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))) as store:
        answer = await lanes.send(store.request(), BODY)
        assert answer.code == "AccessDenied"
        assert SECRET not in repr(answer)


@pytest.mark.parametrize(
    ("url", "authority"),
    [
        ("http://h/x", "h"),
        ("https://h:443/x", "h"),
        ("http://h:443/x", "h:443"),
        ("https://h:8443/x", "h:8443"),
        ("http://[::1]:9000/x", "[::1]:9000"),
        ("https://[2001:db8::1]/x", "[2001:db8::1]"),
        ("https://Bucket.s3.Example.com/x", "bucket.s3.example.com"),
    ],
)
def test_the_host_is_written_as_it_was_signed(url: str, authority: str) -> None:
    text, target = cut(url)
    origin = origin_of(text, "me")
    request = request_to(url, x_a="b")
    assert head(request, target, origin, 7) == (
        f"PUT /x HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: me\r\nContent-Length: 7\r\nx-a: b\r\n\r\n".encode()
    )


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h/x",
        "http://h",
        "http:///x",
        "//h/x",
        "http://h/x y",
        "http://h/x\r\nHost: other",
        "http://h/ü",
        "http://h/x#y",
        "http://user:word@h/x",
        "http://h:port/x",
        "http://h:99999/x",
        "http://h?a=/x",
        "http://[::1/x",
        "http://h\\@other/x",
    ],
)
async def test_what_is_no_url_is_sent_nowhere(lanes: Lanes, url: str) -> None:
    with pytest.raises(Unreachable, match="no usable URL"):
        await lanes.send(request_to(url), BODY)


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection", "Expect"])
async def test_the_broker_does_not_frame_our_requests(lanes: Lanes, name: str) -> None:
    with pytest.raises(Unreachable):
        await lanes.send(request_to("http://127.0.0.1:1/x", **{name: "1"}), BODY)


@pytest.mark.parametrize("method", ["GET", "HEAD", "CONNECT", "PUT /other HTTP/1.1\r\nA: b\r\n\r\nPUT"])
async def test_only_requests_with_a_body_are_sent(lanes: Lanes, method: str) -> None:
    with pytest.raises(Unreachable):
        await lanes.send(request_to("http://127.0.0.1:1/x", method=method), BODY)


ODD = st.text("aB-: \t\r\n\0ü", max_size=6)


@given(st.dictionaries(ODD, ODD, max_size=4))
@example({"a": "b\r\nHost: other"})
@example({"a": "b\n"})
@example({"a: b\r\nContent-Length": "0"})
def test_no_header_begins_a_second_request(headers: dict[str, str]) -> None:
    origin = origin_of("http://h", "me")
    try:
        made = head(request_to("http://h/x", **headers), "/x", origin, 3)
    except Unreachable:
        return
    lines = made.decode().split("\r\n")
    assert len(lines) == 4 + len(headers) + 2
    assert lines[-2:] == ["", ""]
    assert made.count(b"\n") == made.count(b"\r") == len(lines) - 1
