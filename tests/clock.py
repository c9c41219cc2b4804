"""Time that stands still until a test moves it."""

from datetime import UTC, datetime, timedelta

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


class FrozenClock:
    """A `Clock` that a test advances."""

    def __init__(self, now: datetime = START) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def advance(self, by: timedelta) -> datetime:
        self._now += by
        return self._now

    def advance_to(self, moment: datetime) -> datetime:
        """Forward only: a moment that is over changes nothing."""
        self._now = max(self._now, moment)
        return self._now
