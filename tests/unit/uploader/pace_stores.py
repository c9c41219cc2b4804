"""Stores that never were, to try a controller of concurrency on: queues, crowds, quotas, storms."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from uploader.transfer.pace import Pace

NOISE = 0.4  # sigma of a lognormal: a tenth of the requests takes twice as long as most


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    seconds: float
    is_taken: bool = True
    retry_after_seconds: float = 0.0


class Store(Protocol):
    def serve(self, now: float, under_way: int, chance: random.Random) -> Outcome:
        """:param under_way: this request included."""


@dataclass(slots=True)
class Queue:
    """So many can be served at a time; the others wait."""

    servers: int
    seconds: float
    free_at: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.free_at = [0.0] * self.servers

    def serve(self, now: float, under_way: int, chance: random.Random) -> Outcome:  # noqa: ARG002
        end = max(heapq.heappop(self.free_at), now) + self.seconds * chance.lognormvariate(0, NOISE)
        heapq.heappush(self.free_at, end)
        return Outcome(seconds=end - now)


@dataclass(slots=True)
class Crowd:
    """Gunther's universal scalability law: each one more costs all others something, so that too many do less."""

    seconds: float
    contention: float
    coherency: float

    def serve(self, now: float, under_way: int, chance: random.Random) -> Outcome:  # noqa: ARG002
        others = under_way - 1
        slower = 1 + self.contention * others + self.coherency * others * under_way
        return Outcome(seconds=self.seconds * slower * chance.lognormvariate(0, NOISE))


@dataclass(slots=True)
class Quota:
    """So many requests a second, and 503 for all others."""

    seconds: float
    a_second: float
    left: float = field(init=False)
    filled_at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self.left = self.a_second / 10

    def serve(self, now: float, under_way: int, chance: random.Random) -> Outcome:  # noqa: ARG002
        self.left = min(self.a_second / 10, self.left + (now - self.filled_at) * self.a_second)
        self.filled_at = now
        if self.left < 1:
            return Outcome(seconds=self.seconds / 4, is_taken=False)
        self.left -= 1
        return Outcome(seconds=self.seconds * chance.lognormvariate(0, NOISE))


@dataclass(slots=True)
class Storm:
    """Another store, that refuses a share of what comes in between two moments."""

    store: Store
    begin: float
    end: float
    share: float = 1.0
    retry_after_seconds: float = 0.0

    def serve(self, now: float, under_way: int, chance: random.Random) -> Outcome:
        if self.begin <= now < self.end and chance.random() < self.share:
            return Outcome(seconds=0.005, is_taken=False, retry_after_seconds=self.retry_after_seconds)
        return self.store.serve(now, under_way, chance)


@dataclass(slots=True)
class Run:
    """What became of it: when requests were taken, and the limit after each answer."""

    taken_at: list[float] = field(default_factory=list)
    limits: list[tuple[float, int]] = field(default_factory=list)
    refused: int = 0

    def rate(self, begin: float, end: float) -> float:
        return sum(begin <= at < end for at in self.taken_at) / (end - begin)

    def limit_at(self, moment: float) -> int:
        return [limit for at, limit in self.limits if at <= moment][-1]


@dataclass(slots=True)
class Supply:
    """Files come in batches, as they are minted; by default there are always enough.

    :ivar files: of one batch.
    :ivar seconds: from one to the next.
    """

    files: int = 1 << 40
    seconds: float = 1e9
    left: int = field(init=False, default=0)
    next_at: float = field(init=False, default=0.0)

    def fill(self, now: float) -> int:
        while now >= self.next_at:
            self.left += self.files
            self.next_at += self.seconds
        return self.left


def run(store: Store, pace: Pace, seconds: float, seed: int = 1, supply: Supply | None = None) -> Run:
    """Send as much as there is, and as the pace allows."""
    return _run(store, seconds, seed, lambda: pace.limit, pace, supply or Supply())


def best_rate(make: Callable[[], Store], jobs: int) -> float:
    """What any fixed number of requests gets out of such a store."""
    return max(_run(make(), 5, 7, partial(int, each), None, Supply()).rate(1, 5) for each in _up_to(jobs))


def _up_to(jobs: int) -> list[int]:
    return [each for each in (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 40, 48, 64) if each <= jobs]


def _run(store: Store, seconds: float, seed: int, limit: Callable[[], int], pace: Pace | None, supply: Supply) -> Run:
    chance, seen = random.Random(seed), Run()
    under_way: list[tuple[float, int, Outcome]] = []
    now, number = 0.0, 0
    while now < seconds:
        is_held = pace is not None and now < pace.held_until
        while not is_held and len(under_way) < limit() and supply.fill(now):
            supply.left -= 1
            outcome = store.serve(now, len(under_way) + 1, chance)
            heapq.heappush(under_way, (now + outcome.seconds, number, outcome))
            number += 1
        next_at = pace.held_until if is_held and pace is not None else supply.next_at
        if not under_way or (len(under_way) < limit() and next_at < under_way[0][0]):
            now = next_at
            continue
        now, _, outcome = heapq.heappop(under_way)
        if outcome.is_taken:
            seen.taken_at.append(now)
        else:
            seen.refused += 1
        if pace is not None:
            _tell(pace, outcome, now, is_full=supply.fill(now) > 0)
            seen.limits.append((now, pace.limit))
    return seen


def _tell(pace: Pace, outcome: Outcome, now: float, *, is_full: bool) -> None:
    if outcome.is_taken:
        pace.took(4096, now, is_full=is_full)
    else:
        pace.refused(outcome.retry_after_seconds, now, is_full=is_full)
