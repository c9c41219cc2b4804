"""A batch of sessions from the broker, and what each answer means. Of an answer only what is needed is decoded."""

import re
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from broker.contract import BatchItem, Level, Problem, Reason, State, Upload
from uploader.errors import BrokerRefused
from uploader.orders import LOST


class _Guarantees(Struct, frozen=True, gc=False):
    checksum: Level


class Granted(Struct, frozen=True):
    """A session as it was minted, now or by an earlier run."""

    id: str
    state: State
    size_bytes: int
    upload: Upload | UnsetType = UNSET
    guarantees: _Guarantees | UnsetType = UNSET
    reason: Reason | UnsetType = UNSET

    @property
    def is_proved(self) -> bool:
        """The store itself refuses other bytes than the declared ones."""
        return isinstance(self.guarantees, _Guarantees) and self.guarantees.checksum is Level.ENFORCED


class GrantedOrProblem(Struct, frozen=True):
    session: Granted | UnsetType = UNSET
    problem: Problem | UnsetType = UNSET
    is_replayed: bool = False


class Grants(Struct, frozen=True):
    sessions: list[GrantedOrProblem]


def are_about(answers: Sequence[GrantedOrProblem], items: Sequence[BatchItem]) -> bool:
    """They are what was asked for: one each, and no session twice, or one file's bytes would be taken for another's."""
    if len(answers) != len(items):
        return False
    sessions = [(item, answer.session) for item, answer in zip(items, answers, strict=True) if answer.session]
    is_fitting = all(session.size_bytes == item.size_bytes for item, session in sessions)
    return is_fitting and len({session.id for _, session in sessions}) == len(sessions)


class Refusal(Enum):
    """What follows from a problem."""

    RUN = auto()  # it concerns every file: the key, the destination
    KEY = auto()  # the key is taken by another declaration: ask with a new one
    LATER = auto()
    FILE = auto()


def refusal_of(problem: Problem) -> Refusal:
    if problem.status in {401, 403, 404} or problem.code == "unknown-destination":
        return Refusal.RUN
    if problem.code == "idempotency-key-reused":
        return Refusal.KEY
    if problem.is_retryable or problem.status in {408, 425, 429} or problem.status >= 500:
        return Refusal.LATER
    return Refusal.FILE


def of_file(problem: Problem) -> BrokerRefused:
    """The refusal of one file: its pointers lead into its own declaration, wherever it stood in the batch."""
    own = [replace(each, pointer=re.sub(r"^/sessions/[0-9]+", "", each.pointer)) for each in problem.errors]
    return BrokerRefused(replace(problem, errors=own))


def is_lost(state: State) -> bool:
    return state in LOST and state is not State.FAILED
