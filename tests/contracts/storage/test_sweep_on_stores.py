"""A whole sweep over every store that can be run: listings, HEADs, removals by version and aborts as each has them."""

import uuid
from datetime import timedelta

import aiohttp
import pytest

from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.keys import mark_key, new_session_id, object_key
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination
from broker.domain.sessions import Facts, Session, abort, begin
from broker.domain.uris import UriSealer
from broker.ledger.memory import MemoryLedger
from broker.ports import Bucket
from broker.services.adopt import Adopt
from broker.services.broom import Broom
from broker.services.findings import Find
from broker.services.recover import Recover
from broker.services.settle import Settle
from broker.services.store_marks import MarkStores, MatchStore, TakeOver
from broker.services.sweep import Sweep
from broker.wiring.looking import look_of
from broker.workers.bells import LocalBell
from tests.clock import FrozenClock
from tests.contracts.storage.stores import Store
from tests.contracts.storage.wire import Send

BODY = b"123456789"
SPEC = UploadSpec(filename="größe 100%+a.bin", size_bytes=len(BODY), content_type="text/csv")
DAY = timedelta(days=1)


class Site:
    """One prefix of a bucket of the store, a ledger in memory, and time that a test moves."""

    def __init__(self, store: Store, bucket: str, http: aiohttp.ClientSession) -> None:
        self.clock, self.sealer, self.send = FrozenClock(), CapsuleSealer([b"k" * 32]), Send(http)
        prefix = f"sweep-{uuid.uuid4().hex[:12]}"
        self.place = store.place(bucket, http, prefix=prefix, page_size=2)
        self.ledger = MemoryLedger(self.clock)
        self.bucket = Bucket(
            destination=Destination(name="default", bucket=bucket, prefix=prefix),
            put=self.place.put,
            get=self.place.get,
            objects=self.place.objects,
            remover=self.place.remover,
            multipart=self.place.multipart,
            lister=self.place.lister,
            mark=self.place.mark,
        )
        self.lose_ledger()

    def lose_ledger(self) -> None:
        self.ledger = ledger = MemoryLedger(self.clock)
        buckets, clock, sealer = {"default": self.bucket}, self.clock, self.sealer
        identity = ledger.identity
        adopt = Adopt(sessions=ledger, tombstones=ledger.tombstones, identity=identity, sealer=sealer, clock=clock)
        settle = Settle(sessions=ledger, clock=clock, work=LocalBell())
        look = look_of(
            buckets=buckets,
            sessions=ledger,
            looks=ledger,
            adopt=adopt,
            settle=settle,
            sealer=sealer,
            uris=UriSealer([]),
            clock=clock,
        )
        find, match = Find(sessions=ledger, tombstones=ledger.tombstones), MatchStore(identity=identity)
        self.mark = MarkStores(buckets=buckets, identity=identity, clock=clock)
        self.take_over = TakeOver(identity=identity)
        self.sweep = Sweep(find=find, match=match, adopt=adopt, clock=clock)
        self.broom = Broom(find=find, look=look, adopt=adopt, clock=clock)
        self.recover = Recover(find=find, match=match, adopt=adopt, identity=identity, clock=clock)

    async def sent(self) -> Session:
        """A pending session whose object has arrived."""
        place, session_id, now = self.bucket.destination, new_session_id(0), self.clock.now()
        facts = Facts(
            principal="app",
            destination=place.name,
            bucket=place.bucket,
            key=object_key(place.prefix, session_id, SPEC.filename),
            spec=SPEC,
            guarantees=self.bucket.put.binds(SPEC),
            created_at=now,
            expires_at=now + DAY,
            requests_end_at=now + timedelta(minutes=15),
        )
        session = begin(session_id, facts, now)
        await self.ledger.create(session, look_at=now, idempotency=None)
        await self.stored(session)
        return session

    async def stored(self, session: Session) -> None:
        """Its object, as its signed request would have made it."""
        facts = session.facts
        capsule = self.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
        request = await self.place.sign_put(facts.key, facts.spec, capsule=capsule)
        assert (await self.send.put(request, BODY)).status == 200

    async def dead(self) -> Session:
        """Aborted, its object there all the same, and quiet."""
        session = await self.sent()
        change = abort(session, self.bucket.destination, self.clock.now())
        assert await self.ledger.apply(change)
        self.clock.advance(DAY)
        return change.after

    async def begun(self, key: str) -> list[str]:
        """An upload in parts under the key, where the store has such."""
        rights = self.place.multipart
        return [] if rights is None else [await rights.uploads.open(key, SPEC, "sealed")]

    async def unfinished(self, key: str) -> list[str]:
        rights = self.place.multipart
        return [] if rights is None else await rights.remover.open_uploads(key)

    async def keys(self) -> list[str]:
        assert self.bucket.lister is not None
        return [each.key async for page in self.bucket.lister.objects() for each in page]


@pytest.fixture(params=["plain", "versioned"])
async def site(request: pytest.FixtureRequest, store: Store, http: aiohttp.ClientSession) -> Site:
    bucket = store.bucket if request.param == "plain" else store.versioned_bucket
    found = Site(store, bucket, http)
    await found.mark()
    return found


@pytest.mark.parametrize("is_forgotten", [False, True], ids=["with a record", "with a tombstone alone"])
async def test_what_is_dead_goes_and_all_else_stays(site: Site, store: Store, is_forgotten: bool) -> None:
    place = site.bucket.destination
    dead, live = await site.dead(), await site.sent()
    begun = await site.begun(dead.facts.key)
    stranger = f"{place.prefix}/{new_session_id(0)}/x y.csv"
    await store.witness.put(place.bucket, stranger, b"")
    await store.witness.put(place.bucket, f"{place.prefix}/readme", b"")
    if is_forgotten:
        site.clock.advance(place.policy.retention)

    report = await site.sweep(site.bucket, site.broom)

    left = {live.facts.key, stranger, f"{place.prefix}/readme", mark_key(place.prefix)}
    assert {*await site.keys()} == left
    assert (report.removed.objects, report.uploads.aborted, report.failed) == (1, len(begun), 0)
    assert await site.unfinished(dead.facts.key) == []


async def test_older_versions_of_what_is_dead_go_too(store: Store, http: aiohttp.ClientSession) -> None:
    """Where somebody deleted the latest, a version of ours came back under a marker; where not, there are several."""
    site = Site(store, store.versioned_bucket, http)
    await site.mark()
    dead = await site.dead()
    await store.witness.delete(store.versioned_bucket, dead.facts.key)
    await site.stored(dead)
    assert (await site.keys()).count(dead.facts.key) == 2

    report = await site.sweep(site.bucket, site.broom)

    assert report.removed.objects == 2
    assert await site.keys() == [mark_key(site.bucket.destination.prefix)]


async def test_a_lost_ledger_comes_back_from_the_store(site: Site) -> None:
    sessions = [await site.sent() for _ in range(5)]
    before = await site.keys()
    site.lose_ledger()
    await site.take_over([site.bucket])

    report = await site.recover(site.bucket)

    assert (report.adopted.objects, report.failed) == (5, 0)
    found = await site.ledger.get_many([each.id for each in sessions])
    assert [each and each.facts.spec for each in found] == [SPEC] * 5
    assert await site.keys() == before
