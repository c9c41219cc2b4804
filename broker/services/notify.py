"""Notify: somebody pushes an envelope; an authentic one becomes hints."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from broker.contract import NotificationReceipt
from broker.domain.errors import SourceNotFound
from broker.ports import Door, Envelope
from broker.services.record_hints import RecordHints

_log = logging.getLogger("broker.notify")


@dataclass(frozen=True, slots=True, kw_only=True)
class Notify:
    doors: Mapping[str, Door]
    record: RecordHints

    async def __call__(self, source: str, envelope: Envelope) -> NotificationReceipt:
        """:raises SourceNotFound: no such source is configured.
        :raises NotAuthentic: the sender is not who it should be; nothing was recorded.
        :raises SenderUnavailable: nobody can say whether it is; it must be sent again.
        :raises LedgerUnavailable: nothing, or only a part, was recorded; the sender must send again.
        """
        door = self.doors.get(source)
        if door is None:
            raise SourceNotFound
        opened = await door.open(envelope)
        receipt = await self.record(door.destinations, opened)
        if opened.malformed:
            _log.warning("notification.malformed", extra={"source": source, "count": opened.malformed})
        return receipt
