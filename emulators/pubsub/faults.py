"""What can go wrong with messages and calls."""

from emulators.faults import Fraction, Seconds, SeededSettings


class FaultSettings(SeededSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All harmless unless said otherwise."""

    events_lost: Fraction = 0
    """of the published messages reach no subscription"""
    events_doubled: Fraction = 0
    """of the published messages come twice, with the same id, as at-least-once delivery may"""
    events_reordered: Fraction = 0
    """of the published messages wait a random time up to `reorder_seconds`, so that later ones overtake them"""
    reorder_seconds: Seconds = 1.0
    late_seconds: Seconds = 0
    """every message waits so long before it is first delivered"""
    unavailable: Fraction = 0
    """of the calls are answered 503 UNAVAILABLE, and do nothing"""
    response_lost: Fraction = 0
    """of the calls are done, then the connection closes unanswered: what was pulled is lent to nobody"""
