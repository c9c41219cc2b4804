"""A batch under trouble: what is left when the process dies in the middle, and who has to wait for it."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from broker.contract import MultipartUpload, PutUpload, State
from broker.domain.errors import (
    BrokerError,
    LedgerUnavailable,
    QuotaExceeded,
    RateLimited,
    StoreUnavailable,
    UnknownDestination,
)
from broker.services.drafts import Minted
from broker.services.mint_batch import CALLS_AT_ONCE, DRAFTS_A_TURN, RECORDED_AT_ONCE, Wish
from broker.services.turns import Turns, pieces
from tests.unit.services.house import APP, WISH, Crash, Fuse, House, survive

IN_PARTS = replace(WISH, strategy="multipart", size_bytes=20 * 2**20)
BATCH = [Wish(WISH, "one"), Wish(IN_PARTS, "two"), Wish(replace(WISH, filename="x"), "three")]


async def whole(house: House) -> list[Minted]:
    """As a client that sends again what may be sent again."""
    try:
        answers = await house.mint_batch(APP, BATCH)
    except* Crash:  # of several tasks
        answers = []
    if not answers:
        raise Crash
    for answer in answers:
        if isinstance(answer, BrokerError):
            raise answer if isinstance(answer, LedgerUnavailable | StoreUnavailable) else StoreUnavailable
    return [answer for answer in answers if isinstance(answer, Minted)]


@pytest.mark.parametrize("is_answer_lost", [False, True])
@pytest.mark.parametrize("burns_at", range(1, 8))
async def test_a_crash_anywhere_leaves_what_the_same_batch_finds_again(burns_at: int, is_answer_lost: bool) -> None:
    house = House(fuse=Fuse(burns_at=burns_at, is_answer_lost=is_answer_lost), shards=3)
    minted: list[Minted] = await survive(house, lambda: whole(house))
    assert len({one.session.id for one in minted}) == 3
    uploads = [one.upload for one in minted]
    assert [type(upload) for upload in uploads] == [PutUpload, MultipartUpload, PutUpload]
    assert {event.id for event in await house.events()} == {one.session.id for one in minted}
    assert (await house.ledger.usage(APP.id)).sessions == 3
    assert house.fuse.calls >= burns_at
    house.fuse.burns_at = None
    house.sent(minted[0])
    await house.pass_time(timedelta(minutes=2))
    assert (await house.session(minted[0].session.id)).state is State.VERIFIED


async def test_each_item_stands_in_its_place() -> None:
    house = House(shards=5)
    wishes = [
        Wish(replace(WISH, filename=str(number), destination="default" if number % 3 else "nowhere"), None)
        for number in range(3 * RECORDED_AT_ONCE)
    ]
    answers = await house.mint_batch(APP, wishes)
    for number, answer in enumerate(answers):
        if number % 3:
            assert isinstance(answer, Minted)
            assert answer.session.facts.spec.filename == str(number)
        else:
            assert isinstance(answer, UnknownDestination)


async def test_an_empty_batch_asks_nobody() -> None:
    house = House()
    assert await house.mint_batch(APP, []) == []
    assert house.fuse.calls == 0


async def test_the_store_is_asked_by_some_at_a_time() -> None:
    house, now, most = House(), 0, 0

    async def slow() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0)
        now -= 1

    house.bucket.uploads.before_open = slow
    answers = await house.mint_batch(APP, [Wish(IN_PARTS, None)] * 50)
    assert all(isinstance(answer, Minted) for answer in answers)
    assert 1 < most <= CALLS_AT_ONCE


async def test_all_moments_of_a_batch_are_one() -> None:
    house = House()
    answers: list[Any] = await house.mint_batch(APP, [Wish(WISH, None)] * 20)
    assert len({answer.session.facts.created_at for answer in answers}) == 1
    assert len({answer.session.id for answer in answers}) == 20


# --- turns


async def test_turns_are_short_and_shared_by_all_in_the_order_they_came() -> None:
    turns, taken = Turns(), []

    async def work(name: str) -> None:
        for _ in range(3):
            async with turns:
                taken.append(name)

    await asyncio.gather(work("a"), work("b"), work("c"))
    assert taken == ["a", "b", "c"] * 3


async def test_between_turns_the_loop_serves_others() -> None:
    turns, served = Turns(), 0

    async def others() -> None:
        nonlocal served
        while True:
            served += 1
            await asyncio.sleep(0)

    other = asyncio.ensure_future(others())
    for number in range(10):
        async with turns:
            assert served >= number
    other.cancel()


async def test_a_turn_that_fails_makes_way() -> None:
    turns = Turns()
    with pytest.raises(RuntimeError):
        async with turns:
            raise RuntimeError
    async with asyncio.timeout(1), turns:
        pass


def test_pieces_are_all_there_is() -> None:
    assert [[*piece] for piece in pieces(range(5), 2)] == [[0, 1], [2, 3], [4]]
    assert [*pieces([], 2)] == []
    assert DRAFTS_A_TURN <= 32


# --- limits of a key


async def test_a_key_at_its_rate_gets_the_first_of_a_batch() -> None:
    house = House()
    key = replace(APP, sessions_per_second=1, burst=3)
    answers = await house.mint_batch(key, [Wish(WISH, None)] * 5)
    assert [isinstance(answer, Minted) for answer in answers] == [True] * 3 + [False] * 2
    assert all(isinstance(answer, RateLimited) for answer in answers[3:])
    assert len(await house.events()) == 3


async def test_a_key_gets_what_its_quota_leaves() -> None:
    house = House()
    key = replace(APP, max_pending_bytes=5 * WISH.size_bytes)
    answers = await house.mint_batch(key, [Wish(WISH, None)] * 40)
    assert [isinstance(answer, Minted) for answer in answers] == [True] * 5 + [False] * 35
    assert all(isinstance(answer, QuotaExceeded) for answer in answers[5:])
    assert (await house.ledger.usage(APP.id)).sessions == 5


async def test_what_is_announced_is_not_looked_at_before_that_unless_nobody_keeps_the_promise() -> None:
    house = House()
    policy = house.place.policy
    answers = await house.mint_batch(APP, [Wish(WISH, "one", is_announced=True), Wish(WISH, "two")])
    announced, other = [answer.session.id for answer in answers if isinstance(answer, Minted)]
    assert await house.ledger.next_due() == house.clock.now() + policy.first_look
    for answer in answers:
        house.sent(answer)
    await house.pass_time(policy.first_look)
    assert (await house.session(other)).state is State.VERIFIED
    assert (await house.session(announced)).state is State.PENDING

    await house.pass_time(policy.longest_look_interval)

    assert (await house.session(announced)).state is State.VERIFIED


async def test_a_batch_that_is_announced_is_the_same_request_as_one_that_is_not() -> None:
    house = House()
    (first,) = await house.mint_batch(APP, [Wish(WISH, "one")])
    (again,) = await house.mint_batch(APP, [Wish(WISH, "one", is_announced=True)])
    assert isinstance(first, Minted)
    assert isinstance(again, Minted)
    assert (again.is_replay, again.session.id) == (True, first.session.id)
