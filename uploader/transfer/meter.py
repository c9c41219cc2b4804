"""How far an upload of trees is: plain integers that the engine raises and a view reads whenever it likes.

Everything happens on the event loop or under the interpreter lock, and a number that is one step old harms nobody, so
there is no lock and no event for a file.
"""

import time
from dataclasses import dataclass, field

from uploader.events import Meter


@dataclass(slots=True, kw_only=True)
class TreeMeter:
    """One run over one manifest.

    :ivar found_files: regular files that the scan of this run has met so far.
    :ivar is_scanned: the scan came to its end, so `found_*` and `todo_*` are all there is.
    :ivar unchanged_files: of those found, the ones that an earlier run knew as they are.
    :ivar todo_files: what this run is to send, sent already or not. A file that turns out not to be sent (failed,
        vanished, skipped) stays counted here.
    :ivar sent_files: the store has taken them in this run; each once.
    :ivar resent_bytes: what had to be sent more than once in this run, beyond `sent_bytes`.
    :ivar verified_files: of all runs, so that a percentage of the whole is honest.
    :ivar failed_bytes: of the files that failed or turned out to have vanished: they are not waited for any more.
    :ivar skipped_files: entries that are not sent, by whatever reason.
    :ivar vanished_files: found in this run, but not there any more when their turn came.
    :ivar concurrency: requests to the store under way.
    :ivar limit: how many there may be at the moment.
    :ivar large: one meter for each large file under way, named as `words.shown` shows it.
    :ivar began_at: by `time.monotonic`.
    """

    found_files: int = 0
    found_bytes: int = 0
    is_scanned: bool = False
    unchanged_files: int = 0
    todo_files: int = 0
    todo_bytes: int = 0
    sent_files: int = 0
    sent_bytes: int = 0
    resent_bytes: int = 0
    verified_files: int = 0
    verified_bytes: int = 0
    failed_files: int = 0
    failed_bytes: int = 0
    skipped_files: int = 0
    vanished_files: int = 0
    concurrency: int = 0
    limit: int = 0
    large: list[Meter] = field(default_factory=list)
    began_at: float = field(default_factory=time.monotonic)

    @property
    def moved_bytes(self) -> int:
        """Everything that left in this run, also of files that are on their way."""
        return self.sent_bytes + self.resent_bytes + sum(meter.done_bytes for meter in self.large)
