"""What the store did with the requests of a moment: long enough to judge, and none that were begun before it."""

from dataclasses import dataclass

REQUEST_BYTES = 1 << 16  # ours: what a request costs besides its bytes, as bytes
FEWEST_ANSWERS = 16  # ours: fewer are an anecdote
LONGEST_SECONDS = 10.0  # ours: then what is there has to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One window.

    :ivar rate: bytes a second, with the allowance for each request.
    :ivar is_full: there was more to send than the limit allowed, most of the time.
    """

    rate: float
    answers: int
    refusals: int
    is_full: bool

    @property
    def refused_share(self) -> float:
        return self.refusals / self.answers


class Window:
    """One after the other.

    :ivar unseen: answers to come that say nothing about the present limit.
    :ivar refusals: in this window.
    :ivar streak: refusals one after the other, the last of them just now.
    :ivar retry_after_seconds: the longest that the store asked for.
    """

    def __init__(self, now: float) -> None:
        self.streak = 0
        self.begin(now, unseen=0)

    def begin(self, now: float, *, unseen: int) -> None:
        self.unseen = unseen
        self.retry_after_seconds = 0.0
        self._began_at = now
        self.refusals = self._work = self._answers = self._full = 0

    def took(self, size_bytes: int, now: float, *, is_full: bool) -> None:
        self.streak = 0
        if self._counts(now, is_full=is_full):
            self._work += size_bytes + REQUEST_BYTES

    def refused(self, retry_after_seconds: float, now: float, *, is_full: bool) -> None:
        self.streak += 1
        if self._counts(now, is_full=is_full):
            self.refusals += 1
            self.retry_after_seconds = max(self.retry_after_seconds, retry_after_seconds)

    def seen(self, now: float, shortest_seconds: float, limit: int) -> Seen | None:
        """What was, if it was long enough: every place that `limit` allows has had its turn."""
        seconds = now - self._began_at
        if self.unseen or not self._answers or seconds < shortest_seconds:
            return None
        if self._answers < max(FEWEST_ANSWERS, limit) and seconds < LONGEST_SECONDS:
            return None
        return Seen(
            rate=self._work / seconds,
            answers=self._answers,
            refusals=self.refusals,
            is_full=2 * self._full >= self._answers,
        )

    def _counts(self, now: float, *, is_full: bool) -> bool:
        if self.unseen:
            self.unseen -= 1
            self._began_at = now
            return False
        self._answers += 1
        self._full += is_full
        return True
