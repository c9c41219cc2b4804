"""One meter of many processes: whoever looks on sees one upload."""

from uploader.events import Meter
from uploader.transfer.meter import TreeMeter
from uploader.transfer.parallel_wire import Gauge, LargeFile

_COUNTED = (
    *("sent_files", "sent_bytes", "resent_bytes"),
    *("verified_files", "verified_bytes", "failed_files", "failed_bytes", "vanished_files"),
    *("concurrency", "limit"),
)
_PASSING = ("concurrency", "limit")


class Share:
    """What one sender process adds to the meter of all."""

    def __init__(self, meter: TreeMeter) -> None:
        self._meter = meter
        self._counted = dict.fromkeys(_COUNTED, 0)
        self._large: dict[str, Meter] = {}

    def add(self, gauge: Gauge) -> None:
        for name in _COUNTED:
            self._set(name, getattr(gauge, name))
        named = {each.name: each for each in gauge.large}
        for name in self._large.keys() - named.keys():
            self._meter.large.remove(self._large.pop(name))
        for name, each in named.items():
            self._show(name, each)

    def end(self) -> None:
        """What it has done stays; what was under way is not any more."""
        for name in _PASSING:
            self._set(name, 0)
        for meter in self._large.values():
            self._meter.large.remove(meter)
        self._large.clear()

    def _set(self, name: str, value: int) -> None:
        setattr(self._meter, name, getattr(self._meter, name) + value - self._counted[name])
        self._counted[name] = value

    def _show(self, name: str, each: LargeFile) -> None:
        meter = self._large.get(name)
        if meter is None:
            meter = self._large[name] = Meter(name, each.total_bytes, each.phase, each.label)
            self._meter.large.append(meter)
        meter.total_bytes, meter.phase, meter.state = each.total_bytes, each.phase, each.state
        meter.done_bytes = each.done_bytes


def gauge_of(meter: TreeMeter, sent_ago: float | None) -> Gauge:
    """In a sender: how far it is."""
    large = [
        LargeFile(
            name=each.file,
            label=each.label,
            phase=each.phase,
            state=each.state,
            total_bytes=each.total_bytes,
            done_bytes=each.done_bytes,
        )
        for each in [*meter.large]
    ]
    return Gauge(sent_ago=sent_ago, large=large, **{name: getattr(meter, name) for name in _COUNTED})
