"""Notifications wait to be fetched: a mailbox lends its messages, and lends them again unless they are deleted."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol

from broker.contract import NotificationReceipt


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, lent for a while.

    :param id: its name in the mailbox, fit for logs.
    :param sent_at: by the mailbox' clock; None where it does not tell.
    :param receipt: by which this loan is ended; of no use when it has run out.
    :param deliveries: how often it was lent, this time included.
    """

    id: str
    receipt: str = field(repr=False)
    body: str = field(repr=False)
    sent_at: datetime | None = None
    deliveries: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Deletion:
    """What of a batch is not deleted; the rest is gone.

    :param again: is worth another try.
    :param lost: no try will do it, for instance because the loan ran out. It comes back.
    """

    again: Sequence[Message] = ()
    lost: Sequence[Message] = ()


class Mailbox(Protocol):
    """Who may write into it is its own policy's business: what it lends is authentic."""

    @property
    def loan(self) -> timedelta:
        """How long a message is lent: nobody else gets it for so long, and then somebody does."""

    async def receive(self) -> Sequence[Message]:
        """Some messages; none if there were none for a while.

        :raises Unavailable:
        """

    async def delete(self, messages: Sequence[Message]) -> Deletion:
        """
        :param messages: one or more of those that were received together.
        :raises Unavailable: perhaps some are deleted.
        """

    async def release(self, messages: Sequence[Message]) -> None:
        """Gives back what was lent, for others to have at once, as well as it can: what it cannot runs out by itself.

        :param messages: one or more of those that were received together.
        :raises Unavailable:
        """

    async def has_redrive(self) -> bool:
        """Whether the mailbox puts aside by itself what was lent too often.

        :raises Unavailable: nobody knows.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """What became of a batch.

    :param done: what may be deleted now: its hints are recorded, or it is not wanted.
    :param poison: what nobody can read, whether it is done with or kept.
    """

    receipt: NotificationReceipt
    done: Sequence[Message]
    poison: Sequence[Message] = ()


class Collecting(Protocol):
    """What makes hints of messages, whoever does it."""

    async def __call__(self, messages: Sequence[Message]) -> Collected:
        """Records what a batch says, in one go: a message that comes again says nothing new.

        :raises LedgerUnavailable: nothing, or only a part, was recorded; nothing may be deleted.
        """
