"""Whose ledger this is: `store-id`, one key that is written once and never changed."""

from broker.domain.errors import LedgerUnavailable
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Reply, Wire, Word

KEY = "store-id"


class RedisIdentity:
    """`Identity`."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def store_id(self) -> str | None:
        held = await self._call("GET", KEY)
        return None if held is None else held.decode()

    async def claim(self, store_id: str) -> str:
        await self._call("SET", KEY, store_id, "NX")
        held = await self.store_id()
        if held is None:
            raise LedgerUnavailable("the ledger lost its id as soon as it had it: somebody is emptying it")
        return held

    async def _call(self, *words: Word) -> Reply:
        try:
            return await self._wire.call(*words)
        except FOREIGN as exc:
            raise translated(exc) from exc


class MemoryIdentity:
    """The twin in a variable."""

    def __init__(self) -> None:
        self._held: str | None = None

    async def store_id(self) -> str | None:
        return self._held

    async def claim(self, store_id: str) -> str:
        self._held = self._held or store_id
        return self._held
