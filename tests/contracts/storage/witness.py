"""Somebody else's client, to say what is really stored: each provider's own, with the owner's credential."""

from typing import Protocol


class Witness(Protocol):
    async def has_bucket(self, bucket: str) -> bool: ...

    async def keys(self, bucket: str, prefix: str = "") -> set[str]: ...

    async def unfinished(self, bucket: str, prefix: str) -> set[str]:
        """Keys of uploads that were begun, as far as the store can tell."""

    async def put(self, bucket: str, key: str, body: bytes) -> None: ...

    async def get(self, bucket: str, key: str) -> bytes: ...

    async def delete(self, bucket: str, key: str) -> None:
        """Names no version: where the bucket keeps them, the latest is still there, and covered."""
