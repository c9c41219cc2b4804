"""Away with a session: one that is pending is aborted, and the object of one that is settled is erased."""

from enum import StrEnum

from broker.contract import State
from uploader.client import BrokerClient, Notify
from uploader.errors import BrokerRefused

NOTHING_THERE = frozenset({State.ABORTED, State.EXPIRED})


class Removed(StrEnum):
    """What was done."""

    ABORTED = "aborted"
    """nobody can send to it any more, and what arrives late is removed"""
    ERASED = "erased"
    ERASING = "erasing"
    """nobody is given a read any more; the broker repeats the removal until the store has done it"""
    NOTHING = "nothing"
    """there was no object of its own"""


async def remove(broker: BrokerClient, session_id: str, notify: Notify, state: State | None = None) -> Removed:
    """Safe to repeat.

    :param state: as it was seen; it may have gone on since.
    :raises BrokerRefused: there is no such session, or this key may not.
    """
    if state in NOTHING_THERE:
        return Removed.NOTHING
    if state in {None, State.PENDING} and await _abort(broker, session_id, notify):
        return Removed.ABORTED
    try:
        _, is_gone = await broker.erase(session_id, notify)
    except BrokerRefused as exc:
        if exc.problem.code == "session-settled":
            return Removed.NOTHING
        raise
    return Removed.ERASED if is_gone else Removed.ERASING


async def _abort(broker: BrokerClient, session_id: str, notify: Notify) -> bool:
    """False: it is settled."""
    try:
        await broker.abort(session_id, notify)
    except BrokerRefused as exc:
        if exc.problem.code == "session-settled":
            return False
        raise
    return True
