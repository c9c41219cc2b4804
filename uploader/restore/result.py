"""What came of restoring a tree."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from uploader.errors import EXIT_FAILED, EXIT_OK, UploaderError

MANY = 20  # ours: failures that are shown; all of them are counted, and told as events


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    path: bytes
    session_id: str
    error: UploaderError


@dataclass(slots=True, kw_only=True)
class Tally:
    """Counted along the way.

    :ivar absent: files of which there is nothing to read, by state.
    """

    saved_files: int = 0
    saved_bytes: int = 0
    skipped_files: int = 0
    older_files: int = 0
    failed_files: int = 0
    absent: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def fail(self, failure: Failure) -> None:
        self.failed_files += 1
        if len(self.failures) < MANY:
            self.failures.append(failure)


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeDownload:
    """A tree that was restored, as far as it was.

    :ivar skipped_files: were there already.
    :ivar older_files: sessions of a file that was uploaded again since; the newest is what is restored.
    :ivar failures: the first of `failed_files`.
    :ivar absent: files of which there is nothing to read, by state.
    :ivar stopped: why the run ended before it was through. The same call goes on.
    """

    directory: Path
    saved_files: int
    saved_bytes: int
    skipped_files: int
    older_files: int
    failed_files: int
    failures: tuple[Failure, ...]
    absent: dict[str, int]
    elapsed: timedelta
    stopped: UploaderError | None = None

    @property
    def is_empty(self) -> bool:
        """There was nothing to restore."""
        return not (self.saved_files or self.skipped_files or self.failed_files or self.absent)

    @property
    def exit_code(self) -> int:
        if self.stopped is not None:
            return self.stopped.exit_code
        return EXIT_FAILED if self.failed_files or self.is_empty else EXIT_OK
