"""What `uploader rm` does: it counts, then it asks, then it removes, and says of each session what became of it."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

import click
from msgspec import Struct, json

from broker.contract import State, UploadSession
from uploader import errors
from uploader.commands.ls import name_of
from uploader.remarks import size_text
from uploader.removal import NOTHING_THERE, Removed
from uploader.sdk import Uploader
from uploader.together import few_at_a_time

EXPECTED = {State.PENDING: Removed.ABORTED} | dict.fromkeys(NOTHING_THERE, Removed.NOTHING)

DONE = {
    Removed.ABORTED: "aborted",
    Removed.ERASED: "erased",
    Removed.ERASING: "being erased",
    Removed.NOTHING: "no object",
}
TO_DO = DONE | {Removed.ABORTED: "to abort", Removed.ERASED: "to erase"}


def expected_of(session: UploadSession) -> Removed:
    return Removed.NOTHING if session.erased_at else EXPECTED.get(session.state, Removed.ERASED)


class Line(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One session, for scripts. `removed` says what was done, or would be; `code` why it was not."""

    id: str
    name: str
    removed: Removed | None = None
    is_dry_run: bool = False
    code: str | None = None
    message: str | None = None


@dataclass(slots=True)
class Plan:
    """What would be done.

    :ivar newest: what is minted after it was asked for is not meant.
    """

    abort: int = 0
    erase: int = 0
    erase_bytes: int = 0
    nothing: int = 0
    newest: datetime | None = None

    def add(self, session: UploadSession) -> None:
        expected = expected_of(session)
        self.abort += expected is Removed.ABORTED
        self.nothing += expected is Removed.NOTHING
        if expected is Removed.ERASED:
            self.erase += 1
            self.erase_bytes += session.size_bytes
        if self.newest is None or session.created_at > self.newest:
            self.newest = session.created_at

    @property
    def is_something(self) -> bool:
        return bool(self.abort or self.erase)

    def __str__(self) -> str:
        return (
            f"{self.abort:,} pending to abort, {self.erase:,} settled to erase ({size_text(self.erase_bytes)}), "
            f"{self.nothing:,} without an object"
        )


@dataclass(slots=True, kw_only=True)
class Removal:
    """One run over the sessions that were named, or those of a batch."""

    batch: str | None
    owner: str | None
    is_json: bool
    named: list[UploadSession] = field(default_factory=list)
    codes: set[int] = field(default_factory=set)
    failures: int = 0
    done: dict[Removed, int] = field(default_factory=lambda: dict.fromkeys(Removed, 0))

    async def find(self, uploader: Uploader, session_ids: Sequence[str]) -> None:
        """These, as they stand; the broker is asked once."""
        for session_id in session_ids:
            try:
                self.named.append(await uploader.status(session_id))
            except errors.BrokerRefused as exc:
                if exc.problem.status != 404:
                    raise
                self.fail(session_id, session_id, exc)

    async def sessions(self, uploader: Uploader) -> AsyncIterator[UploadSession]:
        for session in self.named:
            yield session
        if self.batch is not None:
            async for session in uploader.sessions(batch=self.batch, owner=self.owner):
                yield session

    async def plan(self, uploader: Uploader, *, shows: bool) -> Plan:
        plan = Plan()
        async for session in self.sessions(uploader):
            plan.add(session)
            if shows:
                self.tell(session, expected_of(session), is_dry_run=True)
        return plan

    async def work(self, uploader: Uploader, newest: datetime | None, jobs: int) -> None:
        """:param newest: what was minted later is not meant."""
        await few_at_a_time(partial(self.one, uploader), self.until(uploader, newest), jobs)

    async def until(self, uploader: Uploader, newest: datetime | None) -> AsyncGenerator[UploadSession, None]:
        async for session in self.sessions(uploader):
            if newest is None or session.created_at <= newest:
                yield session

    async def one(self, uploader: Uploader, session: UploadSession) -> None:
        try:
            removed = await uploader.remove(session)
        except errors.BrokerRefused as exc:
            if exc.problem.status == 401:  # a key that may not erase may abort all the same: 403 is said of each
                raise
            self.fail(session.id, name_of(session), exc)
        else:
            self.done[removed] += 1
            self.tell(session, removed)

    def tell(self, session: UploadSession, removed: Removed, *, is_dry_run: bool = False) -> None:
        if self.is_json:
            self._print(Line(id=session.id, name=name_of(session), removed=removed, is_dry_run=is_dry_run))
        else:
            words = TO_DO if is_dry_run else DONE
            click.echo(f"{session.id} {words[removed]:<12} {name_of(session)}")

    def fail(self, session_id: str, name: str, exc: errors.UploaderError) -> None:
        self.failures += 1
        self.codes.add(exc.exit_code)
        if self.is_json:
            self._print(Line(id=session_id, name=name, code=exc.code, message=exc.message))
        else:
            click.echo(f"error: {session_id} {name}: {exc.message}", err=True)

    def _print(self, line: Line) -> None:
        click.echo(json.encode(line).decode())

    @property
    def summary(self) -> str:
        counts = ", ".join(f"{number:,} {DONE[removed]}" for removed, number in self.done.items() if number)
        return f"{counts or 'nothing removed'}" + (f", {self.failures:,} failed" if self.failures else "")

    @property
    def exit_code(self) -> int:
        return next(iter(self.codes)) if len(self.codes) == 1 else errors.EXIT_FAILED if self.codes else errors.EXIT_OK
