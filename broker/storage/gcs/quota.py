"""How many signatures all replicas ask of IAM together: fewer than Google gives, so that it refuses none.

IAM quotas: signBlob and signJwt, 60,000 a minute for a project. A turn costs a round trip to the ledger, hence each
process takes a block of them; what is left of a block when the process ends is lost, which is a fraction of a second.
"""

import asyncio
from collections.abc import Callable
from functools import partial
from math import ceil
from typing import Final

from broker.domain.errors import LedgerUnavailable, SigningQuotaExhausted
from broker.domain.principals import Rate
from broker.ports import Rates

BLOCK: Final = 20  # ours: 40 round trips a second at 800 signatures
_SAVED_UP: Final = 5  # seconds' worth at once. 5 + 60 of them at 800 a second are 52,000 in the worst minute


class SigningQuota:
    """Turns to sign, shared by name. Belongs to one event loop.

    :param name: of whose quota it is; nothing that a client chose.
    """

    def __init__(self, *, rates: Rates, name: str, per_second: float, block: int = BLOCK) -> None:
        self._rates, self._name, self._block = rates, f"signblob:{name}", block
        self._rate = Rate(per_second=per_second, burst=ceil(per_second * _SAVED_UP))
        self._left = 0
        self._waiting = 0
        self._refusals = 0
        self._why: Callable[[], SigningQuotaExhausted | LedgerUnavailable] = SigningQuotaExhausted
        self._asking = asyncio.Lock()

    async def take(self) -> None:
        """One turn.

        :raises SigningQuotaExhausted: there is none now.
        :raises LedgerUnavailable:
        """
        if not self._left:
            await self._wait()
        self._left -= 1

    async def _wait(self) -> None:
        """Until there is a turn. Who waited for an answer, or for none, does not ask again: he would wait once more."""
        refusals = self._refusals
        self._waiting += 1
        try:
            async with self._asking:
                if not self._left and self._refusals == refusals:
                    await self._ask()
        finally:
            self._waiting -= 1
        if not self._left:
            raise self._why()

    async def _ask(self) -> None:
        try:
            taken = await self._rates.take(self._name, self._rate, max(self._block, self._waiting))
        except LedgerUnavailable as trouble:
            self._refuse(partial(LedgerUnavailable, trouble.detail))
            return
        self._left += taken.count
        if not taken.count:
            self._refuse(partial(SigningQuotaExhausted, retry_after=taken.next_after))

    def _refuse(self, why: Callable[[], SigningQuotaExhausted | LedgerUnavailable]) -> None:
        self._refusals += 1
        self._why = why
