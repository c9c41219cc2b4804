"""A tree's meter, read once: the numbers that every view shows, whatever it makes of them."""

from dataclasses import dataclass, field

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
    :ivar lost_files: failed, or not there any more: nobody waits for them.
    :ivar behind_files: sent, and not verified yet.
    :ivar eta_seconds: None while nobody knows.
    :ivar is_least: it takes `eta_seconds` at the least.
    """

    meter: TreeMeter
    seconds: float
    files: Share
    bytes: Share
    lost_files: int
    behind_files: int
    files_per_second: float
    bytes_per_second: float
    eta_seconds: float | None
    is_least: bool


@dataclass(slots=True)
class Reader:
    """Reads the same meter again and again.

    :ivar is_looked_at: the run waits until files are verified, and not only until they are sent.
    """

    meter: TreeMeter
    is_looked_at: bool = True
    _forecast: Forecast = field(default_factory=Forecast)
    _verified: Rate = field(default_factory=Rate)

    def read(self, now: float) -> Reading:
        meter = self.meter
        lost_files = meter.failed_files + meter.vanished_files
        large_bytes = sum(each.done_bytes for each in meter.large)
        left_files = max(0, meter.todo_files - meter.sent_files - lost_files)
        left_bytes = max(0, meter.todo_bytes - meter.sent_bytes - large_bytes - meter.failed_bytes)
        files = Share.of(meter.found_files, meter.found_files - left_files - lost_files, meter.verified_files)
        size = Share.of(meter.found_bytes, meter.found_bytes - left_bytes - meter.failed_bytes, meter.verified_bytes)
        self._forecast.observe(now, meter.sent_files, meter.moved_bytes)
        self._verified.observe(now, meter.verified_files)
        behind = files.sent - files.verified if self.is_looked_at else 0
        eta, is_least = self._end(now, left_files, left_bytes, behind)
        return Reading(
            meter=meter,
            seconds=now - meter.began_at,
            files=files,
            bytes=size,
            lost_files=lost_files,
            behind_files=behind,
            files_per_second=self._forecast.files.per_second,
            bytes_per_second=self._forecast.moved.per_second,
            eta_seconds=eta,
            is_least=is_least,
        )

    def _end(self, now: float, left_files: int, left_bytes: int, behind: int) -> tuple[float | None, bool]:
        is_all = self.meter.is_scanned
        if left_files or left_bytes or not is_all:
            self._forecast.ask(now, left_files, left_bytes, is_all=is_all)
            return self._forecast.seconds, self._forecast.is_least
        pace = self._verified.per_second
        return (behind / pace if pace else None) if behind else 0.0, False
