"""Whose the buckets of a dev stack are: with a client that is not ours, whatever the provider."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

from broker.dev.stack import REGION, Stack
from broker.storage.s3.sigv4 import Credential
from tests.contracts.storage.gcs.witness import GcsWitness
from tests.contracts.storage.s3.witness import S3Witness


class Owner(Protocol):
    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "text/plain",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None: ...

    async def keys(self, bucket: str, prefix: str = "") -> set[str]: ...

    async def digests(self, bucket: str, prefix: str) -> dict[str, str]:
        """MD5 in hex, by key, of all there are."""

    def close(self) -> None: ...


def owner_of(stack: Stack, destination: str = "default") -> Owner:
    """Whoever asks closes it."""
    about, url = stack.about, stack.endpoints[destination]
    if stack.options.provider == "gcs":
        return GcsWitness.by_key_file(url, str(about.owner_key_file))
    credential = Credential(access_key=str(about.access_key), secret_key=str(about.secret_key))
    return S3Witness.of(url, REGION, credential)
