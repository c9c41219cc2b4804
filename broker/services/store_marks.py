"""Store marks: ledger and bucket each hold the ledger's id, so that an empty or wrong Redis is noticed as such.

A ledger without an id is new only where no destination has a note either. Where one has, it is the ledger that forgot:
it is given no id, and whoever wants to delete is refused until `upload-broker recover` has put things right.
"""

import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from broker.domain.errors import CredentialsUnavailable, StoreMismatch, StoreRefused, StoreUnavailable, Unavailable
from broker.ports import Bucket, Buckets, Clock, Identity

_log = logging.getLogger("broker.marks")


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchStore:
    """Whether this ledger is the one that knows a destination."""

    identity: Identity

    async def __call__(self, bucket: Bucket) -> None:
        """:raises StoreMismatch: in one sentence.
        :raises LedgerUnavailable, StoreUnavailable, StoreRefused, CredentialsUnavailable: nobody can say.
        """
        noted = await bucket.mark.read() if bucket.mark else None
        fault = mismatch(bucket, held=await self.identity.store_id(), noted=noted)
        if fault:
            raise StoreMismatch(fault)


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkStores:
    """Notes the ledger's id in every destination that has no note; an id is made once, for the first of them."""

    buckets: Buckets
    identity: Identity
    clock: Clock

    async def __call__(self) -> None:
        """Idempotent, and safe beside others who do the same.

        :raises StoreMismatch: a destination belongs to another ledger, or this one forgot its id.
        :raises LedgerUnavailable, StoreUnavailable, StoreRefused, CredentialsUnavailable: again later.
        """
        notes, trouble = await self._notes()
        held = await self.identity.store_id()
        if held is None and not any(notes.values()):
            if trouble:
                raise trouble  # it may be this store whose ledger it was
            held = await self.identity.claim(secrets.token_hex(16))
        for name in [name for name, noted in notes.items() if held and not noted]:
            notes[name] = await self._noted(self.buckets[name], held or "")
        faults = [mismatch(self.buckets[name], held=held, noted=noted) for name, noted in notes.items()]
        if found := [fault for fault in faults if fault]:
            raise StoreMismatch("; ".join(found))
        if trouble:
            raise trouble

    async def _notes(self) -> tuple[dict[str, str | None], Unavailable | None]:
        """What is noted where, and the trouble with a store that kept the rest from being known."""
        notes, trouble = {}, None
        for name, bucket in self.buckets.items():
            try:
                if bucket.mark:
                    notes[name] = await bucket.mark.read()
            except (StoreUnavailable, StoreRefused, CredentialsUnavailable) as exc:
                trouble = exc
        return notes, trouble

    async def _noted(self, bucket: Bucket, store_id: str) -> str | None:
        if bucket.mark is None:
            return None
        await bucket.mark.write(store_id, now=self.clock.now())
        _log.info("store.marked", extra={"destination": bucket.destination.name})
        return await bucket.mark.read()


@dataclass(frozen=True, slots=True, kw_only=True)
class TakeOver:
    """Makes a ledger that lost everything the one that knows these destinations."""

    identity: Identity

    async def __call__(self, buckets: Sequence[Bucket]) -> None:
        """Idempotent.

        :raises StoreMismatch: there is no note, or not one for all, or the ledger has an id of its own.
        :raises LedgerUnavailable, StoreUnavailable, StoreRefused, CredentialsUnavailable: nothing was taken over.
        """
        notes = {bucket.destination.name: await bucket.mark.read() if bucket.mark else None for bucket in buckets}
        if silent := [name for name, noted in notes.items() if noted is None]:
            raise StoreMismatch(f"there is nothing to take over: destination {silent[0]!r} has no note of a ledger")
        ids = {noted for noted in notes.values() if noted}
        if len(ids) > 1:
            raise StoreMismatch(f"destinations {', '.join(notes)} belong to several ledgers: recover them one by one")
        if await self.identity.claim(*ids) not in ids:
            raise StoreMismatch("this ledger has an id of its own, it is not the one that was emptied: nothing changed")


def mismatch(bucket: Bucket, *, held: str | None, noted: str | None) -> str | None:
    """What is wrong between a ledger that holds one id and a destination where one is noted; None where all is well."""
    name = bucket.destination.name
    if noted is None:
        return f"destination {name!r} has no note of a ledger yet: `upload-broker serve` or `look` leaves one"
    if held is None:
        return f"this ledger does not know the store of destination {name!r}: Redis is empty, or the wrong database"
    if held != noted:
        return f"destination {name!r} belongs to another ledger: this is the wrong Redis, or the wrong prefix"
    return None
