"""What a URI adds to the life of a session: when it must be closed, and what that makes quiet."""

from datetime import timedelta
from typing import Any

import pytest

from broker.contract import Reason, State
from broker.domain.errors import SessionSettled
from broker.domain.jobs import finish
from broker.domain.resumable import Resumable
from broker.domain.resuming import closed, lent, must_close
from broker.domain.sessions import (
    FOREIGN_OBJECT,
    Change,
    Session,
    abort,
    counted,
    ends_at,
    erase,
    erased,
    expire,
    moved,
    quiet_at,
    reject,
    remint,
    removed,
    tombstone_of,
    verify,
)
from tests.clock import START
from tests.unit.domain.samples import INFO, PLACE, pending

SECOND = timedelta(seconds=1)
NOW = START + timedelta(hours=5)


def by_uri(sealed_uri: str = "sealed", **facts: Any) -> Session:
    session = pending()
    facts = {"resumable": Resumable(sealed_uri=sealed_uri), "requests_end_at": session.facts.expires_at, **facts}
    return pending(**facts)


def test_a_uri_is_recorded_without_being_a_transition() -> None:
    change = lent(by_uri(""), "sealed", NOW)
    assert change.after.facts.resumable == Resumable(sealed_uri="sealed")
    assert (change.after.state, change.is_transition, change.look_at) == (State.PENDING, False, NOW)
    assert change.after.progress.revision == change.before.progress.revision + 1


def test_nobody_lends_what_is_settled_or_of_another_kind() -> None:
    session = by_uri()
    for settled in (verify(session, INFO, PLACE, NOW).after, abort(session, PLACE, NOW).after, pending()):
        with pytest.raises(SessionSettled):
            lent(settled, "another", NOW)


def test_nothing_lands_after_the_deadline_however_large_it_is() -> None:
    session = by_uri()
    assert ends_at(session, PLACE.policy) == session.facts.expires_at
    assert quiet_at(session, PLACE.policy, NOW) == session.facts.expires_at
    assert ends_at(pending(), PLACE.policy) > session.facts.expires_at


WRONG, FOREIGN = Reason(code="size-mismatch", message=""), Reason(code=FOREIGN_OBJECT, message="")
ENDINGS = [
    abort(by_uri(), PLACE, NOW),
    reject(by_uri(), INFO, WRONG, PLACE, NOW),
    reject(by_uri(), INFO, FOREIGN, PLACE, NOW),
    erase(verify(by_uri(), INFO, PLACE, NOW).after, PLACE, NOW),
]


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda change: change.after.state.value)
def test_who_ends_badly_is_looked_at_now_and_closed(ending: Change) -> None:
    assert ending.look_at == NOW
    assert must_close(ending.after, NOW)
    shut = closed(ending.after, NOW)
    assert shut.stays
    assert not shut.is_transition
    assert not must_close(shut.after, NOW)
    assert quiet_at(shut.after, PLACE.policy, NOW) == NOW
    grave = tombstone_of(shut.after, PLACE.policy)
    assert grave is None or grave.quiet_at == NOW


def test_what_was_erased_before_it_was_closed_is_looked_at_again_at_once() -> None:
    gone = erased(erase(verify(by_uri(), INFO, PLACE, NOW).after, PLACE, NOW).after, PLACE, NOW)
    assert gone.look_at == NOW
    shut = closed(gone.after, NOW)
    assert erased(shut.after, PLACE, NOW).look_at is None


def test_a_pending_one_is_closed_at_its_deadline_and_not_before() -> None:
    session = by_uri()
    assert not must_close(session, session.facts.expires_at - SECOND)
    assert must_close(session, session.facts.expires_at)
    shut = closed(session, session.facts.expires_at).after
    gone = expire(shut, PLACE, session.facts.expires_at)
    assert (gone.look_at, gone.after.facts.requests_end_at) == (None, session.facts.expires_at)


def test_a_verified_one_is_left_alone() -> None:
    session = verify(by_uri(), INFO, PLACE, NOW).after
    assert not must_close(session, session.facts.expires_at + SECOND)


def test_one_that_was_only_reserved_is_quiet_as_soon_as_it_has_ended() -> None:
    """Whoever opens it now comes too late, and nobody is given what he opened."""
    session = abort(by_uri(""), PLACE, NOW).after
    assert must_close(session, NOW)
    assert quiet_at(closed(session, NOW).after, PLACE.policy, NOW) == NOW


@pytest.mark.parametrize("session", [pending(), abort(pending(), PLACE, NOW).after])
def test_others_have_nothing_to_close(session: Session) -> None:
    assert not must_close(session, session.facts.expires_at)


def test_what_is_removed_stays_closed() -> None:
    shut = closed(abort(by_uri(), PLACE, NOW).after, NOW).after
    assert not must_close(removed(shut, PLACE).after, NOW)


def test_a_clock_that_is_behind_closes_once_more_and_never_later_than_it_was() -> None:
    shut = closed(abort(by_uri(), PLACE, NOW).after, NOW).after
    again = closed(shut, NOW - SECOND).after
    assert again.facts.requests_end_at == NOW - SECOND
    assert closed(shut, NOW + SECOND).after.facts.requests_end_at == NOW


def test_given_again_it_works_no_longer_than_before() -> None:
    session = by_uri()
    assert remint(session, NOW + SECOND, NOW).after.facts.requests_end_at == session.facts.expires_at


def test_what_a_consumer_rejects_is_looked_at_now() -> None:
    leased = counted(moved(verify(by_uri(), INFO, PLACE, NOW).after, State.PROCESSING, NOW), epoch=1)
    assert finish(leased, State.REJECTED, NOW, PLACE.policy, reason=WRONG).look_at == NOW
