"""Another chance for a failed job, as a pure step."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import ObjectErased, SessionSettled
from broker.domain.jobs import revive
from broker.domain.objects import stored_object
from broker.domain.sessions import Session
from tests.clock import START
from tests.unit.domain.samples import INFO, pending

NOW = START + timedelta(days=2)


def at(state: State) -> Session:
    fresh = pending()
    facts = replace(fresh.facts, stored=stored_object(INFO), reason=Reason(code="parse-error", message=""), result=b"3")
    progress = replace(fresh.progress, state=state, epoch=4, failures=3, infrastructure=2, lost_leases=1)
    return replace(fresh, progress=progress, facts=facts)


def test_it_is_visible_at_once_and_counted_from_nothing() -> None:
    change = revive(at(State.FAILED), NOW)
    assert (change.after.state, change.job_at, change.look_at, change.keep_for) == (State.VERIFIED, NOW, None, None)
    assert (change.after.attempts.failures, change.after.attempts.infrastructure) == (0, 0)
    assert (change.after.attempts.lost_leases, change.after.progress.epoch) == (1, 4)  # what happened, happened
    assert (change.after.facts.reason, change.after.facts.result) == (None, b"")
    assert change.is_transition


@pytest.mark.parametrize("state", set(State) - {State.FAILED})
def test_only_a_failed_one_gets_it(state: State) -> None:
    with pytest.raises(SessionSettled):
        revive(at(state), NOW)


def test_an_erased_one_does_not_get_it() -> None:
    session = at(State.FAILED)
    with pytest.raises(ObjectErased):
        revive(replace(session, facts=replace(session.facts, erased_at=NOW)), NOW)
