"""How often a key may mint, counted for all processes together by the ledger's own clock.

One key a principal, `rate:{NN}:PRINCIPAL`, on the shard that a hash of the principal names.
"""

from datetime import timedelta
from math import ceil

from broker.domain.keys import shard_for
from broker.domain.principals import Rate
from broker.ledger import scripts
from broker.ledger.records import milliseconds
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Wire
from broker.ports import Clock, Taken

_MICROSECOND = timedelta(microseconds=1)


class RedisRates:
    """`Rates`."""

    def __init__(self, wire: Wire, shards: int) -> None:
        self._wire = wire
        self._shards = shards

    async def take(self, principal: str, rate: Rate, wanted: int) -> Taken:
        key = f"rate:{{{shard_for(principal, '', self._shards):02x}}}:{principal}"
        words = (1_000_000 / rate.per_second, rate.burst, wanted)
        try:
            taken, wait = await self._wire.evalsha(scripts.RATE, (key,), words)
        except FOREIGN as exc:
            raise translated(exc) from exc
        return Taken(count=taken, next_after=wait * _MICROSECOND)


class MemoryRates:
    """The twin, by the same arithmetic."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._spoken_for: dict[str, float] = {}

    async def take(self, principal: str, rate: Rate, wanted: int) -> Taken:
        now, each = milliseconds(self._clock.now()) * 1_000, 1_000_000 / rate.per_second
        most = each * rate.burst
        spoken_for = min(max(self._spoken_for.get(principal, 0), now), now + most)
        taken = min(int((now + most - spoken_for) / each + 1e-6), wanted)
        self._spoken_for[principal] = spoken_for + taken * each
        wait = max(ceil(self._spoken_for[principal] + each - most - now), 0)
        return Taken(count=taken, next_after=wait * _MICROSECOND)
