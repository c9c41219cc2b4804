"""The sender, against a receiver that behaves as no server should: one answer each, in time, and nothing followed."""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from broker.domain.errors import ConfigurationInvalid
from broker.outbound.http import HttpSender, check_url, open_sender
from broker.ports import Answer
from tests.clock import FrozenClock
from tests.webhook_receiver import (
    SOON,
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
DAY = timedelta(days=1)
HEADERS = {"content-type": "application/json", "webhook-id": "evt_1"}
BODY = b'{"type": "session.verified"}'


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


def sender_to(url: str, *, allow_private: bool = True) -> AbstractAsyncContextManager[HttpSender]:
    return open_sender(url, allow_private=allow_private, timeout=TIMEOUT, connections=4, clock=FrozenClock())


async def posted(url: str, **wishes: Any) -> Answer:
    async with sender_to(url, **wishes) as sender:
        return await sender.post(BODY, HEADERS)


async def test_exactly_the_body_and_the_headers_arrive(receiver: Receiver) -> None:
    assert await posted(receiver.url) == Answer(status=200)
    (heard,) = receiver.heard
    assert heard.body == BODY
    assert heard.headers.items() >= HEADERS.items()
    assert heard.headers["user-agent"].startswith("upload-broker/")
    assert "cookie" not in heard.headers


@pytest.mark.parametrize("status", [201, 204, 400, 404, 410, 500])
async def test_a_status_is_an_answer(receiver: Receiver, status: int) -> None:
    receiver.usual = answering(status)
    assert await posted(receiver.url) == Answer(status=status)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    async with receiving() as inside:
        receiver.usual = answering(status, f"location: {inside.url}")
        assert await posted(receiver.url) == Answer(status=status)
        assert inside.connections == 0


@pytest.mark.parametrize(
    ("manner", "error"),
    [
        (hang, "timeout"),
        (drip, "timeout"),
        (reset, "connection-lost"),
        (hang_up, "connection-lost"),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "not-http"),
        (saying(b"HTTP/1.1 200 OK\r\nx: " + b"a" * 20_000 + b"\r\n\r\n"), "not-http"),
    ],
    ids=["hang", "drip", "reset", "hang up", "not http", "endless header"],
)
async def test_trouble_is_an_answer_in_time(receiver: Receiver, manner: Manner, error: str) -> None:
    receiver.usual = manner
    began = time.monotonic()
    assert await posted(receiver.url) == Answer(error=error)
    assert time.monotonic() - began < 4 * TIMEOUT.total_seconds()
    await receiver.until(lambda: receiver.open_now == 0)


async def test_a_body_without_end_is_not_waited_for(receiver: Receiver) -> None:
    receiver.usual = flood
    async with sender_to(receiver.url) as sender:
        assert await sender.post(BODY, HEADERS) == Answer(status=200)
        await receiver.until(lambda: receiver.open_now == 0)


async def test_a_receiver_that_is_not_there_is_an_answer() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}/"
        assert await posted(url) == Answer(error="connection-refused")


async def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    called: list[object] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    server = await asyncio.start_server(lambda reader, _: called.append(reader), "127.0.0.1", 0, ssl=context)
    async with server:
        url = f"https://localhost:{server.sockets[0].getsockname()[1]}/"
        assert await posted(url) == Answer(error="tls")
    assert called == []


def self_signed(folder: Path) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - DAY, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = folder / "certificate.pem"
    path.write_bytes(private + certificate.public_bytes(Encoding.PEM))
    return path


async def test_a_connection_serves_more_than_one_call(receiver: Receiver) -> None:
    async with sender_to(receiver.url) as sender:
        for _ in range(3):
            await sender.post(BODY, HEADERS)
    assert receiver.connections == 1


async def test_connections_are_bounded(receiver: Receiver) -> None:
    receiver.usual = hang
    async with sender_to(receiver.url) as sender:
        calls = [asyncio.create_task(sender.post(BODY, HEADERS)) for _ in range(9)]
        await receiver.until(lambda: receiver.open_now == 4)
        assert {answer.error for answer in await asyncio.gather(*calls)} == {"timeout"}
    assert receiver.connections <= 8


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120),
        ("0", 0),
        ("99999999999999999999", 86_400),
        ("Fri, 20 Nov 2026 12:01:30 GMT", 90),
        ("Fri, 20 Nov 2026 11:00:00 GMT", 0),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("Fri, 99 Nov 2026 12:01:30 GMT", None),
    ],
)
async def test_retry_after_is_seconds_or_a_date(receiver: Receiver, value: str, seconds: int | None) -> None:
    receiver.usual = answering(503, f"retry-after: {value}")
    wished = None if seconds is None else timedelta(seconds=seconds)
    assert await posted(receiver.url) == Answer(status=503, retry_after=wished)


# --- whom it calls


async def test_a_private_address_is_not_dialled_unless_that_is_allowed(receiver: Receiver) -> None:
    assert await posted(receiver.url, allow_private=False) == Answer(error="address-refused")
    assert receiver.connections == 0


async def test_a_name_that_leads_to_a_private_address_is_not_dialled(receiver: Receiver) -> None:
    url = receiver.url.replace("127.0.0.1", "localhost")
    assert await posted(url, allow_private=False) == Answer(error="address-refused")
    assert receiver.connections == 0
    assert await posted(url) == Answer(status=200)


async def test_a_name_that_leads_elsewhere_the_next_time_is_judged_each_time(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: what counts is the address that is dialled, whatever the name said before."""
    led: list[str] = []
    resolve = socket.getaddrinfo

    def rebinding(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host != "hooks.localhost":
            return resolve(host, port, *args, **kwargs)
        led.append("203.0.113.1" if not led else "127.0.0.1")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (led[-1], port))]

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    url = receiver.url.replace("127.0.0.1", "hooks.localhost")
    async with sender_to(url, allow_private=False) as sender:
        sender._http.connector._use_dns_cache = False  # type: ignore[union-attr]
        for _ in range(3):
            assert (await sender.post(BODY, HEADERS)).error == "address-refused"
    assert led[-1] == "127.0.0.1"
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["2130706433", "0x7f.1", "127.1", "[::ffff:127.0.0.1]"])
async def test_an_address_in_disguise_is_not_dialled(
    receiver: Receiver, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def numeric(name: str, port: int, *_: Any, **__: Any) -> Any:
        """What getaddrinfo makes of such names without asking anybody (inet_aton)."""
        address = socket.inet_ntoa(socket.inet_aton(name))
        assert address == "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", numeric)
    url = receiver.url.replace("127.0.0.1", host)
    assert (await posted(url, allow_private=False)).status is None
    assert receiver.connections == 0


async def test_a_name_server_that_hangs_costs_its_own_receiver_a_timeout_and_nobody_else(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thread that looks a name up cannot be stopped: whoever gives up leaves one behind."""
    gate = threading.Event()

    def hanging(host: str, port: int, *_: Any, **__: Any) -> Any:
        if host.startswith("lost"):
            gate.wait(SOON)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2))
    found_url = receiver.url.replace("127.0.0.1", "a.localhost")
    async with AsyncExitStack() as stack:
        found = await stack.enter_async_context(sender_to(found_url))
        for number in range(2):
            lost = await stack.enter_async_context(sender_to(f"http://lost{number}.localhost:9/"))
            assert (await lost.post(BODY, HEADERS)).error == "timeout"
        assert (await found.post(BODY, HEADERS)).status == 200
        gate.set()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example/", "https"),
        ("ftp://hooks.example/", "none that can be called"),
        ("https://", "none that can be called"),
        ("hooks.example", "none that can be called"),
        ("https://hooks.example:99999/", "none that can be called"),
        ("https://[::1/", "none that can be called"),
        ("https://hooks.example/a b", "none that can be called"),
        ("https://user:secret@hooks.example/", "user or password"),
        ("https://127.0.0.1/", "not public"),
        ("https://[::ffff:10.0.0.1]/", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
    ],
)
def test_a_url_that_must_not_be_called_is_refused_at_the_start(url: str, why: str) -> None:
    with pytest.raises(ConfigurationInvalid, match=why) as refused:
        check_url(url, allow_private=False)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("url", ["https://hooks.example/a?token=1", "https://1.1.1.1:8443/", "https://[2606:4700::1]/"])
def test_a_public_https_url_is_fine(url: str) -> None:
    check_url(url, allow_private=False)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9000/", "http://consumer.internal/", "https://10.0.0.1/"])
def test_what_is_private_is_fine_where_it_is_allowed(url: str) -> None:
    check_url(url, allow_private=True)


def test_a_sender_does_not_show_where_it_leads() -> None:
    assert "secret" not in repr(HttpSender("https://hooks.example/secret", http=None, clock=FrozenClock()))  # type: ignore[arg-type]
