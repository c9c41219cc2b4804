"""The ways to the socket: one write, a pump, pieces over TLS; on both event loops, in constant memory."""

import asyncio
import datetime
import ipaddress
import os
import socket
import ssl
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from uploader_standin import KEY, QUICK, MakeFile, Recorder, StandIn, serving

from broker.contract import State
from uploader import FileChanged, StoreRefused, Uploader, events, pump
from uploader.events import Meter
from uploader.source import FileSource, MemorySource

MIB = 1 << 20
BIG = 24 * MIB


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    now = datetime.datetime.now(datetime.UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "cert.pem", folder / "key.pem"


@pytest.mark.parametrize("size", [0, 1000, 3 * MIB + 1])
async def test_an_encrypted_store_gets_the_same_bytes(
    certificate: tuple[Path, Path], make_file: MakeFile, size: int
) -> None:
    path = make_file(size)
    async with serving(StandIn(), tls=_server_context(certificate)) as standin:
        async with Uploader(
            standin.broker_url, KEY, retry=QUICK, ssl_context=ssl.create_default_context(cafile=certificate[0])
        ) as uploader:
            result = await uploader.put(path)
        assert standin.objects[result.key].content == path.read_bytes()


@pytest.mark.parametrize("fault", ["reset", "slow-down", "lost-response"])
async def test_an_encrypted_store_in_trouble_is_sent_to_again(
    certificate: tuple[Path, Path], make_file: MakeFile, fault: str
) -> None:
    async with serving(StandIn(), tls=_server_context(certificate)) as standin:
        standin.store_faults.append(fault)
        async with Uploader(
            standin.broker_url, KEY, retry=QUICK, ssl_context=ssl.create_default_context(cafile=certificate[0])
        ) as uploader:
            result = await uploader.put(make_file(BIG))
        assert result.state is State.VERIFIED


async def test_a_store_whose_certificate_is_not_trusted_gets_no_byte(
    certificate: tuple[Path, Path], make_file: MakeFile, recorder: Recorder
) -> None:
    async with serving(StandIn(), tls=_server_context(certificate)) as standin:
        async with Uploader(standin.broker_url, KEY, retry=QUICK) as uploader:
            with pytest.raises(Exception, match="TLS failed"):
                await uploader.put(make_file(1000), observer=recorder)
        assert not standin.puts


async def test_without_sendfile_pieces_go_through_the_transport(
    uploader: Uploader, standin: StandIn, make_file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pump, "IS_AVAILABLE", False)
    path = make_file(3 * MIB + 1)
    result = await uploader.put(path)
    assert standin.objects[result.key].content == path.read_bytes()


def test_the_same_holds_on_uvloop(make_file: MakeFile) -> None:
    async def scenario() -> None:
        async with serving(StandIn()) as standin, Uploader(standin.broker_url, KEY, retry=QUICK) as uploader:
            for size in (0, 1000, 3 * MIB + 1):
                path = make_file(size)
                result = await uploader.put(path)
                assert standin.objects[result.key].content == path.read_bytes()
            standin.store_faults.extend(["reset", "slow-down", "expired", "lost-response"])
            assert (await uploader.put(make_file(BIG))).attempts == 4
            path = make_file(BIG)
            for _ in range(50):
                standin.store_faults.append("refuse-early")
                with pytest.raises(StoreRefused, match="EntityTooLarge"):
                    await uploader.put(path, checksum="none")

    _run_on(uvloop.new_event_loop(), scenario())


async def test_the_meter_counts_what_left(uploader: Uploader, make_file: MakeFile, recorder: Recorder) -> None:
    await uploader.put(make_file(BIG), observer=recorder)
    (meter,) = recorder.meters
    assert (meter.phase, meter.done_bytes, meter.total_bytes) == ("waiting", BIG, BIG)
    assert [type(event) for event in recorder.events] == [
        events.Minted,
        events.Sent,
        events.StateSeen,
    ]


def test_the_last_piece_of_a_changed_file_is_kept_back(make_file: MakeFile) -> None:
    path = make_file(MIB)
    source = FileSource.open(path)
    with path.open("ab") as out:
        out.write(b"x")
    assert _pumped(source) == MIB - pump.TAIL_BYTES
    source.close()


def test_a_stopped_pump_ends_at_once() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    job = pump.Pump(
        ours.fileno(), MemorySource(name="x", data=bytes(8 * MIB)), Meter("x", 0), datetime.timedelta(minutes=1)
    )
    with ours, theirs, ThreadPoolExecutor(1) as executor:
        running = executor.submit(job.run)
        assert theirs.recv(1)
        job.stop()
        with pytest.raises((pump.Stopped, OSError)):
            running.result(timeout=5)


async def test_a_quarter_of_a_gibibyte_takes_no_memory(standin: StandIn, make_file: MakeFile) -> None:
    small, large = make_file(1000, "small"), make_file(256 * MIB, "large")
    grown = await _peak_rss(standin, large) - await _peak_rss(standin, small)
    assert grown < 12 * MIB, f"{grown / MIB:.1f} MiB more for 256 MiB"


async def _peak_rss(standin: StandIn, path: Path) -> int:
    """The high-water mark of a fresh process that uploads one file, hashing it first."""
    code = (
        "import asyncio, os, resource, sys; from uploader import Uploader\n"
        "async def main():\n"
        "    async with Uploader(os.environ['URL'], os.environ['KEY']) as uploader:\n"
        "        await uploader.put(sys.argv[1], checksum='sha256')\n"
        "asyncio.run(main()); print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)"
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, str(path)),
        env={"PATH": os.environ["PATH"], "URL": standin.broker_url, "KEY": KEY},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode == 0
    return int(out)


def _server_context(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    return context


def _run_on(loop: asyncio.AbstractEventLoop, scenario: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(asyncio.wait_for(scenario, 60))


def _pumped(source: FileSource) -> int:
    """How many bytes arrive from a source that refuses its last check."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    received = bytearray()

    def read() -> None:
        while piece := theirs.recv(1 << 16):
            received.extend(piece)

    reader = threading.Thread(target=read)
    reader.start()
    with theirs:
        with ours, pytest.raises(FileChanged):
            pump.Pump(ours.fileno(), source, Meter("x", 0), datetime.timedelta(seconds=5)).run()
        reader.join(timeout=10)
    return len(received)
