"""How fast it goes, and how long it will go on: pure arithmetic over what a view sees at each tick.

A file costs something and a byte costs something, and a tree that is sent smallest first shows long what files cost
before it shows what bytes cost. So both are fitted, and how sure the fit is of what is left. Where the earliest end and
the latest are much the same moment there is an ETA; where they are not, all that is said is how long it takes at the
least.
"""

import math
from collections import deque
from dataclasses import dataclass, field

WINDOW_SECONDS = 6.0  # ours: of the rates; shorter ones flicker, longer ones lie
MEMORY_SECONDS = 20.0  # ours: ticks this old count a third
CALM_SECONDS = 6.0  # ours: how slowly the end that is shown follows the end that was computed
AGREEMENT = 1.6  # ours: ends that differ by less are one
SAMPLE_SECONDS = 0.5
MIN_SAMPLES = 4
DOUBT = 1.5  # standard deviations
MIB = 1 << 20


class Rate:
    """Something a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def observe(self, now: float, amount: float) -> None:
        self._seen.append((now, amount))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_SECONDS:
            self._seen.popleft()

    @property
    def per_second(self) -> float:
        if len(self._seen) < 2:
            return 0.0
        (began, before), (ended, after) = self._seen[0], self._seen[-1]
        return max(0.0, after - before) / (ended - began) if ended > began else 0.0


@dataclass(slots=True)
class Costs:
    """What a file and what a MiB costs in seconds: t = a·files + b·MiB, by least squares, older samples fading."""

    _n: float = 0.0
    _ff: float = 0.0
    _fm: float = 0.0
    _mm: float = 0.0
    _ft: float = 0.0
    _mt: float = 0.0
    _tt: float = 0.0

    def observe(self, seconds: float, files: float, mib: float) -> None:
        keep = math.exp(-seconds / MEMORY_SECONDS)
        self._n = self._n * keep + 1
        self._ff = self._ff * keep + files * files
        self._fm = self._fm * keep + files * mib
        self._mm = self._mm * keep + mib * mib
        self._ft = self._ft * keep + files * seconds
        self._mt = self._mt * keep + mib * seconds
        self._tt = self._tt * keep + seconds * seconds

    def seconds(self, files: float, mib: float) -> tuple[float, float]:
        """For so much more: at the least, and at the most."""
        alone = [left * with_time / squared for left, with_time, squared in (
            (files, self._ft, self._ff), (mib, self._mt, self._mm)) if squared > 0]  # fmt: skip
        if not alone:
            return 0.0, math.inf
        least, most = min(alone), max(alone)
        determinant = self._ff * self._mm - self._fm * self._fm
        if self._n < MIN_SAMPLES or determinant <= 1e-9 * self._ff * self._mm:
            return least, most
        a = max(0.0, (self._ft * self._mm - self._mt * self._fm) / determinant)
        b = max(0.0, (self._mt * self._ff - self._ft * self._fm) / determinant)
        likely = min(max(a * files + b * mib, least), most)
        doubt = DOUBT * self._deviation(a, b, files, mib, determinant)
        return max(least, likely - doubt), min(most, likely + doubt)

    def _deviation(self, a: float, b: float, files: float, mib: float, determinant: float) -> float:
        """Of the sum, by what the fit leaves unexplained: large where samples were all alike and the rest is not."""
        rest = self._tt - 2 * (a * self._ft + b * self._mt)
        rest += a * a * self._ff + 2 * a * b * self._fm + b * b * self._mm
        form = files * files * self._mm - 2 * files * mib * self._fm + mib * mib * self._ff
        return math.sqrt(max(0.0, rest) / (self._n - 2) * max(0.0, form) / determinant)


@dataclass(slots=True)
class Forecast:
    """
    :ivar files: a second.   :ivar moved: bytes a second.
    :ivar seconds: until the end; None while nobody knows.
    :ivar is_least: `seconds` is how long it takes at the least.
    """

    files: Rate = field(default_factory=Rate)
    moved: Rate = field(default_factory=Rate)
    seconds: float | None = None
    is_least: bool = False
    _costs: Costs = field(default_factory=Costs)
    _last: tuple[float, float, float] | None = None
    _ends_at: float | None = None
    _asked_at: float = 0.0

    def observe(self, now: float, files: int, size_bytes: int) -> None:
        """
        :param files: done so far.
        :param size_bytes: moved so far.
        """
        self.files.observe(now, files)
        self.moved.observe(now, size_bytes)
        if self._last is None:
            self._last = (now, files, size_bytes)
            return
        then, files_then, bytes_then = self._last
        has_moved = files > files_then or size_bytes > bytes_then
        if has_moved and now - then >= SAMPLE_SECONDS:  # a pause belongs to what comes after it
            self._costs.observe(now - then, max(0, files - files_then), max(0, size_bytes - bytes_then) / MIB)
            self._last = (now, files, size_bytes)

    def ask(self, now: float, files_left: int, bytes_left: int, *, is_all: bool) -> None:
        """
        :param is_all: nothing more will be found.
        """
        if self.files.per_second <= 0 and self.moved.per_second <= 0:
            self.seconds, self._ends_at = None, None
            return
        least, most = self._costs.seconds(files_left, bytes_left / MIB)
        self.is_least = not is_all or most > AGREEMENT * least + 2
        self.seconds = self._calm(now, least if self.is_least else (least + most) / 2)

    def _calm(self, now: float, left: float) -> float:
        """The end moves slowly, unless it moves far."""
        ends_at = now + left
        shown = None if self._ends_at is None else self._ends_at - now
        if self._ends_at is None or shown is None or not 0.5 * left - 5 <= shown <= 2 * left + 5:
            self._ends_at = ends_at
        else:
            self._ends_at += (ends_at - self._ends_at) * -math.expm1(-(now - self._asked_at) / CALM_SECONDS)
        self._asked_at = now
        return max(0.0, self._ends_at - now)
