"""The marker: notes the ledger's id in every destination, early, so that a ledger lost later is noticed."""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

from broker.domain.errors import BrokerError, StoreMismatch
from broker.services.store_marks import MarkStores

_log = logging.getLogger("broker.marker")

FIRST_PAUSE = timedelta(seconds=1)
LONGEST_PAUSE = timedelta(minutes=1)
AGAIN = timedelta(hours=1)  # ours: how long an emptied Redis may stay unnoticed


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Runs until cancelled. Whatever goes wrong here keeps nobody from uploading: it is logged and tried again."""

    mark: MarkStores

    async def run(self) -> None:
        pause = FIRST_PAUSE
        while True:
            if await self._is_done():
                pause = FIRST_PAUSE
                await asyncio.sleep(AGAIN.total_seconds())
            else:
                await asyncio.sleep(pause.total_seconds())
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _is_done(self) -> bool:
        try:
            await self.mark()
        except StoreMismatch as fault:
            _log.error("store.mismatch", extra={"why": fault.detail})
        except BrokerError as trouble:
            _log.warning("marker.waiting", extra={"code": trouble.code, "why": trouble.detail})
        except Exception:
            _log.exception("marker.stumbled")
        else:
            return True
        return False
