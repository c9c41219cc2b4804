"""What it takes to hear that the bucket told."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from broker.domain.capsule import CapsuleSealer
from broker.ports import Sessions


@dataclass(frozen=True, slots=True, kw_only=True)
class EventProbe:
    """What it takes to try. `hinder` says why nothing can be heard at all, if that is known; empty otherwise."""

    sessions: Sessions
    shards: int
    sealer: CapsuleSealer
    sources: tuple[str, ...]
    timeout: timedelta
    hinder: Callable[[], Awaitable[str]]
