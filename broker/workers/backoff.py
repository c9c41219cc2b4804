"""How long to leave alone what is in trouble: longer each time, and not all at once."""

from dataclasses import dataclass
from datetime import timedelta
from random import uniform


@dataclass(slots=True, kw_only=True)
class Backoff:
    """Doubles from `first` to `longest`; each pause is a random part of that, from half to all of it."""

    first: timedelta
    longest: timedelta
    _times: int = 0

    @property
    def is_rising(self) -> bool:
        return self._times > 0

    def next(self) -> timedelta:
        whole: timedelta = min(self.first * 2 ** min(self._times, 32), self.longest)
        self._times += 1
        return whole * uniform(0.5, 1)  # noqa: S311 - spread, no secret

    def reset(self) -> None:
        self._times = 0
