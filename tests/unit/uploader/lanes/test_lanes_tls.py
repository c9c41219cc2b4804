"""The lean client over TLS and IPv6, on both event loops."""

import socket
import ssl

import pytest
from lanes_store import OK, Caller, always, once, request_to, store_of

from uploader.lanes import Lanes
from uploader.sender import Next

BODY = bytes(4096)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("size", [0, 4096, 3 << 20])
async def test_an_encrypted_store_gets_the_same_bytes(
    tls_lanes: Lanes, store_tls: ssl.SSLContext, host: str, size: int
) -> None:
    body = bytes(range(256)) * (size // 256)
    async with store_of(always(OK), host=_available(host), tls=store_tls) as store:
        for _ in range(2):
            assert (await tls_lanes.send(store.request(), body)).status == 200
        assert [heard.body for heard in store.heard] == [body, body]
        assert store.heard[0].header("host") == store.url.removeprefix("https://")
        assert store.connections == 1


async def test_an_encrypted_connection_that_ended_is_replaced(tls_lanes: Lanes, store_tls: ssl.SSLContext) -> None:
    async with store_of(once(OK), tls=store_tls) as store:
        for _ in range(3):
            assert (await tls_lanes.send(store.request(), BODY)).status == 200


async def test_who_is_not_trusted_gets_no_byte(lanes: Lanes, store_tls: ssl.SSLContext) -> None:
    async with store_of(always(OK), tls=store_tls) as store:
        assert str(await lanes.send(store.request(), BODY)) == "TLS failed"
        assert not store.heard


async def test_who_has_another_name_gets_no_byte(tls_lanes: Lanes, other_tls: ssl.SSLContext) -> None:
    async with store_of(always(OK), tls=other_tls) as store:
        assert str(await tls_lanes.send(store.request(), BODY)) == "TLS failed"
        assert not store.heard


async def test_who_speaks_no_tls_gets_no_byte(tls_lanes: Lanes) -> None:
    async def greet(caller: Caller) -> None:
        await caller.say(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        assert (await caller.reader.read(1 << 16))[:1] == b"\x16"  # a handshake

    async with store_of(greet) as store:
        answer = await tls_lanes.send(request_to(store.url.replace("http:", "https:") + "/x"), BODY)
        assert (str(answer), answer.next) == ("TLS failed", Next.REPEAT)


async def test_a_handshake_has_its_time(hasty: Lanes) -> None:
    async def listen(caller: Caller) -> None:
        await caller.reader.read()

    async with store_of(listen) as store:
        assert str(await hasty.send(request_to(store.url.replace("http:", "https:") + "/x"), BODY)) == "timed out"


async def test_a_store_on_ipv6(lanes: Lanes) -> None:
    async with store_of(always(OK), host=_available("::1")) as store:
        assert (await lanes.send(store.request(), BODY)).status == 200
        assert store.heard[0].header("host").startswith("[::1]:")


def _available(host: str) -> str:
    if ":" in host:
        try:
            with socket.socket(socket.AF_INET6) as tried:
                tried.bind((host, 0))
        except OSError:
            pytest.skip("this machine has no IPv6")
    return host
