"""What becomes of a file in a manifest, as data.

    pending ─▶ claimed ─▶ minted ─▶ sent ─▶ verified
       ▲          │          └───────┴────▶ failed ─▶ (retry) pending
       └──────────┘ released, or its process died

The scan puts what is new or has changed at `pending`, whatever it was; `skipped` and `vanished` are the scan's alone.
"""

from enum import StrEnum


class FileState(StrEnum):
    PENDING = "pending"
    """to be sent"""
    CLAIMED = "claimed"
    """in the hands of the process that has the manifest's lock"""
    MINTED = "minted"
    """there is a session; perhaps some of the bytes are there"""
    SENT = "sent"
    """the store has taken all bytes; nobody has looked yet"""
    VERIFIED = "verified"
    FAILED = "failed"
    """until `retry`"""
    SKIPPED = "skipped"
    """not to be sent, for the reason in `error_code`"""
    VANISHED = "vanished"
    """it was there once, before anything was sent of it"""


RESTING = frozenset({FileState.PENDING, FileState.FAILED, FileState.SKIPPED, FileState.VANISHED})
"""No session is alive: here the scan has the say."""

UNSETTLED = frozenset({FileState.CLAIMED, FileState.MINTED, FileState.SENT})
"""Somebody is at work on it, or was when its process ended."""

BEFORE: dict[FileState, frozenset[FileState]] = {
    FileState.PENDING: UNSETTLED,
    FileState.CLAIMED: frozenset({FileState.PENDING}),
    FileState.MINTED: frozenset({FileState.CLAIMED, FileState.MINTED, FileState.SENT}),
    FileState.SENT: frozenset({FileState.MINTED}),
    FileState.VERIFIED: frozenset({FileState.MINTED, FileState.SENT}),
    FileState.FAILED: UNSETTLED,
}
"""Where a step of the sender may begin. Any other is refused, because the scan has seen a change meanwhile."""
