"""google-cloud-storage, unmodified and with an account of its own, says what is really stored."""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

from google.auth.credentials import AnonymousCredentials
from google.auth.transport.urllib3 import Request
from google.cloud.storage import Client  # type: ignore[import-untyped]
from google.oauth2 import service_account
from urllib3 import PoolManager


class _Bearing(AnonymousCredentials):
    """A token, and nothing that looks for another or for a region at Google's own address."""

    def __init__(self, token: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.token = token

    def before_request(self, request: Any, method: str, url: str, headers: dict[str, str]) -> None:  # noqa: ARG002
        headers["authorization"] = f"Bearer {self.token}"


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsWitness:
    client: Any  # it is hardly typed

    @classmethod
    def of(cls, url: str, token: str) -> Self:
        return cls(client=Client(project="emulated", credentials=_Bearing(token), client_options={"api_endpoint": url}))

    @classmethod
    def by_key_file(cls, url: str, path: str) -> Self:
        """As the service account whose key that is."""
        scope = "https://www.googleapis.com/auth/devstorage.full_control"
        account = service_account.Credentials.from_service_account_file(path, scopes=[scope])  # type: ignore[no-untyped-call]
        with PoolManager() as pool:
            account.refresh(Request(pool))  # type: ignore[no-untyped-call]
        return cls.of(url, str(account.token))

    def close(self) -> None:
        self.client.close()

    async def has_bucket(self, bucket: str) -> bool:
        return await self._call(self.client.lookup_bucket, bucket) is not None

    async def keys(self, bucket: str, prefix: str = "") -> set[str]:
        return {each.name for each in await self._call(lambda: [*self.client.list_blobs(bucket, prefix=prefix)])}

    async def digests(self, bucket: str, prefix: str) -> dict[str, str]:
        """MD5 in hex, by key, of all there are."""
        listed = await self._call(lambda: [*self.client.list_blobs(bucket, prefix=prefix)])
        return {each.name: base64.b64decode(each.md5_hash).hex() for each in listed}

    async def unfinished(self, bucket: str, prefix: str) -> set[str]:  # noqa: ARG002
        """Cloud Storage tells of a resumable upload to nobody but who holds its URI."""
        return set()

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "text/plain",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        blob = self._blob(bucket, key)
        blob.metadata = dict(metadata)
        await self._call(blob.upload_from_string, body, content_type=content_type)

    async def get(self, bucket: str, key: str) -> bytes:
        body: bytes = await self._call(self._blob(bucket, key).download_as_bytes, raw_download=True)
        return body

    async def delete(self, bucket: str, key: str) -> None:
        await self._call(self._blob(bucket, key).delete)

    def _blob(self, bucket: str, key: str) -> Any:
        return self.client.bucket(bucket).blob(key)

    async def _call(self, method: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        return await asyncio.to_thread(lambda: method(*arguments, **named))
