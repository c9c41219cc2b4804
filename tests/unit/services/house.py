"""All use cases over one memory ledger, one memory bucket and one clock, with a fuse in every line to the outside."""

import copy
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from broker.contract import (
    CreateUploadSession,
    Job,
    MultipartUpload,
    PutUpload,
    ResultRequest,
    SignedRequest,
    State,
    Upload,
)
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.errors import BrokerError, CredentialsUnavailable, LedgerUnavailable, StoreUnavailable
from broker.domain.fan_out import Required
from broker.domain.objects import CAPSULE_FIELD, ObjectInfo
from broker.domain.origins import Origins
from broker.domain.policy import Destination, Policy
from broker.domain.principals import ApiKey, Role
from broker.domain.sessions import Session
from broker.domain.tokens import Tokens
from broker.domain.uris import UriSealer
from broker.doors.s3_event import S3EventDoor
from broker.ledger.memory import MemoryLedger
from broker.ports import Bucket, Envelope, Event, MultipartRights
from broker.services.abort import Abort
from broker.services.adopt import Adopt
from broker.services.broom import Broom
from broker.services.complete import Complete
from broker.services.complete_many import CompleteMany
from broker.services.drafts import Minted
from broker.services.end_copies import EndCopies
from broker.services.erase import Erase
from broker.services.findings import Find
from broker.services.finish import EndLease, FinishJob, ReleaseJob
from broker.services.lease import LeaseJobs, RenewLease
from broker.services.look_at_many import LookAtMany
from broker.services.notify import Notify
from broker.services.read import Read
from broker.services.record_hints import RecordHints
from broker.services.recover import Recover
from broker.services.settle import Settle
from broker.services.store_marks import MarkStores, MatchStore
from broker.services.survey import Survey
from broker.services.survey_many import SurveyMany
from broker.services.sweep import Sweep
from broker.services.turns import Turns
from broker.telemetry.tracing import Tracing
from broker.wiring.looking import look_of
from broker.wiring.minting import minting_of
from broker.workers.bells import LocalBell
from tests.clock import FrozenClock
from tests.memory_bucket import MemoryBucket

KEY = b"k" * 32
DOOR_TOKEN = "the-bucket-says-so"
ORIGIN = "https://app.example"
HOLD = timedelta(seconds=30)
LEASE = timedelta(seconds=60)
PLACE = Destination(name="default", bucket="acme", prefix="uploads", policy=Policy(max_failures=3))
APP = ApiKey(id="app", hashes=(), roles=frozenset({Role.MINT}))
WISH = CreateUploadSession(filename="report.csv", size_bytes=12, content_type="text/csv")


class Crash(Exception):
    """The process dies here."""


@dataclass(slots=True)
class Fuse:
    """Burns at the n-th call to the outside: the process dies before it, or the answer to it is lost."""

    burns_at: int | None = None
    is_answer_lost: bool = False
    calls: int = 0

    async def run(self, call: Callable[[], Awaitable[Any]], trouble: type[BrokerError]) -> Any:
        self.calls += 1
        is_burning = self.calls == self.burns_at
        if is_burning and not self.is_answer_lost:
            raise Crash
        answer = await call()
        if is_burning:
            raise trouble
        return answer


class Fused:
    """A port behind a fuse."""

    def __init__(self, port: Any, fuse: Fuse, trouble: type[BrokerError]) -> None:
        self._port, self._fuse, self._trouble = port, fuse, trouble

    def binds(self, spec: Any) -> Any:
        return self._port.binds(spec)

    @property
    def chunk_multiple_bytes(self) -> Any:
        return self._port.chunk_multiple_bytes

    def __getattr__(self, name: str) -> Any:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._fuse.run(lambda: getattr(self._port, name)(*args, **kwargs), self._trouble)

        return call


class House:
    """`ledger`, `bucket` and `clock` are the real ones, for a test to look at; the use cases see them fused."""

    def __init__(
        self,
        place: Destination = PLACE,
        *,
        fuse: Fuse | None = None,
        shards: int = 1,
        more: tuple[Destination, ...] = (),
        required: Required = "all",
        **bucket: Any,
    ) -> None:
        """:param more: other destinations, each a store of its own in `stores`."""
        self.place = place
        self.required = required
        self.fuse = fuse or Fuse()
        self.clock = FrozenClock()
        self.bucket = MemoryBucket(clock=self.clock, **bucket)
        self.stores = {place.name: self.bucket}
        self.stores |= {other.name: MemoryBucket(clock=self.clock, **bucket) for other in more}
        self.buckets = {each.name: self._fused_bucket(each) for each in (place, *more)}
        self.sealer, self.tokens, self.uris = CapsuleSealer([KEY]), Tokens([KEY]), UriSealer([KEY])
        self.lose_ledger(shards)

    def _fused_bucket(self, place: Destination) -> Bucket:
        behind = self.stores[place.name]
        signer = Fused(behind, self.fuse, CredentialsUnavailable)
        store = Fused(behind, self.fuse, StoreUnavailable)
        parts = Fused(behind.uploads, self.fuse, StoreUnavailable)
        part_signer = Fused(behind.uploads, self.fuse, CredentialsUnavailable)
        rights = MultipartRights(signer=part_signer, uploads=parts, remover=parts)
        return Bucket(
            destination=place,
            put=signer,
            get=signer,
            objects=store,
            remover=store,
            multipart=None if behind.is_resumable else rights,
            lister=behind.lister,
            mark=Fused(behind.mark, self.fuse, StoreUnavailable),
            resumable=Fused(behind.resumables, self.fuse, StoreUnavailable) if behind.is_resumable else None,
            signs_afar=behind.signs_afar,
        )

    def lose_ledger(self, shards: int = 1, *, backup: MemoryLedger | None = None) -> None:
        """An empty ledger, the first one or what an operator finds after a disaster; or what he restored."""
        self.ledger = backup or MemoryLedger(self.clock, shards=shards)
        ledger: Any = Fused(self.ledger, self.fuse, LedgerUnavailable)
        clock, tokens, sealer, buckets = self.clock, self.tokens, self.sealer, self.buckets
        self.work, self.due = LocalBell(), LocalBell()
        identity = Fused(self.ledger.identity, self.fuse, LedgerUnavailable)
        tombstones = Fused(self.ledger.tombstones, self.fuse, LedgerUnavailable)
        self.adopt = Adopt(sessions=ledger, tombstones=tombstones, identity=identity, sealer=sealer, clock=clock)
        settle = Settle(sessions=ledger, clock=clock, work=self.work)
        self.look = look_of(
            buckets=buckets,
            sessions=ledger,
            looks=ledger,
            adopt=self.adopt,
            settle=settle,
            sealer=sealer,
            uris=self.uris,
            clock=clock,
        )
        minting = minting_of(
            buckets=buckets,
            sessions=ledger,
            rates=self.ledger.rates,
            sealer=sealer,
            uris=self.uris,
            tokens=tokens,
            clock=clock,
            required=self.required,
            shards=shards,
            turns=Turns(),
            trace=Tracing(),
            origins=Origins([ORIGIN]),
        )
        self.mint, self.mint_batch = minting.mint, minting.mint_batch
        self.survey = Survey(buckets=buckets, sessions=ledger, uris=self.uris)
        self.remint, self.remint_copy = minting.remint, minting.remint_copy
        end_copies = EndCopies(buckets=buckets, sessions=ledger, clock=clock)
        self.complete = Complete(sessions=ledger, looks=ledger, look=self.look, clock=clock)
        self.look_at_many = LookAtMany(looks=ledger, look=self.look, clock=clock, due=self.due)
        self.complete_many = CompleteMany(
            survey_many=SurveyMany(sessions=ledger), sessions=ledger, look_at_many=self.look_at_many
        )
        self.abort = Abort(buckets=buckets, sessions=ledger, clock=clock, end_copies=end_copies)
        self.erase = Erase(buckets=buckets, sessions=ledger, sealer=sealer, clock=clock, end_copies=end_copies)
        self.read = Read(buckets=buckets, clock=clock)
        self.lease = LeaseJobs(
            jobs=ledger, sessions=ledger, read=self.read, tokens=tokens, clock=clock, work=self.work, duration=LEASE
        )
        self.renew = RenewLease(jobs=ledger, read=self.read, tokens=tokens, clock=clock, duration=LEASE)
        end = EndLease(buckets=buckets, sessions=ledger, tokens=tokens, clock=clock, work=self.work)
        self.finish, self.release = FinishJob(end_lease=end), ReleaseJob(end_lease=end)
        door = S3EventDoor(destinations=tuple(buckets), tokens=(DOOR_TOKEN,))
        self.record = RecordHints(buckets=buckets, looks=ledger, clock=clock, due=self.due)
        self.notify = Notify(doors={"events": door}, record=self.record)

        find, match = Find(sessions=ledger, tombstones=tombstones), MatchStore(identity=identity)
        self.mark = MarkStores(buckets=buckets, identity=identity, clock=clock)
        self.sweep = Sweep(find=find, match=match, adopt=self.adopt, clock=clock)
        self.broom = Broom(find=find, look=self.look, adopt=self.adopt, clock=clock)
        self.recover = Recover(find=find, match=match, adopt=self.adopt, identity=identity, clock=clock)

    # --- disasters

    def configure(self, place: Destination) -> None:
        """Other terms for the same destination, as after a restart."""
        self.place = place
        self.buckets[place.name] = self._fused_bucket(place)

    def backup(self) -> MemoryLedger:
        """The ledger as it is now, to be put in place again later."""
        return copy.deepcopy(self.ledger, {id(self.clock): self.clock})

    def empty_ledger(self) -> None:
        """Somebody flushes it while everybody is at work."""
        self.ledger._shards = MemoryLedger(self.clock, shards=self.ledger.shards)._shards
        self.ledger.tombstones._standing.clear()
        self.ledger.identity._held = None

    async def forget(self, session: Session) -> None:
        """One record is lost, with all that hangs on it."""
        shard = self.ledger._shard(session.id)
        shard.sessions.drop(session.id)
        shard.due.pop(session.id, None)
        shard.jobs.pop(session.id, None)

    # --- what people do

    async def minted(self, **changes: Any) -> Minted:
        return await self.mint(APP, replace(WISH, **changes))

    def sent(self, minted: Minted, body: bytes | None = None) -> None:
        self.bucket.send(request_of(minted.upload), body)

    def store_anyhow(self, session: Session, **changes: Any) -> ObjectInfo:
        """An object of a session as its signed request would have made it, whenever."""
        facts = session.facts
        capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
        known = {
            "size_bytes": facts.spec.size_bytes,
            "content_type": facts.spec.content_type,
            "metadata": {CAPSULE_FIELD: capsule},
        }
        return self.bucket.store(facts.key, **known | changes)

    async def uploaded(self, **changes: Any) -> Session:
        """Minted, sent and verified."""
        minted = await self.minted(**changes)
        self.sent(minted)
        await self.event(minted.session.facts.key)
        await self.looks()
        return await self.session(minted.session.id)

    async def event(self, key: str, *, token: str = DOOR_TOKEN, bucket: str = "acme") -> None:
        record = {"eventName": "ObjectCreated:Put", "s3": {"bucket": {"name": bucket}, "object": {"key": key}}}
        body = msgspec.json.encode({"Records": [record]})
        await self.notify("events", Envelope(headers={}, query={"token": token}, body=body))

    async def looks(self) -> int:
        """Takes every look that is due now. How many there were."""
        taken = 0
        ledger = self.look.looks
        for _ in range(50):
            claimed = await ledger.claim(10, now=self.clock.now(), hold=HOLD)
            if not claimed:
                return taken
            for due in claimed:
                await self.look(due)
            taken += len(claimed)
        raise AssertionError("the schedule never empties")

    async def pass_time(self, by: timedelta) -> None:
        """Takes every look at its moment, until `by` is over."""
        end = self.clock.now() + by
        for _ in range(5_000):
            await self.looks()
            following = await self.ledger.next_due()
            if following is None or following > end:
                self.clock.advance_to(end)
                return
            self.clock.advance_to(following)
        raise AssertionError("looks never come to rest")

    async def leased(self) -> Job:
        jobs = await self.lease(10, worker="w", wait=timedelta(0))
        assert len(jobs) == 1
        return jobs[0]

    async def report(self, job: Job, outcome: str = "processed", **more: Any) -> Session:
        return await self.finish(job.id, report_of(job, outcome, **more))

    # --- what there is to see

    async def session(self, session_id: str) -> Session:
        found = await self.ledger.get(session_id)
        assert found is not None
        return found

    async def events(self) -> list[Event]:
        return [event for shard in range(self.ledger.shards) async for event in self.ledger.read(shard)]

    async def states(self) -> list[State]:
        return [event.state for event in await self.events()]

    async def is_at_rest(self) -> bool:
        """Nobody will ever look or work again."""
        far = self.clock.now() + timedelta(days=365)
        return await self.ledger.next_due() is None and not await self.ledger.lease(1, worker="", now=far, until=far)


def request_of(upload: Upload | None) -> SignedRequest:
    """The one request of a single PUT."""
    assert isinstance(upload, PutUpload)
    return upload.request


async def other_capsule(house: House) -> str:
    """The capsule of another session, as a forger would copy it."""
    other = await house.minted()
    return request_of(other.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]


def parts_of(upload: Upload | None) -> MultipartUpload:
    assert isinstance(upload, MultipartUpload)
    return upload


def report_of(job: Job, outcome: str, **more: Any) -> ResultRequest:
    values = {"lease": job.lease.token, "epoch": job.lease.epoch, "outcome": outcome, **more}
    return ResultRequest(**values)


async def survive(house: House, act: Callable[[], Awaitable[Any]]) -> Any:
    """An actor who tries again a minute after every crash or 5xx, as they all do."""
    for _ in range(5):
        with suppress(Crash, LedgerUnavailable, StoreUnavailable, CredentialsUnavailable):
            return await act()
        house.clock.advance(timedelta(seconds=61))
    raise AssertionError("one fuse burns once")
