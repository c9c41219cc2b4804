"""What happened since the start, for tests to read at `GET /_emulator/counters`."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Counters:
    """Calls by route, refusals by `CODE STATUS`, faults by kind; tokens and signatures by service account."""

    requests: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    signatures: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        return {
            "requests": dict(self.requests),
            "refused": dict(self.refused),
            "faults": dict(self.faults),
            "tokens": dict(self.tokens),
            "signatures": dict(self.signatures),
        }
