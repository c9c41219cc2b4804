"""No command of ours makes everybody else wait: what one costs does not grow with what Redis holds.

Redis does one thing at a time. So each call of the ledger runs where very many sessions, schedule entries and events
lie, and the slowest command that Redis logged for it ("SLOWLOG") is compared with the quickest that reads everything,
on the same machine at the same time. The best of some tries counts: a busy machine makes a command slow now and then,
but one that reads everything is never quick.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from msgspec.structs import replace

from broker.dev.redis_server import RedisServer
from broker.domain.keys import new_session_id
from broker.domain.objects import ObjectInfo
from broker.domain.sessions import Session, begin, verify
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Script, Wire, Word
from broker.ports import Idempotency, NewSession, Selection, Stray
from tests.api.world import PLACES
from tests.unit.domain.samples import pending

COUNT = 60_000
EVERYTHING = (("KEYS", "*"), ("ZRANGE", "due:{00}", 0, -1), ("XRANGE", "events:{00}", "-", "+"))  # 6 to 16 ms here
TRIES = 5
HOLD = timedelta(seconds=30)
NOW = datetime.now(UTC)
INFO = ObjectInfo(size_bytes=12, content_type="text/csv", etag="0" * 32)
PLACE = PLACES["default"]
JOBS, QUEUES = b"jobs:{00}:default", b"queues:{00}"  # of queues there are as many as sets of destinations, not of jobs

# KEYS a record, then what to fill. ARGV thousand, character of the ids, now in ms.
FILL = Script(b"""
local prefix, record = string.sub(KEYS[1], 1, -29), redis.call('GET', KEYS[1])
for number = 1, 1000 do
  local id = string.format('00' .. string.rep(ARGV[2], 20) .. '%06d', ARGV[1] * 1000 + number)
  if ARGV[4] == 'records' then
    redis.call('SET', prefix .. id, record)
  end
  for place = 2, #KEYS do
    if redis.call('TYPE', KEYS[place]).ok == 'zset' then
      redis.call('ZADD', KEYS[place], ARGV[3] - 1000 - number, id)
    else
      redis.call('XADD', KEYS[place], '*', 'id', id, 'state', 'pending', 'epoch', 0, 'at', ARGV[3])
    end
  end
end
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """A ledger where one pending session and one verified stand among very many."""

    ledger: RedisLedger
    wire: Wire
    one: Session
    job: Session

    def new(self) -> Session:
        return begin(new_session_id(0), self.one.facts, NOW)

    async def fill(self, thousands: int, *, kind: str) -> None:
        """Everything that is ordered by time gets so many entries, each schedule those that belong there."""
        keys: list[bytes] = await self.wire.call("KEYS", "*{00}*")
        kinds = [await self.wire.call("TYPE", key) for key in keys]
        ordered = {key for key, of in zip(keys, kinds, strict=True) if of in {b"zset", b"stream"}}
        assert {b"due:{00}", JOBS, QUEUES, b"events:{00}"} < ordered
        for session, character, names in (
            (self.one, "a", ordered - {JOBS, QUEUES}),
            (self.job, "b", {JOBS}),
        ):
            for thousand in range(thousands):
                words: list[Word] = [thousand, character, int(NOW.timestamp() * 1_000), kind]
                await self.wire.evalsha(FILL, [f"session:{{00}}:{session.id}", *names], words)

    async def longest(self, call: Callable[[], Awaitable[object]]) -> int:
        """Microseconds that the slowest command took, in the best of some tries."""
        spent = []
        for _ in range(TRIES):
            await self.wire.call("SLOWLOG", "RESET")
            await call()
            entries = await self.wire.call("SLOWLOG", "GET", 1_000)
            spent.append(max(entry[2] for entry in entries if entry[3][0].upper() not in {b"SLOWLOG", b"CONFIG"}))
        return min(spent)


@pytest.fixture
async def crowd(redis: RedisServer) -> AsyncIterator[Crowd]:
    ledger, wire = RedisLedger(redis.url), Wire(redis.url)
    await wire.call("CONFIG", "SET", "appendfsync", "everysec")  # the disk's time is not the command's
    for setting, value in (("slowlog-log-slower-than", 0), ("slowlog-max-len", 1_000)):
        await wire.call("CONFIG", "SET", setting, value)
    facts = replace(pending().facts, batch="batch", owner="owner", created_at=NOW)
    one, job = [begin(new_session_id(0), facts, NOW) for _ in range(2)]
    for session in (one, job):
        await ledger.create(session, look_at=NOW, idempotency=None)
    change = verify(job, INFO, PLACE, NOW)
    assert await ledger.apply(change)
    yield Crowd(ledger=ledger, wire=wire, one=one, job=change.after)
    await ledger.close()
    await wire.close()


def calls_of(crowd: Crowd) -> dict[str, Callable[[], Awaitable[object]]]:
    """Everything that the ledger does while it serves."""
    ledger, one, principal = crowd.ledger, crowd.one, crowd.one.facts.principal
    ids = [f"00{'a' * 20}{number:06d}" for number in range(1, 1_001)]

    async def create() -> None:
        idempotency = Idempotency(key=crowd.new().id * 2, body="b" * 64, keep_for=HOLD)
        await ledger.create(crowd.new(), look_at=NOW, idempotency=idempotency)

    async def settle() -> None:
        session = (await ledger.create(crowd.new(), look_at=NOW, idempotency=None)).session
        assert await ledger.apply(verify(session, INFO, PLACE, NOW))

    async def lease() -> None:
        jobs = await ledger.lease(100, worker="w", now=NOW, until=NOW + HOLD)
        assert len(jobs) == 100
        assert await ledger.renew(jobs[0].id, jobs[0].progress.epoch, until=NOW + HOLD)

    async def look() -> None:
        looks = await ledger.claim(128, now=NOW, hold=HOLD)
        assert len(looks) == 128
        await ledger.postpone(looks[0], NOW + HOLD)
        await ledger.postpone(looks[1], None)

    async def read() -> None:
        page = ledger.read(0)
        assert (await anext(page)).id == one.id
        await page.aclose()  # one page is what a reader asks for at once

    return {
        "create": create,
        "create many": lambda: ledger.create_many(
            [NewSession(session=crowd.new(), look_at=NOW, idempotency=None) for _ in range(1_000)]
        ),
        "settle": settle,
        "look": look,
        "look at one": lambda: ledger.claim_one(one.id, now=NOW, hold=HOLD, every=timedelta(milliseconds=1)),
        "lease and renew": lease,
        "get": lambda: ledger.get(one.id),
        "get many": lambda: ledger.get_many(ids),
        "list": lambda: ledger.find(Selection(principal=principal), after=None, limit=100),
        "list a batch": lambda: ledger.find(Selection(principal=principal, batch="batch"), after=None, limit=100),
        "usage": lambda: ledger.usage(principal),
        "hint": lambda: ledger.hint(one.id, None, now=NOW - timedelta(days=1)),
        "hint many": lambda: ledger.hint_many([(each, None) for each in ids[:64]], now=NOW - timedelta(days=1)),
        "hint of a stray": lambda: ledger.hint(crowd.new().id, Stray(destination="default", key="uploads/x"), now=NOW),
        "read events": read,
        "next due": ledger.next_due,
        "checkup": ledger.check,
    }


async def test_no_call_costs_more_because_there_is_more(crowd: Crowd) -> None:
    await crowd.fill(COUNT // 1_000, kind="records")
    spent = {name: await crowd.longest(call) for name, call in calls_of(crowd).items()}
    everything = min([await crowd.longest(lambda words=words: crowd.wire.call(*words)) for words in EVERYTHING])
    assert {name: each for name, each in spent.items() if each >= everything} == {}


async def test_what_waits_for_another_zone_costs_nothing(crowd: Crowd) -> None:
    await crowd.fill(100, kind="records")
    ledger, session = crowd.ledger, begin(new_session_id(0), replace(crowd.one.facts, destination="other"), NOW)
    await ledger.create(session, look_at=NOW, idempotency=None)
    assert await ledger.apply(verify(session, INFO, PLACES["other"], NOW))

    async def lease() -> list[Session]:
        return await ledger.lease(100, worker="w", now=NOW, until=NOW + HOLD, zones={"other"})

    assert [job.id for job in await lease()] == [session.id]
    assert await crowd.longest(lease) < 500  # of an empty poll: some ten microseconds
    assert await crowd.wire.call("ZCARD", JOBS) == 100_001


async def test_a_flood_of_leftovers_is_dropped_a_thousand_at_a_time(crowd: Crowd) -> None:
    """Strays that nobody looked at for a week, jobs whose records ended: one script must not clear them all away."""
    await crowd.fill(10, kind="leftovers")

    async def claim() -> list[str]:
        return [look.id for look in await crowd.ledger.claim(128, now=NOW, hold=HOLD)]

    async def lease() -> list[str]:
        return [job.id for job in await crowd.ledger.lease(100, worker="w", now=NOW, until=NOW + HOLD)]

    for call, schedule, wanted in ((claim, "due:{00}", crowd.one.id), (lease, JOBS, crowd.job.id)):
        found: list[str] = []
        left = [await crowd.wire.call("ZCARD", schedule)]
        while left[-1] > 1 and len(left) < 20:
            found += await call()
            left.append(await crowd.wire.call("ZCARD", schedule))
            assert 0 < left[-2] - left[-1] <= 1_000 + 128
        assert (left[0], left[-1]) == (10_001, 1)
        assert [*found, *await call()] == [wanted]  # they hide nothing, once they are gone
