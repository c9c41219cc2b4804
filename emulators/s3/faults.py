"""What can be made to go wrong here; `emulators/faults.py` decides when, `emulators/control.py` listens to tests."""

from emulators.faults import BodyFaults, BodyFaultSettings, Fraction, Seconds


class FaultSettings(BodyFaultSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All harmless unless said otherwise."""

    events_lost: Fraction = 0
    """of the events are never sent"""
    events_doubled: Fraction = 0
    """of the events are sent twice"""
    events_reordered: Fraction = 0
    """of the events wait a random time up to `reorder_seconds`, so that later ones overtake them"""
    reorder_seconds: Seconds = 1.0
    late_seconds: Seconds = 0
    """every event waits so long before its first attempt"""
    response_lost: Fraction = 0
    """of the writes (put, copy, part, complete, delete) are committed, then the connection closes unanswered"""
    slow_down: Fraction = 0
    """of the requests are answered 503 SlowDown"""
    conflict: Fraction = 0
    """of the create-only writes that would succeed are answered 409 ConditionalRequestConflict; nothing is stored"""
    complete_error: Fraction = 0
    """of the CompleteMultipartUpload calls answer 200 with an Error in the body, and complete nothing"""


Faults = BodyFaults[FaultSettings]
