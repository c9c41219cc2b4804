"""API keys that operators add while the broker runs: one hash, from a key's public id to the key as it rests."""

import msgspec

from broker.domain.errors import LedgerUnavailable
from broker.domain.principals import ApiKey, Standing
from broker.ledger import scripts
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Reply, Script, Wire, Word

KEY = "api-keys"
# Beside the keys stands what was said of their ids. No id begins with such a sign.
IN_FORCE, TIMES = "~", "#"  # it is revoked now; how often it was

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ApiKey).decode


class RedisApiKeys:
    """`ApiKeys`, and what its keeper does with them."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def find(self, key_id: str) -> ApiKey | None:
        record, *said = await self._call("HMGET", KEY, key_id, IN_FORCE + key_id, TIMES + key_id)
        return None if record is None else _standing(*said).of(_read(record))

    async def standing(self, key_id: str) -> Standing:
        """Of any id: a key of the configuration can be revoked here, too."""
        return _standing(*await self._call("HMGET", KEY, IN_FORCE + key_id, TIMES + key_id))

    async def add(self, api_key: ApiKey) -> bool:
        """False when the id is taken: a key is revoked before another takes its id."""
        return bool(await self._run(scripts.KEY_ADD, api_key.id, IN_FORCE + api_key.id, _encode(api_key)))

    async def replace(self, api_key: ApiKey) -> None:
        """The same id with other hashes, roles or limits: how a key is rotated."""
        await self._call("HSET", KEY, api_key.id, _encode(api_key))

    async def revoke(self, key_id: str) -> bool:
        """From now on no process knows this id, and no token that it minted opens. False when it was so before."""
        return bool(await self._run(scripts.KEY_REVOKE, key_id, IN_FORCE + key_id, TIMES + key_id))

    async def restore(self, key_id: str) -> bool:
        """A key of the configuration is known again; its tokens from before are not. False when it was not revoked."""
        return bool(await self._call("HDEL", KEY, IN_FORCE + key_id))

    async def list(self) -> list[ApiKey]:
        """All that are kept here, by id."""
        flat = await self._call("HGETALL", KEY)
        records = dict(zip(flat[::2], flat[1::2], strict=True))
        found = [_read(record) for name, record in records.items() if not name.startswith(_SIGNS)]
        return sorted(found, key=lambda key: key.id)

    async def _call(self, *words: Word) -> Reply:
        try:
            return await self._wire.call(*words)
        except FOREIGN as exc:
            raise translated(exc) from exc

    async def _run(self, script: Script, *words: Word) -> Reply:
        try:
            return await self._wire.evalsha(script, [KEY], words)
        except FOREIGN as exc:
            raise translated(exc) from exc


class MemoryApiKeys:
    """The twin in dicts."""

    def __init__(self) -> None:
        self._keys: dict[str, ApiKey] = {}
        self._standings: dict[str, Standing] = {}

    async def find(self, key_id: str) -> ApiKey | None:
        api_key = self._keys.get(key_id)
        return api_key and (await self.standing(key_id)).of(api_key)

    async def standing(self, key_id: str) -> Standing:
        return self._standings.get(key_id, Standing())

    async def add(self, api_key: ApiKey) -> bool:
        if self._keys.setdefault(api_key.id, api_key) is not api_key:
            return False
        await self.restore(api_key.id)
        return True

    async def replace(self, api_key: ApiKey) -> None:
        self._keys[api_key.id] = api_key

    async def revoke(self, key_id: str) -> bool:
        self._keys.pop(key_id, None)
        known = await self.standing(key_id)
        self._standings[key_id] = Standing(generation=known.generation + (not known.is_revoked), is_revoked=True)
        return not known.is_revoked

    async def restore(self, key_id: str) -> bool:
        known = await self.standing(key_id)
        self._standings[key_id] = Standing(generation=known.generation)
        return known.is_revoked

    async def list(self) -> list[ApiKey]:
        return sorted(self._keys.values(), key=lambda key: key.id)


_SIGNS = (IN_FORCE.encode(), TIMES.encode())


def _standing(in_force: bytes | None, times: bytes | None) -> Standing:
    if in_force is None and times is None:
        return _GOOD
    return Standing(generation=int(times or 0), is_revoked=in_force is not None)


_GOOD = Standing()


def _read(record: bytes) -> ApiKey:
    try:
        return _decode(record)
    except msgspec.MsgspecError as exc:
        raise LedgerUnavailable("an API key in the ledger cannot be read") from exc
