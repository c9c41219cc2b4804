"""The fan-out: its state is a function of its copies and its deadline, in whatever order they are told."""

from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import BrokerError, ObjectErased, SessionNotVerified, SessionSettled
from broker.domain.fan_out import (
    abort_all,
    copy_in,
    derived,
    ends_at,
    enough,
    erase_all,
    erase_copy,
    give_up,
    given_up,
    lapse,
    need_wanted,
    note_of,
    readable,
    replaced,
)
from broker.domain.jobs import finish
from broker.domain.policy import Destination, Policy
from broker.domain.sessions import Change, Session, begin, erase, expire, reject, verify
from tests.clock import START
from tests.unit.domain.samples import ID, INFO, PLACE, facts, pending

WRONG = Reason(code="size-mismatch", message="declared otherwise")
NAMES = ("eu", "us", "ap", "sa")
PLACES = {name: Destination(name=name, bucket=f"acme-{name}", prefix="uploads") for name in NAMES}
LATER = START + timedelta(days=2)


def a_copy(name: str, number: int = 0) -> Session:
    copy_id = f"00{name}{number:024d}".replace("0", "a").replace("1", "b")
    at = PLACES[name]
    return begin(
        copy_id,
        facts(destination=name, bucket=at.bucket, key=f"uploads/{copy_id}/report.csv", copy_of=ID, destinations=NAMES),
        START,
    )


def a_fan_out(copies: list[Session], required: int) -> Session:
    return pending(copies=tuple(map(note_of, copies)), required=required)


def processing(session: Session) -> Session:
    return replace(session, progress=replace(session.progress, state=State.PROCESSING, epoch=1))


def whole(required: int = 2) -> tuple[Session, list[Session]]:
    """Verified, as both of its copies."""
    copies = [verify(a_copy(name), INFO, PLACES[name], START).after for name in ("eu", "us")]
    fan_out = a_fan_out([a_copy("eu"), a_copy("us")], required)
    for copy in copies:
        change = derived(fan_out, copy, PLACE, START)
        assert change is not None
        fan_out = change.after
    return fan_out, copies


class CopiesInAnyOrder(RuleBasedStateMachine):
    """Copies end, are told again, come late, are minted again; time passes and a consumer works."""

    @initialize(count=st.integers(2, 4), required=st.integers(1, 4))
    def begin(self, count: int, required: int) -> None:
        self.copies = [a_copy(name) for name in NAMES[:count]]
        self.gone: list[Session] = []
        self.fan_out = a_fan_out(self.copies, enough(required, count))
        self.jobs = 0
        self.is_lapsed = False
        self.has_worked = False
        self.tells: list[Session] = []
        self.minted = 0

    def write(self, change: Change | None) -> None:
        if change is None:
            return
        assert change.before == self.fan_out
        assert change.after.progress.revision == self.fan_out.progress.revision + 1
        assert not (change.stays and change.is_transition)
        if change.job_at is not None:
            assert change.is_transition
            self.jobs += 1
        self.fan_out = change.after

    @rule(place=st.integers(0, 3), ending=st.sampled_from([verify, reject, expire]))
    def a_copy_ends(self, place: int, ending: object) -> None:
        copy = self.copies[place % len(self.copies)]
        at = PLACES[copy.facts.destination]
        try:
            if ending is verify:
                after = verify(copy, INFO, at, START).after
            elif ending is reject:
                after = reject(copy, INFO, WRONG, at, START).after
            else:
                after = expire(copy, at, START).after
        except BrokerError:
            return
        self.copies[place % len(self.copies)] = after
        self.tells.append(after)
        self.write(derived(self.fan_out, after, at, START))

    @rule(data=st.data())
    def the_same_is_told_again(self, data: st.DataObject) -> None:
        """By a looker that was slow: it decided by what it read, and its compare-and-set of the copy fails. Should it
        not, an older story of a copy must not bring another job."""
        current = [copy for copy in self.tells if copy in self.copies]
        if current:
            copy = data.draw(st.sampled_from(current))
            assert derived(self.fan_out, copy, PLACES[copy.facts.destination], START) is None

    @rule(data=st.data())
    def one_that_was_replaced_is_told(self, data: st.DataObject) -> None:
        if self.gone:
            copy = data.draw(st.sampled_from(self.gone))
            assert derived(self.fan_out, copy, PLACES[copy.facts.destination], START) is None

    @rule(place=st.integers(0, 3))
    def a_copy_is_minted_again(self, place: int) -> None:
        old = self.copies[place % len(self.copies)]
        if old.state is State.VERIFIED:
            return
        self.minted += 1
        fresh = a_copy(old.facts.destination, self.minted)
        known = copy_in(self.fan_out, old.facts.destination)
        assert known is not None
        try:
            self.write(replaced(self.fan_out, known, fresh))
        except (SessionSettled, ObjectErased):
            return
        self.gone.append(old)
        self.copies[place % len(self.copies)] = fresh

    @rule()
    def its_time_is_over(self) -> None:
        if self.fan_out.state is State.PENDING:
            self.write(lapse(self.fan_out, Policy(), LATER))
            self.is_lapsed = True

    @rule(outcome=st.sampled_from([State.PROCESSED, State.FAILED]))
    def a_consumer_works(self, outcome: State) -> None:
        if self.fan_out.state is State.VERIFIED:
            self.has_worked = True
            self.fan_out = finish(processing(self.fan_out), outcome, LATER, Policy()).after  # type: ignore[arg-type]

    @invariant()
    def the_state_follows_from_copies_and_deadline(self) -> None:
        if not hasattr(self, "fan_out"):
            return
        verified = [copy for copy in self.copies if copy.state is State.VERIFIED]
        assert self.fan_out.facts.copies == tuple(map(note_of, self.copies))
        is_whole = len(verified) >= self.fan_out.facts.required
        if self.has_worked:
            assert self.fan_out.state in {State.PROCESSED, State.FAILED}
        elif is_whole:
            assert self.fan_out.state is State.VERIFIED
        else:
            assert self.fan_out.state is (State.EXPIRED if self.is_lapsed else State.PENDING)
        assert self.jobs == int(is_whole)

    @invariant()
    def what_is_read_is_a_verified_copy(self) -> None:
        if hasattr(self, "fan_out") and self.fan_out.facts.stored is not None:
            at = self.fan_out.facts
            assert (at.destination, at.bucket, at.key) in {
                (copy.destination, copy.bucket, copy.key) for copy in readable(self.fan_out)
            }


TestCopiesInAnyOrder = CopiesInAnyOrder.TestCase


@given(required=st.just("all") | st.integers(1, 100), copies=st.integers(2, 16))
def test_as_many_as_are_required_can_be_there(required: object, copies: int) -> None:
    assert 1 <= enough(required, copies) <= copies  # type: ignore[arg-type]
    assert enough("all", copies) == copies


def test_a_fan_out_looks_like_its_first_verified_copy() -> None:
    fan_out, (eu, _) = whole()
    assert (fan_out.facts.key, fan_out.facts.stored) == (eu.facts.key, eu.facts.stored)
    assert [copy.destination for copy in readable(fan_out)] == ["eu", "us"]


def test_without_processing_it_ends_verified() -> None:
    quiet = Destination(name="eu", bucket="acme", prefix="uploads", processing="none")
    fan_out = a_fan_out([a_copy("eu"), a_copy("us")], 1)
    change = derived(fan_out, verify(a_copy("eu"), INFO, quiet, START).after, quiet, START)
    assert change is not None
    assert (change.job_at, change.keep_for) == (None, quiet.policy.retention)


def test_a_copy_of_another_fan_out_changes_nothing() -> None:
    fan_out = a_fan_out([a_copy("eu")], 1)
    assert derived(fan_out, verify(a_copy("us"), INFO, PLACE, START).after, PLACE, START) is None


def test_its_end_waits_for_the_slowest_of_its_places() -> None:
    slow = Destination(name="us", bucket="b", prefix="", policy=Policy(grace=timedelta(hours=1)))
    fan_out = a_fan_out([a_copy("eu"), a_copy("us")], 2)
    assert ends_at(fan_out, [PLACE, slow]) > fan_out.facts.expires_at + timedelta(hours=1)


@pytest.mark.parametrize("ending", [State.PENDING, State.EXPIRED, State.VERIFIED])
def test_a_copy_that_nobody_wants_is_looked_at_until_its_bytes_are_gone(ending: State) -> None:
    copy = a_copy("eu")
    if ending is State.EXPIRED:
        copy = expire(copy, PLACE, START).after
    elif ending is State.VERIFIED:
        copy = verify(copy, INFO, PLACE, START).after
    change = give_up(copy, PLACE, START)
    assert change is not None
    assert change.after.state is State.ABORTED
    assert change.look_at is not None
    assert change.tombstone is not None
    assert change.tombstone.state is State.ABORTED
    assert not change.is_told
    assert give_up(change.after, PLACE, START) is None


def test_a_plain_session_is_not_aborted_once_it_is_settled() -> None:
    fan_out, _ = whole()
    with pytest.raises(SessionSettled):
        abort_all(fan_out, [], PLACE, START)


def test_erasing_takes_every_copy() -> None:
    fan_out, copies = whole(required=1)
    third = a_copy("ap")
    changes = [erase_copy(copy, PLACE, START) for copy in (*copies, third)]
    assert all(change is not None for change in changes)
    change = erase_all(fan_out, [each.after for each in changes if each], PLACE, START)
    assert (change.after.state, change.reason and change.reason.code) == (State.FAILED, "erased")
    with pytest.raises(ObjectErased):
        need_wanted(change.after)


def test_a_copy_is_erased_without_failing_a_job_that_it_has_not() -> None:
    change = erase(verify(a_copy("eu"), INFO, PLACE, START).after, PLACE, START)
    assert change.after.state is State.VERIFIED


def test_what_did_come_of_an_expired_fan_out_can_be_erased() -> None:
    fan_out = a_fan_out([a_copy("eu"), a_copy("us")], 2)
    with pytest.raises(SessionNotVerified):
        erase_all(fan_out, [], PLACE, START)
    empty = lapse(fan_out, Policy(), LATER).after
    with pytest.raises(SessionSettled):
        erase_all(empty, [], PLACE, START)
    told = derived(fan_out, verify(a_copy("eu"), INFO, PLACE, START).after, PLACE, START)
    assert told is not None
    lapsed = lapse(told.after, Policy(), LATER).after
    change = erase_all(lapsed, [], PLACE, LATER)
    assert change.after.state is State.EXPIRED
    with pytest.raises(ObjectErased):
        erase_all(change.after, [], PLACE, LATER)
    assert not change.is_transition


def test_nobody_mints_copies_of_what_was_given_up_or_rejected() -> None:
    fan_out = a_fan_out([a_copy("eu"), a_copy("us")], 2)
    aborted = abort_all(fan_out, [], PLACE, START).after
    rejected = finish(processing(whole()[0]), State.REJECTED, START, Policy()).after
    for session in (aborted, rejected, given_up(rejected, [], Policy()).after):
        with pytest.raises(SessionSettled):
            replaced(session, session.facts.copies[0], a_copy("eu", 1))


def test_a_copy_s_moment_is_not_a_fan_out_s() -> None:
    """A clock that stands still hides no transition of either."""
    now: datetime = START
    fan_out, _ = whole()
    assert fan_out.timeline[-1].at > now
