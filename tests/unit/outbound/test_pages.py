"""Pages, from a host that behaves as no host should: bytes, none, or trouble – in time, and nothing followed."""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from broker.domain.errors import SenderUnavailable
from broker.outbound.pages import open_pages
from tests.unit.outbound.test_http import self_signed
from tests.webhook_receiver import (
    Manner,
    Receiver,
    answering,
    drip,
    flood,
    hang,
    hang_up,
    receiving,
    reset,
    saying,
)

TIMEOUT = timedelta(seconds=0.4)
MOST = 1_000


@pytest.fixture
async def host() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


async def got(url: str) -> bytes | None:
    async with open_pages(timeout=TIMEOUT) as pages:
        page = await pages.get(url, at_most_bytes=MOST)
        return None if page is None else page.body


def page(size: int, *headers: str) -> Manner:
    head = "\r\n".join(["HTTP/1.1 200 OK", f"content-length: {size}", *headers, "", ""])
    return saying(head.encode() + b"a" * size)


@pytest.mark.parametrize("size", [0, 1, MOST])
async def test_a_page_is_its_bytes(host: Receiver, size: int) -> None:
    host.usual = page(size)
    assert await got(host.url) == b"a" * size
    (heard,) = host.heard
    assert heard.headers["user-agent"].startswith("upload-broker/")
    assert not {"cookie", "authorization"} & heard.headers.keys()


@pytest.mark.parametrize("manner", [page(MOST + 1), page(1_000_000), flood], ids=["one more", "a million", "no end"])
async def test_a_page_that_is_too_large_is_none_and_not_waited_for(host: Receiver, manner: Manner) -> None:
    host.usual = manner
    assert await got(host.url) is None
    await host.until(lambda: host.open_now == 0)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], None),
        (["cache-control: public"], None),
        (["cache-control: public, max-age=24014, must-revalidate, no-transform"], 24_014),
        (['cache-control: MAX-AGE = "60"'], 60),
        (["cache-control: max-age=60", "age: 45"], 15),
        (["cache-control: max-age=60", "age: 61"], 0),
        (["cache-control: max-age=60", "age: soon"], 60),
        (["cache-control: max-age=soon"], None),
        (["cache-control: max-age=-1"], None),
        (["cache-control: s-maxage=60"], None),
        (["cache-control: no-store"], 0),
        (["cache-control: private, no-cache, max-age=60"], 0),
    ],
)
async def test_it_says_for_how_long_a_page_holds(host: Receiver, headers: list[str], seconds: int | None) -> None:
    host.usual = page(1, *headers)
    async with open_pages(timeout=TIMEOUT) as pages:
        found = await pages.get(host.url, at_most_bytes=MOST)
    assert found is not None
    assert found.fresh_for == (None if seconds is None else timedelta(seconds=seconds))


async def test_a_page_that_says_it_is_packed_is_not_unpacked(host: Receiver) -> None:
    host.usual = page(MOST, "content-encoding: gzip")
    assert await got(host.url) == b"a" * MOST


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 418])
async def test_a_page_that_there_is_not_is_none(host: Receiver, status: int) -> None:
    host.usual = answering(status)
    assert await got(host.url) is None


@pytest.mark.parametrize("status", [201, 204, 304, 408, 429, 500, 502, 503, 504])
async def test_an_answer_that_says_nothing_is_trouble(host: Receiver, status: int) -> None:
    host.usual = answering(status)
    with pytest.raises(SenderUnavailable):
        await got(host.url)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(host: Receiver, status: int) -> None:
    async with receiving() as inside:
        host.usual = answering(status, f"location: {inside.url}")
        with pytest.raises(SenderUnavailable):
            await got(host.url)
        assert inside.connections == 0


@pytest.mark.parametrize(
    "manner",
    [
        hang,
        drip,
        reset,
        hang_up,
        saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        saying(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc"),
        saying(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 20_000 + b"\r\n\r\n"),
    ],
    ids=["hang", "drip", "reset", "hang up", "not http", "half a page", "endless header"],
)
async def test_trouble_comes_in_time(host: Receiver, manner: Manner) -> None:
    host.usual = manner
    began = time.monotonic()
    with pytest.raises(SenderUnavailable):
        await got(host.url)
    assert time.monotonic() - began < 4 * TIMEOUT.total_seconds()


async def test_a_host_that_is_not_there_is_trouble() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(SenderUnavailable):
            await got(f"http://127.0.0.1:{nobody.getsockname()[1]}/")


async def test_a_host_that_nobody_vouches_for_is_not_believed(tmp_path: Path) -> None:
    called: list[object] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    server = await asyncio.start_server(lambda reader, _: called.append(reader), "127.0.0.1", 0, ssl=context)
    async with server:
        with pytest.raises(SenderUnavailable):
            await got(f"https://localhost:{server.sockets[0].getsockname()[1]}/")
    assert called == []


async def test_no_proxy_of_the_environment_is_used(host: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        host.usual = page(3)
        assert await got(host.url) == b"aaa"
        assert proxy.connections == 0


async def test_what_it_was_told_to_call_is_called_letter_by_letter(host: Receiver) -> None:
    host.usual = page(1)
    lines: list[bytes] = []
    server = await asyncio.start_server(lambda reader, writer: _note(reader, writer, lines), "127.0.0.1", 0)
    async with server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        assert await got(f"{origin}/?TopicArn=arn%3Aaws%3Asns&Token=a%2Bb") == b"a"
    assert lines == [b"GET /?TopicArn=arn%3Aaws%3Asns&Token=a%2Bb HTTP/1.1\r\n"]


async def _note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lines: list[bytes]) -> None:
    lines.append(await reader.readline())
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\nconnection: close\r\n\r\na")
    await writer.drain()
    writer.close()
