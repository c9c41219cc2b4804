import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from uploader.lanes import Lanes


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Everything here holds on both."""
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
async def lanes() -> AsyncIterator[Lanes]:
    async with Lanes(stall=timedelta(seconds=5), answer_timeout=timedelta(seconds=10)) as opened:
        yield opened


@pytest.fixture
async def hasty() -> AsyncIterator[Lanes]:
    """Waits for nobody."""
    moment = timedelta(milliseconds=300)
    async with Lanes(connect_timeout=moment, stall=moment, answer_timeout=moment) as opened:
        yield opened


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate authority of our own; `store.pem` is this machine's certificate and key, `other.pem` another's."""
    folder = tmp_path_factory.mktemp("authority")
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("our own", ca_key, ca_key, x509.BasicConstraints(ca=True, path_length=0))
    (folder / "ca.pem").write_bytes(ca.public_bytes(serialization.Encoding.PEM))
    here = [x509.IPAddress(ipaddress.ip_address(each)) for each in ("127.0.0.1", "::1")]
    for name, names in {"store": here, "other": [x509.DNSName("other.example")]}.items():
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _certificate(name, key, ca_key, x509.SubjectAlternativeName(names))
        (folder / f"{name}.pem").write_bytes(_pem(certificate, key))
    return folder


@pytest.fixture
def store_tls(authority: Path) -> ssl.SSLContext:
    return _server_context(authority / "store.pem")


@pytest.fixture
def other_tls(authority: Path) -> ssl.SSLContext:
    return _server_context(authority / "other.pem")


@pytest.fixture
async def tls_lanes(authority: Path) -> AsyncIterator[Lanes]:
    """Trusts the authority of our own."""
    trust = ssl.create_default_context(cafile=authority / "ca.pem")
    async with Lanes(tls=trust, stall=timedelta(seconds=5), answer_timeout=timedelta(seconds=10)) as opened:
        yield opened


def _server_context(pem: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


def _pem(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> bytes:
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return certificate.public_bytes(pem) + secret


def _certificate(
    name: str, key: ec.EllipticCurvePrivateKey, ca_key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
) -> x509.Certificate:
    subject, issuer = (x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, each)]) for each in (name, "our own"))
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(extension, critical=False)
        .sign(ca_key, hashes.SHA256())
    )
