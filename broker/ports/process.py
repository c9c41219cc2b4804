"""What the process itself has: the time, the trace it works in, and ways to wake those who wait."""

from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    def now(self) -> datetime:
        """The present moment: aware, UTC."""


class Trace(Protocol):
    """Where the present work stands in a trace that somebody follows."""

    def here(self) -> str:
        """The W3C traceparent to keep with what comes of it; empty when nobody follows."""


class Bell(Protocol):
    """Wakes those of this process who wait for work; others find it by looking. Never the only way to hear."""

    def ring(self) -> None: ...

    async def wait(self, timeout: timedelta) -> None:
        """Until the next ring, or `timeout`."""


class Listener(Protocol):
    """Somebody who wants to know what becomes of one session."""

    @property
    def is_over(self) -> bool:
        """It must leave: whoever listens has gone or may not any longer, or this process stops."""

    def leave(self) -> None:
        """Makes it so, and wakes it."""

    async def wait(self, timeout: timedelta) -> bool:
        """True as soon as the session may have moved on or `is_over` changed; False after `timeout`."""


class Listeners(Protocol):
    """Those of this process who listen, told whichever process moved their session on."""

    def listen(self, session_id: str, key_id: str, generation: int) -> AbstractContextManager[Listener]:
        """A listener as long as the context lasts. What happened before it began must be read from the record.

        :param key_id, generation: the API key by whose right it listens; soon after its revocation it must leave.
        :raises Overloaded: this process has as many listeners as it takes.
        """
