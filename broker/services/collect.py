"""Collect: messages that wait in a mailbox become hints, and only when these are recorded may they be deleted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from broker.ports import Collected, Hint, Message, Opened
from broker.services.poison import Poison
from broker.services.record_hints import RecordHints


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    """:param destinations: about which this mailbox may speak."""

    destinations: Sequence[str]
    open_body: Callable[[str], Opened]
    record: RecordHints
    poison: Poison

    async def __call__(self, messages: Sequence[Message]) -> Collected:
        opened = [self.open_body(message.body) for message in messages]
        poison = [message for message, held in zip(messages, opened, strict=True) if _is_unreadable(held)]
        receipt = await self.record(self.destinations, _together(opened))
        is_kept = bool(poison) and await self.poison.is_kept()
        self.poison.tell(poison, is_kept=is_kept)
        if not is_kept:
            return Collected(receipt=receipt, done=messages, poison=poison)
        kept = {message.receipt for message in poison}
        done = [message for message in messages if message.receipt not in kept]
        return Collected(receipt=receipt, done=done, poison=poison)


def _is_unreadable(opened: Opened) -> bool:
    """Nothing in it could be read. One bad record beside good ones is counted, and the message has done its work."""
    return bool(opened.malformed) and not opened.hints and not opened.ignored


def _together(opened: Sequence[Opened]) -> Opened:
    hints: list[Hint] = [hint for held in opened for hint in held.hints]
    return Opened(
        hints=hints,
        malformed=sum(held.malformed for held in opened),
        ignored=sum(held.ignored for held in opened),
    )
