"""What is ordered of an upload of trees, and what comes of it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal, Self

from uploader.attributes import check_own
from uploader.checksums import Choice
from uploader.errors import EXIT_COPY_MISSING, EXIT_FAILED, EXIT_OK, EXIT_UNREACHABLE, UploaderError
from uploader.orders import Strategy, Wait
from uploader.tree import rows
from uploader.tree.filters import ALL, Filters

Mode = Literal["concurrent", "parallel"]

MAX_TREE_JOBS = 1_024  # ours: sockets; a shell's usual limit of open files is 1,024 as well
MIN_MEMORY_BYTES = 4 << 20  # ours: room for a few bodies of the largest small file
SHOWN_FAILURES = 20
MAX_PROCESSES = 64  # ours: beyond it the one that writes the manifest is what is waited for


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeOrder:
    """What is declared of each file, and how all of them are sent.

    :ivar destinations: none means `default`; several make a copy in each of them.
    :ivar content_type: of every file; by default each is guessed by its name.
    :ivar checksum: declared before sending. `auto`: the sha256 of what is read into memory anyway.
    :ivar timeout: for the wished state, counted from a file's last byte.
    :ivar jobs: the most requests to the store under way.
    :ivar memory_bytes: for the bodies of small files that are read ahead.
    :ivar sequence: smallest first by default.
    :ivar mode: `parallel`: several processes send, at most `processes`; 0 means as many as there are cores.
    """

    destinations: tuple[str, ...] = ()
    batch: str | None = None
    owner: str | None = None
    content_type: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)
    object_metadata: Mapping[str, str] = field(default_factory=dict)
    checksum: Choice = "auto"
    strategy: Strategy = "auto"
    wait: Wait = "verified"
    timeout: timedelta = timedelta(minutes=10)
    jobs: int = 64
    memory_bytes: int = 48 << 20
    sequence: rows.Order = "size"
    mode: Mode = "concurrent"
    processes: int = 0
    filters: Filters = ALL
    follows_symlinks: bool = False

    def __post_init__(self) -> None:
        """:raises ValueError: it cannot be meant so."""
        check_own(self.metadata, self.object_metadata)
        if not 1 <= self.jobs <= MAX_TREE_JOBS:
            raise ValueError(f"jobs is 1 to {MAX_TREE_JOBS}")
        if self.memory_bytes < MIN_MEMORY_BYTES:
            raise ValueError(f"memory is at least {MIN_MEMORY_BYTES} bytes")
        if len(set(self.destinations)) != len(self.destinations):
            raise ValueError("a destination is named twice")
        if not 0 <= self.processes <= MAX_PROCESSES:
            raise ValueError(f"processes is 1 to {MAX_PROCESSES}, or 0: as many as there are cores")

    @property
    def places(self) -> int:
        """How many processes send in parallel: none that would have no request to send, or no memory."""
        wished = self.processes or _cores()
        return max(1, min(wished, MAX_PROCESSES, self.jobs, self.memory_bytes // MIN_MEMORY_BYTES))

    @property
    def divided(self) -> Self:
        """For each of those processes. What is to be scanned is not for them."""
        places = self.places
        return replace(self, jobs=self.jobs // places, memory_bytes=self.memory_bytes // places, filters=ALL)


def _cores() -> int:
    """Those that this process may use, where the system says so."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeResult:
    """How one run ended.

    :ivar unchanged_files: of an earlier run, and not touched by this one.
    :ivar sent_files: in this run, each once.
    :ivar resent_bytes: what had to be sent more than once, beyond `sent_bytes`.
    :ivar verified_files: of all runs, as are all that follow.
    :ivar unsettled_files: sent, but nobody has looked yet, or a consumer is not done yet.
    :ivar pending_files: not sent.
    :ivar unread_files: of those skipped, what could not be read; of a directory nobody knows what is below it.
    :ivar missing_copies: of the unsettled ones: files that have as many copies as they need, but not all.
    :ivar elapsed: the whole run. `sending`: from its begin to the store's last answer.
    :ivar failures: the first of them, by path; the manifest has all.
    :ivar error: what ended the run before its end.
    """

    manifest: Path
    unchanged_files: int
    sent_files: int
    sent_bytes: int
    resent_bytes: int
    verified_files: int
    verified_bytes: int
    unsettled_files: int
    pending_files: int
    failed_files: int
    skipped_files: int
    unread_files: int
    vanished_files: int
    missing_copies: int
    elapsed: timedelta
    sending: timedelta
    wait: Wait
    failures: tuple[rows.Row, ...] = ()
    error: UploaderError | None = None

    @property
    def is_finished(self) -> bool:
        """Nothing is left to do, well or badly."""
        is_open = self.pending_files or (self.unsettled_files > self.missing_copies and self.wait != "none")
        return self.error is None and not is_open

    @property
    def exit_code(self) -> int:
        if self.error is not None:
            return self.error.exit_code
        if self.failed_files or self.unread_files:
            return EXIT_FAILED
        if not self.is_finished:
            return EXIT_UNREACHABLE
        return EXIT_COPY_MISSING if self.missing_copies else EXIT_OK
