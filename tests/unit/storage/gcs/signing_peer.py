"""google-cloud-storage with a key of our own, at a moment of our choice: what V4 signatures are held to."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from unittest import mock

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from google.auth.crypt.rsa import RSASigner
from google.cloud.storage import Client, _signing
from google.oauth2.service_account import Credentials


@cache
def rsa_key() -> RSAPrivateKey:
    return generate_private_key(public_exponent=65_537, key_size=2_048)


@cache
def rsa_signer() -> RSASigner:
    pem = rsa_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return RSASigner.from_string(pem.decode())


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSignatory:
    """A `Signatory` whose key is here."""

    email: str = "uploads-writer@acme.iam.gserviceaccount.com"

    async def sign(self, payload: bytes) -> bytes:
        signature: bytes = rsa_signer().sign(payload)
        return signature


def foreign_url(
    method: str,
    bucket: str,
    key: str,
    *,
    endpoint: str,
    email: str,
    now: datetime,
    seconds: int,
    headers: Mapping[str, str],
    **more: Any,
) -> str:
    """What `Blob.generate_signed_url` gives. It changes the headers that it is passed: it gets a copy."""
    credentials = Credentials(rsa_signer(), email, "https://token.invalid")
    client = Client(project="acme", credentials=credentials)
    with mock.patch.object(_signing, "_NOW", return_value=now):
        url: str = (
            client.bucket(bucket)
            .blob(key)
            .generate_signed_url(
                version="v4",
                method=method,
                api_access_endpoint=endpoint,
                expiration=seconds,
                headers=dict(headers),
                **more,
            )
        )
    return url
