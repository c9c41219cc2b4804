"""A tree's meter, read once: the numbers that every view shows, whatever it makes of them."""

from collections.abc import Callable
from dataclasses import dataclass

from uploader.transfer.meter import TreeMeter
from uploader.views.forecast import Forecast, Rate


@dataclass(frozen=True, slots=True)
class Share:
    """How much of a whole: verified, and sent or further (of which verified is a part)."""

    whole: int
    sent: int
    verified: int

    @classmethod
    def of(cls, whole: int, sent: int, verified: int) -> "Share":
        """Whatever a meter says while it changes, a share of more than everything is none."""
        whole = max(whole, verified, 0)
        return cls(whole=whole, sent=min(max(sent, verified), whole), verified=verified)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """
    :ivar is_looked_at: what counts is what was verified; else what was sent.
    :ivar behind_files: sent, and not verified yet.
    :ivar eta_seconds: None while nobody knows.
    :ivar is_least: it takes `eta_seconds` at the least.
    """

    meter: TreeMeter
    is_looked_at: bool
    seconds: float
    files: Share
    bytes: Share
    behind_files: int
    files_per_second: float
    bytes_per_second: float
    eta_seconds: float | None
    is_least: bool

    def done(self, share: Share) -> int:
        return share.verified if self.is_looked_at else share.sent


class Reader:
    """Reads the same meter again and again.

    :param clock: seconds, as `time.monotonic`.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._meter: TreeMeter | None = None
        self._is_looked_at = True
        self._lost_before = 0, 0
        self._forecast = Forecast()
        self._verified = Rate()

    def attend(self, meter: TreeMeter) -> None:
        """What failed in earlier runs is counted in it, but is not among what there is to do."""
        self._meter = meter
        self._lost_before = meter.failed_files, meter.failed_bytes
        self.read()

    def wait_for(self, wished: str) -> None:
        self._is_looked_at = wished != "none"

    def read(self) -> Reading | None:
        """None before there is a meter."""
        meter, now = self._meter, self._clock()
        if meter is None:
            return None
        left_files, left_bytes = self._left(meter)
        files = Share.of(meter.found_files, meter.found_files - left_files - _lost(meter), meter.verified_files)
        size = Share.of(meter.found_bytes, meter.found_bytes - left_bytes - meter.failed_bytes, meter.verified_bytes)
        behind = files.sent - files.verified if self._is_looked_at else 0
        self._forecast.observe(now, meter.sent_files, meter.moved_bytes)
        self._verified.observe(now, meter.verified_files)
        eta, is_least = self._end(now, left_files, left_bytes, behind)
        return Reading(
            meter=meter,
            is_looked_at=self._is_looked_at,
            seconds=now - meter.began_at,
            files=files,
            bytes=size,
            behind_files=behind,
            files_per_second=self._forecast.files.per_second,
            bytes_per_second=self._forecast.moved.per_second,
            eta_seconds=eta,
            is_least=is_least,
        )

    def _left(self, meter: TreeMeter) -> tuple[int, int]:
        """To be sent yet. What an earlier run has sent is among what there is to do until somebody has looked at it."""
        files, size_bytes = self._lost_before
        left_files = meter.todo_files - meter.sent_files - (_lost(meter) - files)
        under_way = sum(each.done_bytes for each in meter.large)
        left_bytes = meter.todo_bytes - meter.sent_bytes - under_way - (meter.failed_bytes - size_bytes)
        if meter.is_scanned:
            left_files = min(left_files, meter.found_files - meter.verified_files - _lost(meter))
            left_bytes = min(left_bytes, meter.found_bytes - meter.verified_bytes - meter.failed_bytes)
        return max(0, left_files), max(0, left_bytes)

    def _end(self, now: float, left_files: int, left_bytes: int, behind: int) -> tuple[float | None, bool]:
        meter = self._meter
        if meter is not None and (left_files or left_bytes or not meter.is_scanned):
            self._forecast.ask(now, left_files, left_bytes, is_all=meter.is_scanned)
            return self._forecast.seconds, self._forecast.is_least
        pace = self._verified.per_second
        return (behind / pace if pace else None) if behind else 0.0, False


def _lost(meter: TreeMeter) -> int:
    """Nobody waits for them."""
    return meter.failed_files + meter.vanished_files
