"""How many requests to the store there should be at a time: more while that pays, fewer when the store says so.

What gets done is judged, window by window: bytes, and an allowance for each request. Latency needs no rule of its own:
at a given number of requests under way it is that number divided by what gets done (Little's law), and taken so it does
not mistake larger files for a slower store. Pure: no clock, no loop.

    DOUBLING → RESTING ⇄ UP | DOWN      anywhere: a storm of refusals → half of it, DOUBLING up to where it began
"""

from enum import Enum, auto

from uploader.transfer.window import Window

FIRST_LIMIT = 32  # ours: s5cmd begins with 256, and a Ceph on two cores does a tenth more with 32 than with 8
WINDOW_SECONDS = 0.5  # ours: shorter ones measure noise
FIRST_WINDOW_SECONDS = 0.2  # ours: what twice as many requests bring is seen through noise

DOUBLING_PAYS = 1.05  # ours: twice the requests for less than this are a crowd
STEP_PAYS = 1.03
STEP_COSTS_NOTHING = 0.99
LONG_STEPS_AFTER = 2  # ours: steps in the same direction, each of which paid
RESTED_WINDOWS = 4  # ours: between two probes; each of them may cost something
FADING = 0.99  # a window: what once was the best is no measure for ever

STORM_SHARE = 0.05  # ours: of refusals, above twice as many as are usual
STORM_REFUSALS = 2  # ours: so few are chance
STORM_STREAK = 4  # ours: refusals one after the other
HIGHEST_USUAL_SHARE = 0.1  # ours: nobody gets used to more


class Phase(Enum):
    DOUBLING = auto()
    RESTING = auto()
    UP = auto()
    DOWN = auto()


class Pace:
    """A controller of concurrency.

    :ivar limit: the most requests that should be under way, 1 to `jobs`.
    :ivar held_until: nobody begins before, on the caller's clock.
    """

    def __init__(self, jobs: int, now: float) -> None:
        self.limit = min(FIRST_LIMIT, jobs)
        self.held_until = now
        self._jobs = self._ceiling = jobs
        self._window = Window(now)
        self._phase = Phase.DOUBLING
        self._base = self.limit
        self._base_rate = self._best_rate = 0.0
        self._rest = self._paid = 0
        self._is_next_up = True
        self._usual_share = self._storm_share = 0.0

    def took(self, size_bytes: int, now: float, *, is_full: bool) -> None:
        """The store has taken a request of that size.

        :param is_full: there was more to send than the limit allows.
        """
        self._window.took(size_bytes, now, is_full=is_full)
        self._turn(now)

    def refused(self, retry_after_seconds: float, now: float, *, is_full: bool) -> None:
        """The store is too busy (429, 503), or does not answer."""
        self._window.refused(retry_after_seconds, now, is_full=is_full)
        if self._storm_share:
            self.held_until = max(self.held_until, now + retry_after_seconds)
        if self._window.refusals and self._window.streak >= STORM_STREAK:
            self._storm(1.0, self._window.retry_after_seconds, now)
        else:
            self._turn(now)

    def _turn(self, now: float) -> None:
        shortest = FIRST_WINDOW_SECONDS if self._phase is Phase.DOUBLING else WINDOW_SECONDS
        hold = self._window.retry_after_seconds
        seen = self._window.seen(now, shortest, self.limit)
        if seen is None:
            return
        if seen.refusals > STORM_REFUSALS + seen.answers * (STORM_SHARE + 2 * self._usual_share):
            self._storm(seen.refused_share, hold, now)
            return
        self._storm_share = 0.0
        self._usual_share += (min(seen.refused_share, HIGHEST_USUAL_SHARE) - self._usual_share) / 4
        if seen.rate is not None:
            self._best_rate = max(seen.rate, self._best_rate * FADING)
            limit = self.limit
            self._judge(seen.rate)
            self._window.begin(now, unseen=0 if limit == self.limit else limit)

    def _storm(self, share: float, hold_seconds: float, now: float) -> None:
        """Half of it, and everybody waits for as long as the store says."""
        if not self._storm_share:
            self._ceiling = max(1, self.limit * 3 // 4)
        elif share > 0.7 * self._storm_share:  # half the requests are refused as often: it is not their number
            self._usual_share = min(share, HIGHEST_USUAL_SHARE)
            self._ceiling = self._jobs
        self._storm_share = share
        self.held_until = max(self.held_until, now + hold_seconds)
        self._window.begin(now, unseen=self.limit)
        self._phase = Phase.DOUBLING
        self._base_rate = self._best_rate = 0.0
        self.limit = self._base = max(1, self.limit // 2)

    def _judge(self, rate: float) -> None:
        match self._phase:
            case Phase.DOUBLING:
                self._double(rate)
            case Phase.RESTING:
                self._base_rate += (rate - self._base_rate) / 2
                self._rest -= 1
                if self._rest <= 0 or rate < 0.8 * self._best_rate:
                    self._probe()
            case Phase.UP:
                self._settle(rate, STEP_PAYS * self._base_rate)
            case Phase.DOWN:
                self._settle(rate, STEP_COSTS_NOTHING * max(self._base_rate, STEP_COSTS_NOTHING * self._best_rate))

    def _double(self, rate: float) -> None:
        if rate < DOUBLING_PAYS * self._base_rate:
            self._is_next_up = False  # fewer may do as well
            self._back()
            return
        self._base, self._base_rate = self.limit, rate
        if self.limit >= self._ceiling:
            self._back()
        else:
            self.limit = min(2 * self.limit, self._ceiling)

    def _probe(self) -> None:
        """A quarter more or less; half of it once that has paid several times."""
        step = max(1, self._base // (4 if self._paid < LONG_STEPS_AFTER else 2))
        self._phase = Phase.UP if self._is_next_up else Phase.DOWN
        target = min(self._jobs, self._base + step) if self._is_next_up else max(1, self._base - step)
        self._is_next_up = not self._is_next_up
        if target == self._base:
            self._back()
        else:
            self.limit = target

    def _settle(self, rate: float, enough: float) -> None:
        """Stay where the probe is, and try the same once more; or go back."""
        if rate <= enough:
            self._back()
            return
        self._is_next_up = self._phase is Phase.UP
        self._paid += 1
        self._base, self._base_rate = self.limit, rate
        self._probe()

    def _back(self) -> None:
        self._phase = Phase.RESTING
        self._rest = RESTED_WINDOWS
        self._paid = 0
        self.limit = self._base
