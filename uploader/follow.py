"""What the broker makes of an object, asked until it is what was wished for."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

from uploader import events
from uploader.errors import SessionLost, WaitTimedOut
from uploader.orders import LOST, REACHED, Wait
from uploader.place import Place

FIRST_POLL = timedelta(milliseconds=50)
LONGEST_POLL = timedelta(seconds=3)

Ask = Callable[[], Awaitable[timedelta | None]]
"""Brings the place up to date and says when to ask again, if somebody knows."""


async def follow(
    place: Place,
    wait: Wait,
    ask: Ask,
    *,
    pause: timedelta | None,
    sent_at: Callable[[], float],
    timeout: timedelta,
) -> None:
    """Until the place has reached that state.

    :param sent_at: when the last byte left, on the monotonic clock; `timeout` is counted from there.
    :raises SessionLost: it has come to a bad end.
    :raises WaitTimedOut: it has not come that far.
    """
    polls, seen = 0, None
    while True:
        state = place.standing.state
        if state is not seen:
            seen = state
            place.voice.tell(
                events.StateSeen(
                    file=place.voice.file,
                    session_id=place.session.id,
                    state=state.value,
                    destination=place.destination,
                )
            )
        if state in LOST:
            raise SessionLost(state, place.reason, session_id=place.session.id)
        if state in REACHED[wait]:
            return
        rest = sent_at() + timeout.total_seconds() - time.monotonic()
        if rest <= 0:
            raise WaitTimedOut(
                f"sent, but still {state.value} after {timeout.total_seconds():g} s; "
                f"`uploader status {place.session.id}` tells more",
                session_id=place.session.id,
            )
        delay = pause or min(LONGEST_POLL, FIRST_POLL * 1.6**polls)
        await asyncio.sleep(min(delay.total_seconds(), rest))
        polls += 1
        pause = await ask()
