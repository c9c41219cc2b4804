"""Uploads by a URI, with a crash before every single call to ledger and store, and every answer lost once.

A URI that nobody was given may live on; one that was given to anybody is dead in the end.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from broker.contract import State
from broker.domain.errors import CompletionInProgress
from tests.memory_resumable import MULTIPLE
from tests.unit.services.house import APP, PLACE, Fuse, House, survive
from tests.unit.services.resumables import BY_URI, house_of, uri_of
from tests.unit.services.test_crashes import happened_once, look_until, rest, work
from tests.unit.services.test_crashes_in_parts import Twice

Life = Callable[[House], Awaitable[None]]


async def mint(house: House) -> str:
    minted = await survive(house, lambda: house.mint(APP, BY_URI, "key"))
    return str(minted.session.id)


async def ask(house: House, session_id: str) -> str:
    session = await house.session(session_id)
    _, upload = await survive(house, lambda: house.remint(session))
    return uri_of(upload)


async def send(house: House, session_id: str, up_to: int | None = None) -> str:
    uri = await ask(house, session_id)
    house.bucket.resumables.send_by(uri, up_to)
    return uri


async def sent_in_pieces(house: House) -> None:
    session_id = await mint(house)
    first = await send(house, session_id, MULTIPLE)
    assert await send(house, session_id) == first  # taken up again: the same URI
    session = await house.session(session_id)
    house.clock.advance(timedelta(seconds=1))
    await survive(house, lambda: house.complete(session))
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await rest(house)
    await happened_once(house)
    assert not house.bucket.resumables.lives(first)


async def sent_by_a_client_that_died(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


async def whole_at_the_deadline(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    house.clock.advance(PLACE.policy.deadline)
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


async def expired(house: House) -> None:
    house.bucket.resumables.cancels_needed = 2
    session_id = await mint(house)
    uri = await send(house, session_id, 2 * MULTIPLE)
    house.clock.advance(PLACE.policy.deadline)
    await look_until(house, session_id, State.EXPIRED)
    assert not house.bucket.resumables.lives(uri)
    await rest(house)
    assert await house.states() == [State.PENDING, State.EXPIRED]
    assert house.bucket.stored == {}


async def aborted(house: House) -> None:
    house.bucket.resumables.cancels_needed = 2
    session_id = await mint(house)
    uri = await send(house, session_id, MULTIPLE)
    session = await house.session(session_id)
    await survive(house, lambda: house.abort(session))
    await rest(house)
    assert house.clock.now() < session.facts.expires_at
    assert not house.bucket.resumables.lives(uri)
    assert await house.states() == [State.PENDING, State.ABORTED]
    assert house.bucket.stored == {}


async def aborted_as_it_ends(house: House) -> None:
    """The last piece is in the store before the cancellation, and after the owner's word."""
    session_id = await mint(house)
    uri = await send(house, session_id, MULTIPLE)
    session = await house.session(session_id)
    await survive(house, lambda: house.abort(session))
    house.bucket.resumables.send_by(uri)
    await rest(house)
    assert house.clock.now() < session.facts.expires_at
    assert house.bucket.removed == [session.facts.key]
    assert await house.states() == [State.PENDING, State.ABORTED]


async def rejected(house: House) -> None:
    """The store did not keep to the size that was declared."""
    session_id = await mint(house)
    uri = await ask(house, session_id)
    house.bucket.resumables.finish(uri, BY_URI.size_bytes + 1)
    await look_until(house, session_id, State.REJECTED)
    await rest(house)
    assert house.clock.now() < (await house.session(session_id)).facts.expires_at
    assert await house.states() == [State.PENDING, State.REJECTED]
    assert house.bucket.stored == {}


async def lost_by_the_store(house: House) -> None:
    session_id = await mint(house)
    first = await send(house, session_id, MULTIPLE)
    house.bucket.resumables.forget((await house.session(session_id)).facts.key)
    house.clock.advance(timedelta(hours=1))
    for _ in range(20):
        try:
            second = await send(house, session_id)
            break
        except CompletionInProgress:
            house.clock.advance(timedelta(seconds=3))
    assert second != first
    await look_until(house, session_id, State.VERIFIED)
    assert await work(house) == 1
    await happened_once(house)


async def erased(house: House) -> None:
    session_id = await mint(house)
    await send(house, session_id)
    await look_until(house, session_id, State.VERIFIED)
    session = await house.session(session_id)
    await survive(house, lambda: house.erase(session))
    await rest(house)
    assert house.clock.now() < session.facts.expires_at
    assert house.bucket.stored == {}
    assert (await house.session(session_id)).facts.is_removed


LIVES: list[Life] = [
    sent_in_pieces,
    sent_by_a_client_that_died,
    whole_at_the_deadline,
    expired,
    aborted,
    aborted_as_it_ends,
    rejected,
    lost_by_the_store,
    erased,
]


@pytest.mark.parametrize("is_answer_lost", [False, True], ids=["crash", "answer lost"])
@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
async def test_a_crash_at_any_call_changes_nothing_but_time(life: Life, is_answer_lost: bool) -> None:
    calm = house_of()
    await life(calm)
    assert await calm.is_at_rest()
    assert calm.fuse.calls >= 10
    for n in range(1, calm.fuse.calls + 1):
        house = house_of(fuse=Fuse(burns_at=n, is_answer_lost=is_answer_lost))
        try:
            await life(house)
            assert await house.is_at_rest()
        except Exception as exc:
            raise AssertionError(f"a fuse at call {n} changed the end") from exc


async def test_two_crashes_in_a_row_leave_nothing_either() -> None:
    """The second comes while the first is being mended."""
    for life in (aborted, expired, lost_by_the_store):
        calm = house_of()
        await life(calm)
        for first in range(1, calm.fuse.calls + 1, 2):
            for gap in (1, 2, 3, 5):
                await life(house_of(fuse=Twice(burns_at=first, again_at=first + gap)))
