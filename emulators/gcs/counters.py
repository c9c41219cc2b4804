"""What happened since the start, for tests to read at `GET /_emulator/counters`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counters:
    """Requests by route, refusals by code, events by fate, faults by name, object bytes both ways.

    `received` is bytes of bodies by `BUCKET/NAME`, sent again or not, kept or not.
    """

    bytes_in: int = 0
    bytes_out: int = 0
    received: Counter[str] = field(default_factory=Counter)
    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def arrived(self, bucket: str, name: str, size_bytes: int) -> None:
        self.bytes_in += size_bytes
        self.received[f"{bucket}/{name}"] += size_bytes

    def as_json(self) -> dict[str, Any]:
        return {
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "received": dict(self.received),
            "requests": dict(self.requests),
            "refused": dict(self.refused),
            "events": dict.fromkeys(("created", "sent", "lost", "doubled", "reordered", "failed", "given_up"), 0)
            | dict(self.events),
            "faults": dict(self.faults),
        }
