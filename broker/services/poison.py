"""Poison: messages that nobody can read. What becomes of them, and how little of them is told."""

import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from broker.domain.errors import BrokerError
from broker.ports import Clock, Mailbox, Message

_log = logging.getLogger("broker.poison")

SAMPLE_EVERY = timedelta(seconds=10)  # ours: a flood of them must not become a flood of lines
SAMPLE_LENGTH = 120
LEARNED_FOR = timedelta(minutes=5)  # ours: how late we notice that a mailbox was given a redrive policy
_WORDS, _NUMBERS, _ODD = re.compile(r"[^\W\d_]+"), re.compile(r"\d+"), re.compile(r"[^\x20-\x7e]+")


class OnPoison(StrEnum):
    """What to do with a message that cannot be read."""

    AUTO = "auto"  # keep where the mailbox puts it aside by itself, else delete
    KEEP = "keep"
    DELETE = "delete"


@dataclass(slots=True, kw_only=True)
class Poison:
    """One mailbox's.

    A message that is kept comes back when its loan ends, until the mailbox' own redrive policy puts it where people
    look, or its retention ends. Where nothing puts it aside it would come back for days and keep receivers busy, and
    what it may have told is found by looking anyway: there it is deleted. Where nobody knows, it is kept: unknown is
    no reason to delete.
    """

    source: str
    mailbox: Mailbox
    on_poison: OnPoison
    clock: Clock
    _has_redrive: bool = True
    _learn_at: datetime | None = None
    _tell_at: datetime | None = None
    _untold: int = 0

    async def is_kept(self) -> bool:
        if self.on_poison is not OnPoison.AUTO:
            return self.on_poison is OnPoison.KEEP
        now = self.clock.now()
        if self._learn_at is None or now >= self._learn_at:
            self._learn_at = now + LEARNED_FOR
            await self._learn()
        return self._has_redrive

    async def _learn(self) -> None:
        try:
            self._has_redrive = await self.mailbox.has_redrive()
        except BrokerError as trouble:
            self._has_redrive = True
            _log.warning("poison.redrive-unknown", extra={"source": self.source, "why": trouble.detail})

    def tell(self, messages: Sequence[Message], *, is_kept: bool) -> None:
        """A line for some of them: by id and digest whoever has the message finds it, and nobody else reads it."""
        self._untold += len(messages)
        now = self.clock.now()
        if not messages or (self._tell_at is not None and now < self._tell_at):
            return
        told, self._untold, self._tell_at = self._untold, 0, now + SAMPLE_EVERY
        message = messages[0]
        body = message.body.encode(errors="replace")
        extra = {
            "source": self.source,
            "count": told,
            "is_kept": is_kept,
            "message_id": message.id,
            "deliveries": message.deliveries,
            "size_bytes": len(body),
            "sha256": hashlib.sha256(body).hexdigest(),
            "sample": masked(message.body),
        }
        _log.warning("poison.found", extra=extra)


def masked(text: str) -> str:
    """The shape of a text and none of its words: `{"key": "top-secret-42"}` is `{"a": "a-a-9"}`."""
    shape = _ODD.sub("?", _NUMBERS.sub("9", _WORDS.sub("a", text[: 20 * SAMPLE_LENGTH])))
    return shape[:SAMPLE_LENGTH]
