"""What the store did with the requests of a moment: long enough to judge, and none that were begun before it."""

from dataclasses import dataclass

REQUEST_BYTES = 1 << 16  # ours: what a request costs besides its bytes, as bytes
FEWEST_ANSWERS = 16  # ours: fewer are an anecdote
LONGEST_SECONDS = 10.0  # ours: then what is there has to do


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One window.

    :ivar rate: bytes a second, with the allowance for each request; none where there was not enough to send.
    """

    answers: int
    refusals: int
    rate: float | None

    @property
    def refused_share(self) -> float:
        return self.refusals / self.answers


class Window:
    """One after the other. Time counts from one answer to the next, if both times more was to be sent than could be:
    whether ten requests at a time are better than five shows only where ten are wanted.

    :ivar refusals: in this window.
    :ivar streak: refusals one after the other, the last of them just now.
    :ivar retry_after_seconds: the longest that the store asked for.
    """

    def __init__(self, now: float) -> None:
        self.refusals = self.streak = 0
        self.retry_after_seconds = 0.0
        self._last_at = now
        self._was_full = False
        self.begin(now, unseen=0)

    def begin(self, now: float, *, unseen: int) -> None:
        """
        :param unseen: answers to come that say nothing about the present limit.
        """
        self._unseen = unseen
        self._full_seconds = 0.0
        self._work = self._full_answers = 0
        self._count_anew(now)

    def took(self, size_bytes: int, now: float, *, is_full: bool) -> None:
        self.streak = 0
        self._answered(now, size_bytes + REQUEST_BYTES, is_full=is_full)

    def refused(self, retry_after_seconds: float, now: float, *, is_full: bool) -> None:
        self.streak += 1
        if self._answered(now, 0, is_full=is_full):
            self.refusals += 1
            self.retry_after_seconds = max(self.retry_after_seconds, retry_after_seconds)

    def seen(self, now: float, shortest_seconds: float, limit: int) -> Seen | None:
        """What was, if it was long enough: every place that `limit` allows has had its turn."""
        if self._unseen or not _is_enough(now - self._began_at, self._answers, shortest_seconds, limit):
            return None
        is_judged = _is_enough(self._full_seconds, self._full_answers, shortest_seconds, limit)
        rate = self._work / self._full_seconds if is_judged else None
        seen = Seen(answers=self._answers, refusals=self.refusals, rate=rate)
        self._count_anew(now)
        return seen

    def _count_anew(self, now: float) -> None:
        self._began_at = now
        self.retry_after_seconds = 0.0
        self._answers = self.refusals = 0

    def _answered(self, now: float, work: int, *, is_full: bool) -> bool:
        """Whether it counts."""
        since, self._last_at = now - self._last_at, now
        was_full, self._was_full = self._was_full, is_full
        if self._unseen:
            self._unseen -= 1
            self._began_at = now
            return False
        self._answers += 1
        if is_full and was_full:
            self._full_seconds += since
            self._full_answers += 1
            self._work += work
        return True


def _is_enough(seconds: float, answers: int, shortest_seconds: float, limit: int) -> bool:
    if answers >= max(FEWEST_ANSWERS, limit):
        return seconds >= shortest_seconds
    return answers > 0 and seconds >= LONGEST_SECONDS
