"""What a sweep or a recovery saw and did, in objects and bytes: what people read, and programs by `--json`."""

from datetime import datetime

from msgspec import Struct, field


class Tally(Struct, kw_only=True):
    """So many objects, so many bytes."""

    objects: int = 0
    size_bytes: int = 0

    def add(self, size_bytes: int) -> None:
        self.objects += 1
        self.size_bytes += size_bytes


class Uploads(Struct, kw_only=True):
    """Unfinished multipart uploads. How many bytes they hold is in no listing."""

    live: int = 0
    over: int = 0  # their session waits for no parts any more
    unknown: int = 0
    foreign: int = 0
    aborted: int = 0
    oldest_unknown: datetime | None = None


class SweepReport(Struct, kw_only=True):
    """`listed` is everything under keys of our making; the standings beside it add up to it."""

    destination: str
    bucket: str
    prefix: str
    is_dry_run: bool
    started_at: datetime
    seconds: float = 0.0
    listed: Tally = field(default_factory=Tally)
    live: Tally = field(default_factory=Tally)
    removable: Tally = field(default_factory=Tally)
    kept: Tally = field(default_factory=Tally)
    late: Tally = field(default_factory=Tally)
    unknown: Tally = field(default_factory=Tally)
    forgotten: Tally = field(default_factory=Tally)
    foreign: Tally = field(default_factory=Tally)  # not listed as ours
    removed: Tally = field(default_factory=Tally)
    not_ours: Tally = field(default_factory=Tally)  # under a key of ours, but the broker never signed them
    adopted: Tally = field(default_factory=Tally)
    accepted: Tally = field(default_factory=Tally)  # late, and what was wanted
    failed: int = 0  # the store or the ledger did not answer; the next sweep finds them again
    uploads: Uploads = field(default_factory=Uploads)
    stopped: str | None = None
    is_partial: bool = False  # more is removable than one pass takes


class RecoverReport(Struct, kw_only=True):
    destination: str
    bucket: str
    prefix: str
    created_after: datetime
    started_at: datetime
    seconds: float = 0.0
    listed: Tally = field(default_factory=Tally)
    adopted: Tally = field(default_factory=Tally)
    known: Tally = field(default_factory=Tally)
    too_old: Tally = field(default_factory=Tally)
    not_ours: Tally = field(default_factory=Tally)
    foreign: Tally = field(default_factory=Tally)  # not listed as ours
    gone: Tally = field(default_factory=Tally)  # between listing and HEAD
    failed: int = 0  # the store or the ledger did not answer; run it again

    @property
    def rate(self) -> float:
        """Objects listed and dealt with, a second."""
        return self.listed.objects / self.seconds if self.seconds else 0.0
