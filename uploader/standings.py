"""Where many sessions stand, in the few words that a tree of files needs: the rest of an answer is not even decoded."""

from collections.abc import Sequence

import msgspec
from msgspec import Struct

from broker.contract import Problem, Reason, State
from uploader.errors import Unreachable


class Standing(Struct, frozen=True, gc=False):
    """One session, as the broker knows it."""

    id: str
    state: State
    reason: Reason | None = None


class Told(Struct, frozen=True, gc=False):
    """What the broker says of one id: a session or a problem.

    :ivar is_looked_at: only of a completion: the session is settled, or the store was asked after the broker was.
        Pending and looked at means that nothing is there, or not all of its parts.
    """

    session: Standing | None = None
    problem: Problem | None = None
    is_looked_at: bool = False


class _Answers(Struct, frozen=True):
    sessions: list[Told]


_decode = msgspec.json.Decoder(_Answers).decode


def told_of(ids: Sequence[str], body: bytes) -> list[Told]:
    """In the order of `ids`.

    :raises Unreachable: these are no answers to what was asked.
    """
    try:
        answers = _decode(body).sessions
    except msgspec.DecodeError as exc:
        raise Unreachable(f"the broker's answer is not understood: {exc}") from exc
    if len(answers) != len(ids) or not all(_is_of(*pair) for pair in zip(ids, answers, strict=True)):
        raise Unreachable("the broker's answer is not about the sessions that were asked for")
    return answers


def _is_of(session_id: str, told: Told) -> bool:
    if told.session is None:
        return told.problem is not None
    return told.session.id == session_id
