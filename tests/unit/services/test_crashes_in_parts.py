"""Uploads in parts, with a crash before every single call to ledger and store, and every answer lost once."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from broker.contract import State
from broker.domain.errors import CompletionInProgress
from tests.unit.services.house import APP, PLACE, Fuse, House, parts_of, survive
from tests.unit.services.parts import IN_PARTS, send_parts
from tests.unit.services.test_crashes import happened_once, look_until, rest, work

Life = Callable[[House], Awaitable[None]]


async def mint(house: House) -> str:
    minted = await survive(house, lambda: house.mint(APP, IN_PARTS, "key"))
    return str(minted.session.id)


async def send(house: House, session_id: str, *numbers: int) -> None:
    session = await house.session(session_id)
    _, upload = await survive(house, lambda: house.remint(session))
    send_parts(house, parts_of(upload).parts, *numbers)


async def complete_until(house: House, session_id: str, state: State) -> None:
    """A client that asks again and again, and no looker."""
    for _ in range(400):
        session = await house.session(session_id)
        house.clock.advance(timedelta(seconds=1))
        if (await survive(house, lambda session=session: house.complete(session))).state is state:
            return
    raise AssertionError("it is never completed")


def nothing_is_left(house: House) -> None:
    assert house.bucket.uploads.unfinished == {}
    assert len(house.bucket.uploads.completed) <= 1


async def completed_by_its_client(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id, 1)
    await send(house, session_id)  # resumed: what is missing
    await complete_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await rest(house)
    await happened_once(house)
    nothing_is_left(house)


async def completed_for_a_client_that_died(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await rest(house)
    await happened_once(house)
    nothing_is_left(house)


async def completed_at_the_deadline(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    house.clock.advance(PLACE.policy.deadline)
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)
    nothing_is_left(house)


async def expired_incomplete(house: House) -> None:
    house.bucket.uploads.aborts_needed = 2
    session_id = await mint(house)
    await send(house, session_id, 1, 3)
    house.clock.advance(PLACE.policy.deadline)
    await look_until(house, session_id, State.EXPIRED)
    await rest(house)
    assert await house.states() == [State.PENDING, State.EXPIRED]
    nothing_is_left(house)
    assert house.bucket.stored == {}


async def aborted(house: House) -> None:
    house.bucket.uploads.aborts_needed = 2
    session_id = await mint(house)
    await send(house, session_id, 2)
    session = await house.session(session_id)
    await survive(house, lambda: house.abort(session))
    await rest(house)
    assert await house.states() == [State.PENDING, State.ABORTED]
    nothing_is_left(house)
    assert house.bucket.stored == {}


async def rejected(house: House) -> None:
    """Somebody with rights of his own completes other parts under our capsule."""
    session_id = await mint(house)
    await send(house, session_id)

    async def spoil() -> None:
        house.bucket.tamper((await house.session(session_id)).facts.key, size_bytes=1)

    house.bucket.uploads.after_complete = spoil
    await look_until(house, session_id, State.REJECTED)
    await rest(house)
    assert await house.states() == [State.PENDING, State.REJECTED]
    nothing_is_left(house)
    assert house.bucket.stored == {}


async def lost_to_a_lifecycle_rule(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id, 1)
    house.clock.advance(timedelta(hours=1))
    house.bucket.uploads.forget((await house.session(session_id)).facts.key)
    for _ in range(20):
        try:
            await send(house, session_id)
            break
        except CompletionInProgress:
            house.clock.advance(timedelta(seconds=3))
            await survive(house, house.looks)
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)
    nothing_is_left(house)


LIVES: list[Life] = [
    completed_by_its_client,
    completed_for_a_client_that_died,
    completed_at_the_deadline,
    expired_incomplete,
    aborted,
    rejected,
    lost_to_a_lifecycle_rule,
]


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["crash", "answer lost"])
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
async def test_a_crash_at_any_call_changes_nothing_but_time(life: Life, is_answer_lost: bool) -> None:
    calm = House()
    await life(calm)
    assert await calm.is_at_rest()
    assert calm.fuse.calls >= 10
    for n in range(1, calm.fuse.calls + 1):
        house = House(fuse=Fuse(burns_at=n, is_answer_lost=is_answer_lost))
        try:
            await life(house)
            assert await house.is_at_rest()
        except Exception as exc:
            raise AssertionError(f"a fuse at call {n} changed the end") from exc


async def test_two_crashes_in_a_row_leave_nothing_either() -> None:
    """The second comes while the first is being mended."""
    calm = House()
    await completed_for_a_client_that_died(calm)
    for first in range(1, calm.fuse.calls + 1, 2):
        for gap in (1, 2, 3, 5, 8):
            fuse = Twice(burns_at=first, again_at=first + gap)
            await completed_for_a_client_that_died(House(fuse=fuse))


class Twice(Fuse):
    """Burns at two calls."""

    def __init__(self, *, burns_at: int, again_at: int) -> None:
        super().__init__(burns_at=burns_at)
        self._again_at = again_at

    async def run(self, call: Callable[[], Awaitable[object]], trouble: type) -> object:
        if self.burns_at is not None and self.calls >= self.burns_at:
            self.burns_at = self._again_at
        return await super().run(call, trouble)
