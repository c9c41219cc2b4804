"""Failed jobs at a shell: which there are, and another chance for them."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import datetime

import msgspec
from msgspec import Struct

from broker.contract import Reason, State
from broker.domain.errors import BrokerError, LedgerUnavailable, SessionNotFound
from broker.domain.keys import is_session_id
from broker.domain.sessions import Session
from broker.ports import Census
from broker.services.revive import Revive
from broker.settings import Settings
from broker.wiring import open_ledger, open_revive

AT_ONCE = 32  # ours: HEADs under way


class DeadJob(Struct, frozen=True, kw_only=True):
    """One failed session as an operator sees it."""

    id: str
    destination: str
    failed_at: datetime
    reason: Reason | None
    failures: int
    leases: int
    filename: str
    size_bytes: int
    is_erased: bool

    def line(self) -> str:
        """For a terminal: a consumer's and a client's words move no cursor and begin no line."""
        code = self.reason.code if self.reason else "-"
        tried = f"{self.failures} failures in {self.leases} leases"
        name = _shown(self.filename) + (" (erased)" if self.is_erased else "")
        at = f"{self.failed_at:%Y-%m-%d %H:%M:%SZ}"
        return f"{self.id}  {at}  {_shown(code):<24} {tried:<26} {self.destination}  {name}"


def dead_jobs(settings: Settings, destination: str | None, limit: int | None) -> list[DeadJob]:
    """The failed sessions that one walk through the ledger finds, the latest first.

    :param limit: stop after so many; they are then not the latest.
    :raises LedgerUnavailable:
    """

    async def run() -> list[DeadJob]:
        async with AsyncExitStack() as stack:
            ledger = await open_ledger(settings.ledger, stack)
            dead = [_dead_job(session) async for session in _failed(ledger, destination, None, limit)]
        return sorted(dead, key=lambda job: (job.failed_at, job.id), reverse=True)

    return asyncio.run(run())


class Retried(Struct, frozen=True, kw_only=True):
    """What became of one: `refusal` is None when its job is, or would be, visible again."""

    id: str
    refusal: str | None = None


def retry_jobs(settings: Settings, ids: Sequence[str], *, is_dry: bool) -> list[Retried]:
    """Another chance for these, in their order.

    :raises LedgerUnavailable: some may have got it; asking again is safe.
    """

    async def run() -> list[Retried]:
        async with open_revive(settings) as (_, revive):
            return await _retried(revive, ids, is_dry=is_dry)

    return asyncio.run(run())


def retry_all(settings: Settings, destination: str | None, reason: str | None, *, is_dry: bool) -> list[Retried]:
    """Another chance for every failed one, of a destination, with a reason.

    :raises LedgerUnavailable: some may have got it; asking again is safe.
    """

    async def run() -> list[Retried]:
        async with open_revive(settings) as (census, revive):
            # First all ids: what is retried may fail again while SCAN goes on, and must not be retried for ever.
            ids = [session.id async for session in _failed(census, destination, reason, None)]
            return await _retried(revive, ids, is_dry=is_dry)

    return asyncio.run(run())


async def _failed(
    census: Census, destination: str | None, reason: str | None, limit: int | None
) -> AsyncIterator[Session]:
    count = 0
    async for session in census.in_state(State.FAILED):
        facts = session.facts
        code = facts.reason.code if facts.reason else ""
        if destination in {None, facts.destination} and reason in {None, code}:
            yield session
            count += 1
            if count == limit:
                return


async def _retried(revive: Revive, ids: Sequence[str], *, is_dry: bool) -> list[Retried]:
    done: list[Retried] = []
    for start in range(0, len(ids), AT_ONCE):
        chunk = ids[start : start + AT_ONCE]
        done += await asyncio.gather(*(_one(revive, each, is_dry=is_dry) for each in chunk))
    return done


async def _one(revive: Revive, session_id: str, *, is_dry: bool) -> Retried:
    """Trouble with one object is told beside it; without the ledger there is nothing to tell."""
    try:
        if not is_session_id(session_id):
            raise SessionNotFound
        await (revive.check(session_id) if is_dry else revive(session_id))
    except LedgerUnavailable:
        raise
    except BrokerError as exc:
        return Retried(id=session_id, refusal=exc.detail)
    return Retried(id=session_id)


def _dead_job(session: Session) -> DeadJob:
    facts, attempts = session.facts, session.attempts
    return DeadJob(
        id=session.id,
        destination=facts.destination,
        failed_at=session.progress.changed_at,
        reason=facts.reason,
        failures=attempts.failures,
        leases=attempts.leases,
        filename=facts.spec.filename,
        size_bytes=facts.spec.size_bytes,
        is_erased=facts.erased_at is not None,
    )


def as_json(value: Struct) -> str:
    return msgspec.json.encode(value).decode()


def _shown(text: str) -> str:
    return text if text.isprintable() else repr(text)
