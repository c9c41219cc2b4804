"""A tree restored: named by one, fetched by a few at a time, each file by the same download as a single one.

    (batch | manifest) ─▶ claim its path ─▶ queue ─▶ down into its directory ─▶ is it there? ─▶ download

Nothing is remembered between two runs but the files themselves: what is there with the size and the modification time
of the object, or with its digest, is passed over, and a part is continued.
"""

import errno
import os
import stat
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import ClassVar, ParamSpec, TypeVar

from uploader import events
from uploader.download import Download, DownloadResult, NotNeeded
from uploader.errors import BrokerRefused, FileUnusable, Unreachable, UploaderError
from uploader.getting import Getting
from uploader.landing import Landing
from uploader.restore.claims import Claim, Claims
from uploader.restore.events import FileNotSaved, FileSkipped
from uploader.restore.folder import Folder
from uploader.restore.result import Failure, Tally, TreeDownload
from uploader.restore.there import Unlike, arrive, has_digest, is_of, unless_there
from uploader.restore.wanted import Files, Wanted
from uploader.source import SMALL_FILE_BYTES
from uploader.threads import ends_by_itself, in_thread, opened
from uploader.together import few_at_a_time
from uploader.tree.words import shown

P = ParamSpec("P")
T = TypeVar("T")

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class NameTaken(FileUnusable):
    """Another file has this path."""

    code: ClassVar[str] = "name-taken"


@dataclass(slots=True, kw_only=True)
class Restore:
    """One run.

    :ivar jobs: files at a time.
    :ivar replaces: what is there is fetched again, whatever it is.
    """

    files: Files
    directory: Path
    getting: Getting
    jobs: int
    replaces: bool = False
    restores: bool = True
    tally: Tally = field(init=False, default_factory=Tally)
    meter: events.Meter = field(init=False)

    def __post_init__(self) -> None:
        self.meter = events.Meter(shown(os.fsencode(self.directory)), 0, "reading")

    async def run(self) -> TreeDownload:
        """Do it, as far as it goes; what stops it is in the result.

        :raises FileUnusable: the directory cannot be made or written.
        """
        began = time.monotonic()
        self.getting.observer.on_meter(self.meter)
        folder = await opened(self.getting.executor, Folder.open, self.directory)
        stopped = None
        try:
            with Claims.open(folds=await self._in_thread(folder.folds)) as claims:
                await few_at_a_time(partial(self._fetch, folder), self._named(claims), self.jobs)
        except UploaderError as exc:
            stopped = exc
        finally:
            folder.close()
        return self._result(timedelta(seconds=round(time.monotonic() - began, 3)), stopped)

    async def _named(self, claims: Claims) -> AsyncGenerator[Wanted, None]:
        async for wanted in self.files.wanted(self.tally.absent):
            match claims.claim(wanted.path, wanted.owner, is_versioned=wanted.is_versioned):
                case Claim.OURS:
                    self.meter.total_bytes += wanted.verified.size_bytes
                    yield wanted
                case Claim.OLDER:
                    self.tally.older_files += 1
                case Claim.TAKEN:
                    self._fail(wanted, NameTaken(f"{shown(wanted.path)}: another file of these has this path"))

    async def _fetch(self, folder: Folder, wanted: Wanted) -> None:
        saved = self.tally.saved_files
        try:
            await self._one(wanted, folder)
        except UploaderError as exc:
            if _ends_all(exc, got_on=self.tally.saved_files > saved):
                raise
            self._fail(wanted, exc)

    async def _one(self, wanted: Wanted, folder: Folder) -> None:
        place = await opened(self.getting.executor, arrive, folder, wanted)
        landing, seen = place.landing, place.seen
        try:
            if seen is not None and stat.S_ISDIR(seen.st_mode):
                raise landing.taken()
            if seen is not None and not self.replaces and await self._is_there(wanted, landing, seen):
                self._skip(wanted, landing)
                return
            with self.meter.lane(wanted.verified.size_bytes) as lane:
                lane.file = shown(wanted.path)
                download = self._download(wanted, landing, lane)
                if seen is not None and not self.replaces:
                    download.is_needed = unless_there(seen)
                self._saved(wanted, await download.run())
        except NotNeeded:
            self._skip(wanted, landing)
        except Unlike:
            if not await self._in_thread(has_digest, wanted, landing):
                raise landing.taken() from None
            self._skip(wanted, landing)
        finally:
            landing.close()

    async def _is_there(self, wanted: Wanted, landing: Landing, seen: os.stat_result) -> bool:
        """Whether it is there for sure. False: only its object can tell.

        :raises FileUnusable: something else is there.
        """
        if not stat.S_ISREG(seen.st_mode) or seen.st_size != wanted.verified.size_bytes:
            raise landing.taken()
        if wanted.attributes is None and seen.st_size > SMALL_FILE_BYTES:
            return False  # its modification time may spare us to read it
        if wanted.attributes is not None and is_of(wanted.attributes, seen):
            return True
        if await self._in_thread(has_digest, wanted, landing):
            return True
        if wanted.attributes is not None:
            raise landing.taken()
        return False

    def _download(self, wanted: Wanted, landing: Landing, meter: events.Meter) -> Download:
        return self.getting.download(wanted.verified, landing, meter, replaces=self.replaces, restores=self.restores)

    # --- telling ---

    def _saved(self, wanted: Wanted, result: DownloadResult) -> None:
        self.tally.saved_files += 1
        self.tally.saved_bytes += result.size_bytes
        self.getting.observer.on_event(
            events.Downloaded(
                file=shown(wanted.path),
                session_id=result.session_id,
                path=shown(os.fsencode(result.path)),
                size_bytes=result.size_bytes,
                proved=result.proved,
                attempts=result.attempts,
            )
        )

    def _skip(self, wanted: Wanted, landing: Landing) -> None:
        landing.discard_part(wanted.verified.session_id)
        self.tally.skipped_files += 1
        self.meter.total_bytes -= wanted.verified.size_bytes
        self.getting.observer.on_event(
            FileSkipped(
                file=shown(wanted.path),
                session_id=wanted.verified.session_id,
                size_bytes=wanted.verified.size_bytes,
            )
        )

    def _fail(self, wanted: Wanted, error: UploaderError) -> None:
        self.tally.fail(Failure(path=wanted.path, session_id=wanted.verified.session_id, error=error))
        self.getting.observer.on_event(
            FileNotSaved(
                file=shown(wanted.path),
                session_id=wanted.verified.session_id,
                code=error.code,
                message=error.message,
            )
        )

    def _result(self, elapsed: timedelta, stopped: UploaderError | None) -> TreeDownload:
        return TreeDownload(
            directory=self.directory,
            saved_files=self.tally.saved_files,
            saved_bytes=self.tally.saved_bytes,
            skipped_files=self.tally.skipped_files,
            older_files=self.tally.older_files,
            failed_files=self.tally.failed_files,
            failures=tuple(self.tally.failures),
            absent=dict(self.tally.absent),
            elapsed=elapsed,
            stopped=stopped,
        )

    async def _in_thread(self, job: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await in_thread(self.getting.executor, ends_by_itself, job, *args, **kwargs)


def _ends_all(exc: UploaderError, *, got_on: bool) -> bool:
    """Whether no other file would fare better.

    :param got_on: another one was saved meanwhile.
    """
    if isinstance(exc, BrokerRefused):
        return exc.problem.status in {401, 403}
    if isinstance(exc, Unreachable):
        return not got_on
    return isinstance(exc.__cause__, OSError) and exc.__cause__.errno in _FULL
