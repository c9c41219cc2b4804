"""Notifications come in: a door authenticates the sender of an envelope and turns it into hints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """One notification as it came in."""

    headers: Mapping[str, str]  # names in lower case
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Somebody says that something happened to an object. Worth a look, never belief.

    :param is_removed: it went, or a delete marker covers it; otherwise it came.
    :param version: the one that the sender names, empty when it names none; of a delete marker, the marker's own.
    :param sequencer: puts what is said of one key in order, as hexadecimal digits; empty when the sender counts none.
    """

    bucket: str
    key: str
    is_removed: bool = False
    version: str = ""
    sequencer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What an authentic envelope held. `malformed` counts records that could not be read."""

    hints: Sequence[Hint]
    malformed: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedPage:
    """:param fresh_for: how long its host says that nothing else is there; None where it does not say."""

    body: bytes
    fresh_for: timedelta | None = None


class Pages(Protocol):
    """What a sender publishes about itself, and where it takes a word from us."""

    async def get(self, url: str, *, at_most_bytes: int) -> PublishedPage | None:
        """The page at `url`; None when there is none, or it is larger than it may be.

        :param url: https, and one that may be called: nothing here protects the network from its caller.
        :raises SenderUnavailable: no answer in time, or none that says anything.
        """


class Door(Protocol):
    @property
    def destinations(self) -> Sequence[str]:
        """The destinations about which this source may speak."""

    async def open(self, envelope: Envelope) -> Opened:
        """Authenticates the sender, then reads its records; never raises for a malformed body.

        :raises NotAuthentic:
        :raises SenderUnavailable: nobody can say now whether it is; the sender must send again.
        """
