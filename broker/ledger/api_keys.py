"""API keys that operators add while the broker runs: one hash, from a key's public id to the key as it rests."""

import msgspec

from broker.domain.errors import LedgerUnavailable
from broker.domain.principals import ApiKey
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Reply, Wire, Word

KEY = "api-keys"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ApiKey).decode


class RedisApiKeys:
    """`ApiKeys`, and what its keeper does with them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def find(self, key_id: str) -> ApiKey | None:
        record = await self._call("HGET", KEY, key_id)
        return None if record is None else _read(record)

    async def add(self, api_key: ApiKey) -> bool:
        """False when the id is taken: a key is revoked before another takes its id."""
        return bool(await self._call("HSETNX", KEY, api_key.id, _encode(api_key)))

    async def replace(self, api_key: ApiKey) -> None:
        """The same id with other hashes, roles or limits: how a key is rotated."""
        await self._call("HSET", KEY, api_key.id, _encode(api_key))

    async def revoke(self, key_id: str) -> bool:
        """False when there was none."""
        return bool(await self._call("HDEL", KEY, key_id))

    async def list(self) -> list[ApiKey]:
        """All of them, by id."""
        return sorted((_read(record) for record in await self._call("HVALS", KEY)), key=lambda key: key.id)

    async def _call(self, *words: Word) -> Reply:
        try:
            return await self._wire.call(*words)
        except FOREIGN as exc:
            raise translated(exc) from exc


class MemoryApiKeys:
    """The twin in a dict."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}

    async def find(self, key_id: str) -> ApiKey | None:
        return self._keys.get(key_id)

    async def add(self, api_key: ApiKey) -> bool:
        return self._keys.setdefault(api_key.id, api_key) is api_key

    async def replace(self, api_key: ApiKey) -> None:
        self._keys[api_key.id] = api_key

    async def revoke(self, key_id: str) -> bool:
        return self._keys.pop(key_id, None) is not None

    async def list(self) -> list[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: key.id)


def _read(record: bytes) -> ApiKey:
    try:
        return _decode(record)
    except msgspec.MsgspecError as exc:
        raise LedgerUnavailable("an API key in the ledger cannot be read") from exc
