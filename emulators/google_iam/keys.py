"""RSA-2048 keys with their certificates, one folder an owner, kept from one start to the next.

An owner is a service account, or an issuer of ID tokens. The newest key signs; the older ones stay published until
they are forgotten, as Google keeps a retired key's certificate for a while.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

KEY_BITS: Final = 2048  # "Service account credentials": Google-managed keys are RSA 2048
VALID: Final = timedelta(days=3650)


@dataclass(frozen=True)
class SigningKey:
    """A key pair; `kid` is what `keyId`, `private_key_id` and a JWT's `kid` say."""

    kid: str
    private: rsa.RSAPrivateKey = field(repr=False)
    certificate_pem: str = field(repr=False)

    def sign(self, payload: bytes) -> bytes:
        """RSASSA-PKCS1-v1_5 with SHA-256."""
        return self.private.sign(payload, padding.PKCS1v15(), hashes.SHA256())

    @cached_property
    def public(self) -> rsa.RSAPublicKey:
        return self.private.public_key()

    @cached_property
    def private_pem(self) -> str:
        return self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode()


class KeyRing:
    """The keys of all owners. Making one takes tens of milliseconds: in a thread, and each once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[str, list[SigningKey]] = {}
        self._making = asyncio.Lock()

    async def newest(self, owner: str) -> SigningKey:
        """The key that signs; made when there is none."""
        if not self._load(owner):
            await self.rotate(owner, only_if_none=True)
        return self._held[owner][-1]

    async def certificates(self, owner: str) -> Mapping[str, SigningKey]:
        """All that is published, by key id."""
        await self.newest(owner)
        return {key.kid: key for key in self._held[owner]}

    async def rotate(self, owner: str, *, only_if_none: bool = False) -> SigningKey:
        """Sign with a new key from now on."""
        async with self._making:
            held = self._load(owner)
            if held and only_if_none:
                return held[-1]
            key = await asyncio.to_thread(_generate, owner)
            _write(self._folder / owner, len(held), key)
            held.append(key)
            return key

    def forget(self, owner: str) -> None:
        """Publish the newest alone: what older keys signed is worth nothing from now on."""
        for key in self._load(owner)[:-1]:
            for path in (self._folder / owner).glob(f"*-{key.kid}.pem"):
                path.unlink()
        self._held[owner] = self._held[owner][-1:]

    def _load(self, owner: str) -> list[SigningKey]:
        if owner not in self._held:
            paths = sorted((self._folder / owner).glob("*.pem"))
            self._held[owner] = [_read(path) for path in paths]
        return self._held[owner]


def _generate(owner: str) -> SigningKey:
    private = rsa.generate_private_key(public_exponent=65_537, key_size=KEY_BITS)
    now = datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, owner[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + VALID)
        .sign(private, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM).decode()
    return SigningKey(certificate.fingerprint(hashes.SHA1()).hex(), private, pem)  # noqa: S303 - a name, as Google's


def _write(folder: Path, number: int, key: SigningKey) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = folder / f"{number:04}-{key.kid}.partial"
    partial.touch(mode=0o600)
    partial.write_text(key.private_pem + key.certificate_pem)
    partial.rename(partial.with_suffix(".pem"))


def _read(path: Path) -> SigningKey:
    text = path.read_bytes()
    private = serialization.load_pem_private_key(text, password=None)
    if not isinstance(private, rsa.RSAPrivateKey):
        raise TypeError(f"{path} holds no RSA key")
    certificate = text[text.index(b"-----BEGIN CERTIFICATE-----") :].decode()
    return SigningKey(path.stem.partition("-")[2], private, certificate)
