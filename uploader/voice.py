"""What one upload says while it runs, and of which of its copies."""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Self

from uploader import events


@dataclass(slots=True, kw_only=True)
class Voice:
    """:ivar session_id: known once there is a session."""

    file: str
    observer: events.Observer
    session_id: str | None = None
    destination: str | None = None

    def of(self, destination: str) -> Self:
        """The same voice, speaking of one copy."""
        return replace(self, destination=destination)

    def tell(self, event: events.Event) -> None:
        self.observer.on_event(event)

    def retrying(self, what: str, why: str, pause: timedelta, attempt: int) -> None:
        self.tell(
            events.Retrying(
                file=self.file,
                what=what,
                why=why,
                delay_seconds=round(pause.total_seconds(), 3),
                attempt=attempt,
                session_id=self.session_id,
                destination=self.destination,
            )
        )

    def reminted(self, why: str) -> None:
        self.tell(
            events.Reminted(file=self.file, session_id=self.session_id or "", why=why, destination=self.destination)
        )
