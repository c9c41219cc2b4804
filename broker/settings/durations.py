"""Durations and moments, as an operator writes them."""

import re
from datetime import UTC, datetime, timedelta

from broker.domain.errors import ConfigurationInvalid

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3_600, "d": 86_400}
LONGEST = timedelta(days=3_650)  # ours: ten years, far from the end of the calendar


def parse_duration(text: str, place: str) -> timedelta:
    """:param place: what is named when it is none.
    :raises ConfigurationInvalid:
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ConfigurationInvalid(f'{place}: a duration is written "90s", "15m", "24h" or "30d"')
    seconds = float(match[1]) * _SECONDS[match[2]]
    if seconds > LONGEST.total_seconds():
        raise ConfigurationInvalid(f"{place}: at most {LONGEST.days}d")
    return timedelta(seconds=seconds)


def parse_moment(text: str, place: str) -> datetime:
    """ISO 8601 with its offset: whose clock a bare one means, nobody could say.

    :raises ConfigurationInvalid:
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise ConfigurationInvalid(f'{place}: a moment is written with its offset, "2026-11-20T12:00Z"')
    return moment.astimezone(UTC)


def spoken(duration: timedelta) -> str:
    """As it would be written in the file."""
    unit = next(unit for unit in ("d", "h", "m", "s", "ms") if duration >= timedelta(seconds=_SECONDS[unit]))
    return f"{duration / timedelta(seconds=_SECONDS[unit]):g}{unit}"
