"""What happened since the start, for tests to read at `GET /_emulator/counters`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counters:
    """Requests by operation, refusals by code, events by fate, faults by name, object bytes both ways."""

    bytes_in: int = 0
    bytes_out: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "requests": dict(self.requests),
            "refused": dict(self.refused),
            "events": dict.fromkeys(("created", "sent", "lost", "doubled", "reordered", "failed", "given_up"), 0)
            | dict(self.events),
            "faults": dict(self.faults),
        }
