"""How often, and after which pause, something is tried again (AWS Architecture Blog, "Exponential Backoff And Jitter";
RFC 9110 section 10.2.3 for Retry-After)."""

import random
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER = timedelta(minutes=2)  # ours: a server that asks for more is as good as away

MAX_DOUBLINGS = 20  # a millionfold; beyond it the float, and then the timedelta, would overflow


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Bounded back-off: the pause doubles, half of it is chance, and a server's Retry-After is a lower bound."""

    attempts: int = 10
    first_delay: timedelta = timedelta(milliseconds=250)
    longest_delay: timedelta = timedelta(seconds=20)

    def is_last(self, attempt: int) -> bool:
        """:param attempt: counted from 1."""
        return attempt >= self.attempts

    def delay(self, attempt: int, retry_after: timedelta | None = None) -> timedelta:
        """The pause after this attempt, counted from 1."""
        full = min(self.longest_delay, self.first_delay * 2.0 ** min(attempt - 1, MAX_DOUBLINGS))
        jittered = full * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads load, it hides nothing
        return max(jittered, min(retry_after, LONGEST_RETRY_AFTER)) if retry_after else jittered


def parse_retry_after(value: str | None) -> timedelta | None:
    """Seconds or an HTTP date; anything else counts as absent."""
    if not value:
        return None
    if re.fullmatch(r"\s*[0-9]{1,9}\s*", value):
        return timedelta(seconds=int(value))
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max(timedelta(), moment - datetime.now(UTC)) if moment.tzinfo else None
