"""Telling webhooks: what is told when, what becomes of every answer, and that no crash loses or reorders anything."""

import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from itertools import groupby
from typing import Any

import pytest
from msgspec.structs import replace

from broker.domain.errors import LedgerUnavailable
from broker.domain.sessions import Session
from broker.domain.webhooks import GIVEN_UP_AFTER, LONGEST_PAUSE, Attempt, Webhook
from broker.ports import Answer, Delivery
from broker.services.tell import PAGE, FanOut, Tell, Told
from tests.unit.services.house import Crash, Fuse, Fused, House

HOUR = timedelta(hours=1)
TIMEOUT = timedelta(seconds=15)
HOLD = timedelta(seconds=30)
HOOK = Webhook(name="crm", keys=(b"k" * 32,))
OK = Answer(status=200)


class Receiver:
    """A `Sender` and what is behind it: answers in turn, then always the last."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = [*answers, OK]
        self.heard: list[tuple[str, str, str]] = []  # session, type, webhook-id
        self.bodies: list[dict[str, Any]] = []

    async def post(self, body: bytes, headers: Any) -> Answer:
        event = json.loads(body)
        self.bodies.append(event)
        self.heard.append((event["data"]["id"], event["type"], headers["webhook-id"]))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    def types_of(self, session: Session) -> list[str]:
        return [kind.removeprefix("session.") for session_id, kind, _ in self.heard if session_id == session.id]


class Desk:
    """A relay by hand: one webhook, one receiver, over the house's ledger."""

    def __init__(
        self,
        house: House,
        receiver: Receiver,
        webhook: Webhook = HOOK,
        *,
        fuse: Fuse | None = None,
    ) -> None:
        fuse = fuse or Fuse()
        self.house, self.receiver, self.webhook = house, receiver, webhook
        self.hooks = house.ledger.webhooks
        ledger: Any = Fused(self.hooks, fuse, LedgerUnavailable)
        sessions: Any = Fused(house.ledger, fuse, LedgerUnavailable)
        sender: Any = Fused(receiver, fuse, Crash)
        self.deliveries = ledger
        self.fan_out = FanOut(events=house.ledger, sessions=sessions, outbox=ledger, clock=house.clock)
        self.tell = Tell(
            webhook=webhook, sender=sender, deliveries=ledger, clock=house.clock, timeout=TIMEOUT, dice=lambda: 0.5
        )

    async def feed(self) -> int:
        return sum([await self.fan_out(self.webhook, shard) for shard in range(self.house.ledger.shards)])

    async def claimed(self, limit: int = 16) -> list[Delivery]:
        found: list[Delivery] = await self.deliveries.claim(
            self.webhook.name, limit, now=self.house.clock.now(), hold=HOLD
        )
        return found

    async def round(self) -> list[Told]:
        """All that is due now, and all that becomes due by it."""
        while await self.feed():
            pass
        told: list[Told] = []
        while claimed := await self.claimed():
            told += [await self.tell(delivery) for delivery in claimed]
        return told

    async def log(self) -> list[Attempt]:
        return await self.hooks.attempts(self.webhook.name)

    async def is_at_rest(self) -> bool:
        return not (await self.hooks.waiting())[self.webhook.name]


async def desk(*answers: Answer, webhook: Webhook = HOOK, house: House | None = None) -> Desk:
    """A webhook that is known before anything happens."""
    made = Desk(house or House(), Receiver(*answers), webhook)
    await made.feed()
    return made


# --- what is told


async def test_a_life_is_told_without_its_lease() -> None:
    one = await desk()
    session = await one.house.uploaded()
    await one.round()
    assert one.receiver.types_of(session) == ["verified"]
    await one.house.report(await one.house.leased(), result=b'{"rows": 3}')
    await one.round()
    assert one.receiver.types_of(session) == ["verified", "processed"]
    assert one.receiver.bodies[-1]["data"]["result"] == {"rows": 3}
    assert await one.is_at_rest()


async def test_a_job_that_comes_back_is_not_verified_again() -> None:
    one = await desk()
    session = await one.house.uploaded()
    for _ in range(3):
        await one.house.report(await one.house.leased(), "retry", retry_after_seconds=0)
    await one.round()
    assert one.receiver.types_of(session) == ["verified", "failed"]
    assert one.receiver.bodies[-1]["data"]["reason"]["code"] == "retry"
    assert one.receiver.bodies[-1]["data"]["epoch"] == 3


async def test_what_ended_badly_is_told_with_its_reason() -> None:
    one = await desk()
    minted = await one.house.minted()
    one.house.sent(minted, b"more than was declared")
    await one.house.event(minted.session.facts.key)
    await one.house.looks()
    waiting = await one.house.minted()
    await one.house.pass_time(timedelta(hours=26))
    await one.round()
    assert one.receiver.types_of(minted.session) == ["rejected"]
    assert one.receiver.types_of(waiting.session) == ["expired"]
    assert all(body["data"]["reason"]["code"] for body in one.receiver.bodies)


async def test_an_abort_is_not_told_because_its_owner_did_it() -> None:
    one = await desk()
    minted = await one.house.minted()
    await one.house.abort(minted.session)
    await one.round()
    assert one.receiver.heard == []


async def test_only_the_types_that_a_webhook_wants_are_told() -> None:
    one = await desk(webhook=replace(HOOK, types=frozenset({"session.processed"})))
    session = await one.house.uploaded()
    await one.house.report(await one.house.leased())
    await one.round()
    assert one.receiver.types_of(session) == ["processed"]


@pytest.mark.parametrize(
    "choice", [{"destinations": ("eu",)}, {"principals": ("other",)}, {"destinations": ("default",), "principals": ()}]
)
async def test_a_webhook_hears_nothing_of_what_it_did_not_name(choice: Any) -> None:
    one = await desk(webhook=replace(HOOK, **choice))
    await one.house.uploaded()
    await one.round()
    assert one.receiver.heard == []
    assert await one.is_at_rest()


async def test_a_webhook_hears_of_the_sessions_of_its_keys() -> None:
    one = await desk(webhook=replace(HOOK, destinations=("default", "eu"), principals=("app",)))
    session = await one.house.uploaded()
    await one.round()
    assert one.receiver.types_of(session) == ["verified"]


async def test_a_record_that_cannot_be_read_stops_no_webhook_and_is_judged_before_it_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one = await desk(webhook=replace(HOOK, principals=("other",)))
    broken, sound = await one.house.uploaded(), await one.house.uploaded()

    class HalfBroken:
        async def get_many(self, _: Any) -> Any:
            raise LedgerUnavailable

        async def get(self, session_id: str) -> Session | None:
            if session_id == broken.id:
                raise LedgerUnavailable
            return await one.house.ledger.get(session_id)

    monkeypatch.setattr(
        one,
        "fan_out",
        FanOut(events=one.house.ledger, sessions=HalfBroken(), outbox=one.hooks, clock=one.house.clock),  # type: ignore[arg-type]
    )
    await one.round()
    assert one.receiver.heard == []
    (attempt,) = await one.log()
    assert (attempt.session_id, attempt.outcome, attempt.error) == (broken.id, "dropped", "unwanted")
    assert sound.id != broken.id


async def test_while_no_record_can_be_read_the_cursor_stays() -> None:
    one = await desk(webhook=replace(HOOK, principals=("app",)))
    await one.house.uploaded()

    class Away:
        async def get_many(self, _: Any) -> Any:
            raise LedgerUnavailable

        get = get_many

    before = await one.hooks.cursor(0, HOOK.name)
    fan_out = FanOut(events=one.house.ledger, sessions=Away(), outbox=one.hooks, clock=one.house.clock)  # type: ignore[arg-type]
    with pytest.raises(LedgerUnavailable):
        await fan_out(one.webhook, 0)
    assert await one.hooks.cursor(0, HOOK.name) == before


async def test_a_session_whose_record_is_gone_is_dropped_and_noted() -> None:
    one = await desk()
    session = await one.house.uploaded()
    await one.feed()
    one.house.ledger._shards["00"].sessions.drop(session.id)
    await one.round()
    assert one.receiver.heard == []
    assert [attempt.outcome for attempt in await one.log()] == ["dropped"]
    assert await one.is_at_rest()


async def test_more_than_a_page_is_told_whole() -> None:
    one = await desk()
    for _ in range(PAGE // 2 + 10):  # two events each
        minted = await one.house.minted()
        await one.house.abort(minted.session)
    await one.house.uploaded()
    assert await one.feed() == PAGE
    await one.round()
    assert len(one.receiver.heard) == 1


# --- what becomes of an answer


async def test_a_failure_comes_back_later_with_the_same_id_and_body() -> None:
    one = await desk(Answer(status=500), Answer(error="timeout"))
    await one.house.uploaded()
    await one.round()
    assert len(one.receiver.heard) == 1
    one.house.clock.advance(timedelta(seconds=5))
    await one.round()
    assert len(one.receiver.heard) == 2
    one.house.clock.advance(timedelta(seconds=30))
    await one.round()
    assert len(set(one.receiver.heard)) == 1
    assert one.receiver.bodies[0] == one.receiver.bodies[2]
    log = [(attempt.attempt, attempt.outcome, attempt.status, attempt.error) for attempt in await one.log()]
    assert log == [(1, "failed", 500, None), (2, "failed", None, "timeout"), (3, "delivered", 200, None)]


async def test_what_comes_later_waits_for_what_failed() -> None:
    one = await desk(Answer(status=500))
    session, other = await one.house.uploaded(), await one.house.uploaded()
    await one.round()
    for job in await one.house.lease(2, worker="w", wait=timedelta(0)):
        await one.house.report(job)
    await one.round()
    failed, passed = (session, other) if one.receiver.heard[0][0] == session.id else (other, session)
    assert one.receiver.types_of(failed) == ["verified"]
    assert one.receiver.types_of(passed) == ["verified", "processed"]
    one.house.clock.advance(HOUR)
    await one.round()
    assert one.receiver.types_of(failed) == ["verified", "verified", "processed"]
    assert await one.is_at_rest()


async def test_after_a_day_it_is_given_up_and_the_next_is_told(caplog: pytest.LogCaptureFixture) -> None:
    one = await desk(Answer(status=500))
    one.receiver.answers = [Answer(status=500)]
    session = await one.house.uploaded()
    began = one.house.clock.now()
    while not await one.is_at_rest() or not one.receiver.heard:
        await one.round()
        one.house.clock.advance(timedelta(seconds=1 if one.house.clock.now() - began < HOUR else 600))
        assert one.house.clock.now() - began < GIVEN_UP_AFTER + HOUR
    log = await one.log()
    assert [attempt.outcome for attempt in log] == ["failed"] * (len(log) - 1) + ["given-up"]
    assert 12 <= len(log) <= 16
    assert began + GIVEN_UP_AFTER <= log[-1].at < began + GIVEN_UP_AFTER + HOUR
    assert any(record.message == "webhook.given-up" for record in caplog.records)
    one.receiver.answers = [OK]
    await one.house.report(await one.house.leased())
    await one.round()
    assert one.receiver.types_of(session)[-1] == "processed"


async def test_an_endpoint_that_asks_for_patience_gets_it() -> None:
    one = await desk(Answer(status=503, retry_after=timedelta(minutes=7)))
    await one.house.uploaded()
    (told,) = await one.round()
    assert told.pause == timedelta(minutes=7)
    one.house.clock.advance(timedelta(minutes=6))
    assert await one.round() == []
    one.house.clock.advance(timedelta(minutes=1))
    assert len(await one.round()) == 1


async def test_an_endpoint_that_is_gone_is_left_alone() -> None:
    one = await desk(Answer(status=410))
    await one.house.uploaded()
    (told,) = await one.round()
    assert told.pause == LONGEST_PAUSE
    assert not await one.is_at_rest()


async def test_a_claim_that_may_be_somebody_else_s_by_now_is_not_begun() -> None:
    one = await desk()
    await one.house.uploaded()
    await one.feed()
    (claimed,) = await one.claimed()
    one.house.clock.advance(HOLD - TIMEOUT + timedelta(milliseconds=1))  # this process slept
    assert await one.tell(claimed) == Told()
    assert one.receiver.heard == []
    one.house.clock.advance(HOLD)
    await one.round()
    assert len(one.receiver.heard) == 1


async def test_the_log_line_of_a_delivery_holds_no_url_and_no_body(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    one = await desk()
    await one.house.uploaded(metadata={"case": "secret-17"})
    await one.round()
    assert "secret-17" not in caplog.text
    (record,) = [record for record in caplog.records if record.message == "webhook.delivered"]
    assert record.webhook == "crm"  # type: ignore[attr-defined]


# --- crashes


async def lives(house: House) -> dict[str, list[str]]:
    """Sessions that went every way there is, and what must be told of each."""
    processed, failed = await house.uploaded(), await house.uploaded()
    for job in await house.lease(2, worker="w", wait=timedelta(0)):
        await house.report(job, "processed" if job.id == processed.id else "failed")
    rejected = await house.minted()
    house.sent(rejected, b"more than was declared")
    await house.event(rejected.session.facts.key)
    await house.looks()
    verified = await house.uploaded()
    return {
        processed.id: ["session.verified", "session.processed"],
        failed.id: ["session.verified", "session.failed"],
        rejected.session.id: ["session.rejected"],
        verified.id: ["session.verified"],
    }


async def survive(house: House, act: Callable[[], Awaitable[Any]]) -> None:
    """Another relay takes over when the claims of the dead one have run out."""
    for _ in range(3):
        with suppress(Crash, LedgerUnavailable):
            await act()
            return
        house.clock.advance(HOLD)
    raise AssertionError("one fuse burns once")


async def relayed(fuse: Fuse) -> None:
    house = House(shards=2)
    one = Desk(house, Receiver(OK, Answer(status=500), OK, Answer(error="timeout")), fuse=fuse)
    await survive(house, one.feed)
    expected = await lives(house)
    for _ in range(10):
        await survive(house, one.round)
        house.clock.advance(timedelta(minutes=2))
    assert await one.is_at_rest()
    for session_id, types in expected.items():
        heard = [(kind, webhook_id) for other, kind, webhook_id in one.receiver.heard if other == session_id]
        assert [kind for (kind, _), _ in groupby(heard)] == types, "told twice is fine, out of order or never is not"
    told = {attempt.webhook_id for attempt in await one.log() if attempt.outcome == "delivered"}
    assert len(told) == sum(map(len, expected.values()))


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["crash", "answer lost"])
async def test_a_crash_at_any_call_loses_and_reorders_nothing(is_answer_lost: bool) -> None:
    calm = Fuse()
    await relayed(calm)
    assert calm.calls >= 30
    for n in range(1, calm.calls + 1):
        try:
            await relayed(Fuse(burns_at=n, is_answer_lost=is_answer_lost))
        except Exception as exc:
            raise AssertionError(f"a fuse at call {n} changed the end") from exc
