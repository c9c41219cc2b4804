"""Erasing as a pure step: what it does to each state, what it schedules, and what it refuses."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import LeaseLost, ObjectErased, SessionNotVerified, SessionSettled
from broker.domain.jobs import finish, leased_at
from broker.domain.objects import stored_object
from broker.domain.sessions import ERASED, FOREIGN_OBJECT, TRANSITIONS, Session, erase, erased, is_cut_short, quiet_at
from tests.clock import START
from tests.unit.domain.samples import INFO, PLACE, pending

NOW = START + timedelta(minutes=1)
SILENT = replace(PLACE, processing="none")
HAVING = (State.VERIFIED, State.PROCESSING, State.PROCESSED, State.FAILED, State.REJECTED)


def at(state: State, *, reason: Reason | None = None) -> Session:
    """With an object of its own."""
    fresh = pending()
    facts = replace(fresh.facts, stored=stored_object(INFO), reason=reason)
    return replace(fresh, progress=replace(fresh.progress, state=state, revision=5, epoch=1), facts=facts)


@pytest.mark.parametrize("state", HAVING)
def test_the_removal_is_due_at_once_and_the_record_stays_until_it_is_done(state: State) -> None:
    change = erase(at(state), PLACE, NOW)
    assert (change.look_at, change.job_at, change.keep_for) == (NOW, None, None)
    assert change.after.facts.erased_at == NOW
    assert change.after.facts.stored == stored_object(INFO)


@pytest.mark.parametrize("state", [State.VERIFIED, State.PROCESSING])
def test_a_job_that_is_not_done_has_failed(state: State) -> None:
    change = erase(at(state), PLACE, NOW)
    assert State.FAILED in TRANSITIONS[state]
    assert change.is_transition
    assert change.after.state is State.FAILED
    assert change.after.facts.reason is not None
    assert change.after.facts.reason.code == ERASED
    assert is_cut_short(change.after)


def test_its_consumer_has_lost_its_lease() -> None:
    session = at(State.PROCESSING)
    change = erase(session, PLACE, NOW)
    assert leased_at(change.after, 1) == session.progress.changed_at
    with pytest.raises(LeaseLost):
        finish(change.after, State.PROCESSED, NOW, PLACE.policy)


@pytest.mark.parametrize("state", [State.PROCESSED, State.FAILED, State.REJECTED])
def test_what_has_ended_stays_as_it_ended(state: State) -> None:
    reason = Reason(code="parse-error", message="line 3")
    change = erase(at(state, reason=reason), PLACE, NOW)
    assert not change.is_transition
    assert (change.after.state, change.after.facts.reason) == (state, reason)
    assert not is_cut_short(change.after)
    assert change.after.progress.revision == 6


def test_where_nothing_is_processed_verified_is_an_end_too() -> None:
    change = erase(at(State.VERIFIED), SILENT, NOW)
    assert (change.after.state, change.is_transition) == (State.VERIFIED, False)


def test_a_pending_upload_is_aborted_instead() -> None:
    with pytest.raises(SessionNotVerified, match="aborted"):
        erase(at(State.PENDING), PLACE, NOW)


@pytest.mark.parametrize("state", [State.EXPIRED, State.ABORTED])
def test_where_nothing_was_judged_there_is_nothing_to_erase(state: State) -> None:
    session = at(state)
    with pytest.raises(SessionSettled):
        erase(replace(session, facts=replace(session.facts, stored=None)), PLACE, NOW)


def test_somebody_elses_object_is_not_ours_to_erase() -> None:
    with pytest.raises(SessionSettled):
        erase(at(State.REJECTED, reason=Reason(code=FOREIGN_OBJECT, message="")), PLACE, NOW)


@pytest.mark.parametrize("state", HAVING)
def test_nothing_is_erased_twice(state: State) -> None:
    with pytest.raises(ObjectErased):
        erase(erase(at(state), PLACE, NOW).after, PLACE, NOW)


def test_while_a_signed_request_may_bring_the_bytes_again_another_look_is_due() -> None:
    session = erase(at(State.PROCESSED), PLACE, NOW).after
    quiet = quiet_at(session, PLACE.policy, NOW)
    assert quiet > NOW
    change = erased(session, PLACE, NOW)
    assert (change.look_at, change.keep_for, change.after.facts.is_removed) == (quiet, None, True)
    last = erased(change.after, PLACE, quiet)
    assert (last.look_at, last.keep_for) == (None, PLACE.policy.retention)
    assert not last.is_transition
