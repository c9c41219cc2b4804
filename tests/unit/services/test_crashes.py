"""The process dies before every single call to ledger and store, and every answer is lost once: nothing else changes.

Each life is played once to count its calls, then once for each of them with a fuse there. Everybody does what he does
after a crash: the client sends again with its Idempotency-Key, the bucket tells again or not at all, a looker takes the
claims that ran out, a consumer reports again and takes another lease when it lost its own.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import pairwise

import pytest
from msgspec.structs import replace

from broker.contract import State
from broker.domain.errors import LeaseLost
from broker.domain.objects import CAPSULE_FIELD
from tests.memory_bucket import PutRefused
from tests.unit.services.house import APP, HOLD, PLACE, WISH, Fuse, House, request_of, survive

Life = Callable[[House], Awaitable[None]]
NOW = timedelta(0)


async def mint(house: House) -> str:
    minted = await survive(house, lambda: house.mint(APP, WISH, "key"))
    return str(minted.session.id)


async def send(house: House, session_id: str, body: bytes | None = None) -> None:
    session = await house.session(session_id)
    _, upload = await survive(house, lambda: house.remint(session))
    house.bucket.send(request_of(upload), body)


async def look_until(house: House, session_id: str, *states: State) -> None:
    """Lookers come and go; a claim of a dead one runs out."""
    for _ in range(200):
        await survive(house, house.looks)
        session = await house.ledger.get(session_id)
        if session and session.state in states:
            return
        house.clock.advance(HOLD)
    raise AssertionError("it never settles")


async def work(house: House) -> int:
    """A consumer that only gives up when it is told that it lost its lease. How often it was told of success."""
    for _ in range(20):
        jobs = await survive(house, lambda: house.lease(10, worker="w", wait=NOW))
        for job in jobs:
            try:
                session = await survive(house, lambda job=job: house.report(job))
            except LeaseLost:
                continue
            assert session.state is State.PROCESSED
            return 1
        house.clock.advance(timedelta(seconds=61))
    raise AssertionError("it never gets work")


async def rest(house: House) -> None:
    for _ in range(200):
        await survive(house, house.looks)
        following = await house.ledger.next_due()
        if following is None:
            return
        house.clock.advance_to(following)
    raise AssertionError("it never comes to rest")


async def happened_once(house: House) -> None:
    """Begun once, settled once, finished once; in between any number of leases."""
    states = await house.states()
    settled = [state for before, state in pairwise(states) if before in {State.PENDING, State.EXPIRED}]
    assert settled.count(State.VERIFIED) == 1
    assert states.count(State.PENDING) == states.count(State.PROCESSED) == 1
    assert states[-1] is State.PROCESSED


async def processed(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    session = await house.session(session_id)
    await survive(house, lambda: house.event(session.facts.key))
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await rest(house)
    await happened_once(house)
    assert (await house.states()).count(State.PROCESSING) == (await house.session(session_id)).progress.epoch


async def processed_without_event(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


async def completed_by_its_client(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    with pytest.raises(PutRefused, match="412"):  # the answer was lost, the client sends again
        await send(house, session_id)
    session = await house.session(session_id)
    house.clock.advance(timedelta(seconds=1))
    await survive(house, lambda: house.complete(session))
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


async def retried(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    await look_until(house, session_id, State.VERIFIED)
    for _ in range(10):
        jobs = await survive(house, lambda: house.lease(10, worker="w", wait=NOW))
        if jobs:
            try:
                await survive(house, lambda job=jobs[0]: house.report(job, "retry"))
            except LeaseLost:
                continue
            break
        house.clock.advance(timedelta(seconds=61))
    assert (await house.session(session_id)).attempts.failures == 1
    house.clock.advance(timedelta(minutes=10))
    assert await work(house) == 1


async def given_back(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    await look_until(house, session_id, State.VERIFIED)
    jobs = await survive(house, lambda: house.lease(10, worker="w", wait=NOW))
    for job in jobs:
        lease = {"token": job.lease.token, "epoch": job.lease.epoch}
        with suppress(LeaseLost):
            await survive(house, partial(house.release, job.id, **lease, cause="infrastructure"))
    house.clock.advance(timedelta(minutes=10))
    assert await work(house) == 1
    assert (await house.session(session_id)).attempts.failures == 0


async def rejected(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id, b"more than was declared")
    session = await house.session(session_id)
    await survive(house, lambda: house.event(session.facts.key))
    await look_until(house, session_id, State.REJECTED)
    await rest(house)
    assert house.bucket.removed == [session.facts.key]
    assert await house.states() == [State.PENDING, State.REJECTED]


async def expired(house: House) -> None:
    session_id = await mint(house)
    house.clock.advance(PLACE.policy.deadline)
    await look_until(house, session_id, State.EXPIRED)
    await rest(house)
    assert await house.states() == [State.PENDING, State.EXPIRED]


async def late(house: House) -> None:
    session_id = await mint(house)
    session = await house.session(session_id)
    _, upload = await survive(house, lambda: house.remint(session))
    house.clock.advance(PLACE.policy.deadline)
    await look_until(house, session_id, State.EXPIRED)
    capsule = {CAPSULE_FIELD: request_of(upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]}
    house.bucket.store(session.facts.key, size_bytes=12, content_type="text/csv", metadata=capsule)
    await survive(house, lambda: house.event(session.facts.key))
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


async def aborted(house: House) -> None:
    session_id = await mint(house)
    session = await house.session(session_id)
    _, upload = await survive(house, lambda: house.remint(session))
    await survive(house, lambda: house.abort(session))
    house.bucket.send(request_of(upload))
    await rest(house)
    assert house.bucket.removed == [session.facts.key]
    assert await house.states() == [State.PENDING, State.ABORTED]


async def adopted(house: House) -> None:
    minted = await survive(house, lambda: house.mint(APP, WISH, "key"))
    house.sent(minted)
    house.lose_ledger()
    await survive(house, lambda: house.event(minted.session.facts.key))
    await look_until(house, minted.session.id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


LIVES: list[Life] = [
    processed,
    processed_without_event,
    completed_by_its_client,
    retried,
    given_back,
    rejected,
    expired,
    late,
    aborted,
    adopted,
]


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["crash", "answer lost"])
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
async def test_a_crash_at_any_call_changes_nothing_but_time(life: Life, is_answer_lost: bool) -> None:
    calm = House()
    await life(calm)
    assert await calm.is_at_rest()
    assert calm.fuse.calls >= 5
    for n in range(1, calm.fuse.calls + 1):
        house = House(fuse=Fuse(burns_at=n, is_answer_lost=is_answer_lost))
        try:
            await life(house)
            assert await house.is_at_rest()
        except Exception as exc:
            raise AssertionError(f"a fuse at call {n} changed the end") from exc


async def test_a_bucket_that_keeps_late_bytes_out_survives_crashes_too() -> None:
    place = replace(PLACE, late="remove")

    async def unwelcome(house: House) -> None:
        minted = await survive(house, lambda: house.mint(APP, WISH, "key"))
        session_id, key = minted.session.id, minted.session.facts.key
        capsule = request_of(minted.upload).headers[f"x-amz-meta-{CAPSULE_FIELD}"]
        house.clock.advance(place.policy.deadline)
        await look_until(house, session_id, State.EXPIRED)
        house.bucket.store(key, size_bytes=12, content_type="text/csv", metadata={CAPSULE_FIELD: capsule})
        await survive(house, lambda: house.event(key))
        await rest(house)
        assert house.bucket.removed == [key]
        assert await house.states() == [State.PENDING, State.EXPIRED]

    calm = House(place)
    await unwelcome(calm)
    for n in range(1, calm.fuse.calls + 1):
        await unwelcome(House(place, fuse=Fuse(burns_at=n)))
        await unwelcome(House(place, fuse=Fuse(burns_at=n, is_answer_lost=True)))
