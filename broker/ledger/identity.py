"""Whose ledger this is: `store-id`, a key that is written once and never changed; and since when it adopts.

`adopt-after` is a hash from a destination to unix milliseconds: what an operator said when he recovered the ledger.
"""

from datetime import datetime

from broker.domain.errors import LedgerUnavailable
from broker.ledger.records import milliseconds, moment
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Reply, Wire, Word

KEY = "store-id"
FLOORS = "adopt-after"


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

    async def adoption_floor(self, destination: str) -> datetime | None:
        said = await self._call("HGET", FLOORS, destination)
        return None if said is None else moment(int(said))

    async def set_adoption_floor(self, destination: str, created_after: datetime) -> None:
        await self._call("HSET", FLOORS, destination, milliseconds(created_after))

    async def _call(self, *words: Word) -> Reply:
        try:
            return await self._wire.call(*words)
        except FOREIGN as exc:
            raise translated(exc) from exc


class MemoryIdentity:
    """The twin in a variable."""

    def __init__(self) -> None:
        self._held: str | None = None
        self._floors: dict[str, int] = {}

    async def store_id(self) -> str | None:
        return self._held

    async def claim(self, store_id: str) -> str:
        self._held = self._held or store_id
        return self._held

    async def adoption_floor(self, destination: str) -> datetime | None:
        said = self._floors.get(destination)
        return None if said is None else moment(said)

    async def set_adoption_floor(self, destination: str, created_after: datetime) -> None:
        self._floors[destination] = milliseconds(created_after)
