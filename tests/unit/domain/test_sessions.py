"""The state table, every transition's schedule, and the life of a session as a state machine."""

from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from broker.contract import Reason, State
from broker.domain.errors import LeaseLost, SessionSettled
from broker.domain.jobs import finish, release, retry
from broker.domain.policy import Destination, Policy, grace
from broker.domain.sessions import (
    FOREIGN_OBJECT,
    LEASABLE,
    LOOKED_AT,
    MAX_STEPS,
    READABLE,
    TRANSITIONS,
    Change,
    Facts,
    Session,
    abort,
    expire,
    is_final,
    quiet_at,
    reject,
    remint,
    removed,
    verify,
)
from tests.clock import START
from tests.unit.domain.samples import INFO, PLACE, pending

NOW = START + timedelta(minutes=1)
WRONG = Reason(code="size-mismatch", message="declared 3 bytes, stored 4")
POLICY = PLACE.policy
SILENT = Destination(name="default", bucket="acme", prefix="uploads", processing="none")
KEEPING = Destination(name="default", bucket="acme", prefix="uploads", on_reject="keep")


def at(state: State, *, epoch: int = 1, failures: int = 0, infrastructure: int = 0) -> Session:
    """A session that stands in `state`, however it got there."""
    fresh = pending()
    progress = replace(
        fresh.progress, state=state, revision=5, epoch=epoch, failures=failures, infrastructure=infrastructure
    )
    return replace(fresh, progress=progress)


def leased(session: Session, now: datetime) -> Session:
    """What the ledger's lease script does: the header alone."""
    at = session.progress
    is_lost = at.state is State.PROCESSING
    return replace(
        session,
        progress=replace(
            at,
            state=State.PROCESSING,
            revision=at.revision + 1,
            epoch=at.epoch + 1,
            lost_leases=at.lost_leases + is_lost,
            changed_at=max(now, at.changed_at + timedelta(milliseconds=1)),
        ),
    )


Move = Callable[[Session], Change]

# The function, the states it may start from, and where it leads.
MOVES: dict[str, tuple[Move, set[State], State]] = {
    "verify": (lambda s: verify(s, INFO, PLACE, NOW), {State.PENDING, State.EXPIRED}, State.VERIFIED),
    "reject": (lambda s: reject(s, INFO, WRONG, PLACE, NOW), {State.PENDING}, State.REJECTED),
    "expire": (lambda s: expire(s, PLACE, NOW), {State.PENDING}, State.EXPIRED),
    "abort": (lambda s: abort(s, PLACE, NOW), {State.PENDING}, State.ABORTED),
    "finish processed": (lambda s: finish(s, State.PROCESSED, NOW, POLICY), {State.PROCESSING}, State.PROCESSED),
    "finish failed": (lambda s: finish(s, State.FAILED, NOW, POLICY), {State.PROCESSING}, State.FAILED),
    "finish rejected": (lambda s: finish(s, State.REJECTED, NOW, POLICY), {State.PROCESSING}, State.REJECTED),
    "retry": (lambda s: retry(s, None, NOW, POLICY, None), {State.PROCESSING}, State.VERIFIED),
    "retry, last": (
        lambda s: retry(s, None, NOW, replace(POLICY, max_failures=1), None),
        {State.PROCESSING},
        State.FAILED,
    ),
    "release": (lambda s: release(s, NOW, POLICY, is_infrastructure=False), {State.PROCESSING}, State.VERIFIED),
    "trouble": (lambda s: release(s, NOW, POLICY, is_infrastructure=True), {State.PROCESSING}, State.VERIFIED),
}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("name", MOVES)
def test_a_transition_starts_only_where_the_table_lets_it(name: str, state: State) -> None:
    move, sources, target = MOVES[name]
    if state in sources:
        change = move(at(state))
        assert change.after.state is target
        assert target in TRANSITIONS[state]
        assert change.is_transition
    else:
        with pytest.raises((SessionSettled, LeaseLost)):
            move(at(state))


def test_the_table_knows_every_state_and_its_sets_follow_from_it() -> None:
    assert set(TRANSITIONS) == set(State)
    assert {State.VERIFIED, State.PROCESSING} == LEASABLE
    assert LOOKED_AT.isdisjoint(LEASABLE)
    assert not READABLE & LOOKED_AT
    assert {state for state, to in TRANSITIONS.items() if not to} == {State.PROCESSED, State.REJECTED, State.ABORTED}


@pytest.mark.parametrize("state", set(State) - {State.PENDING})
def test_only_a_pending_session_is_minted_again(state: State) -> None:
    with pytest.raises(SessionSettled):
        remint(at(state), NOW, NOW)


def test_minting_again_is_no_transition_and_never_shortens_the_life_of_a_request() -> None:
    session = pending()
    change = remint(session, session.facts.requests_end_at - timedelta(minutes=5), NOW)
    assert not change.is_transition
    assert change.after.facts.requests_end_at == session.facts.requests_end_at
    assert change.look_at == NOW
    assert change.after.progress.revision == session.progress.revision + 1
    later = remint(session, session.facts.requests_end_at + timedelta(minutes=5), NOW).after
    assert later.facts.requests_end_at == session.facts.requests_end_at + timedelta(minutes=5)


def test_a_verified_session_has_a_visible_job_and_no_look() -> None:
    change = verify(pending(), INFO, PLACE, NOW)
    assert (change.job_at, change.look_at, change.keep_for) == (NOW, None, None)
    assert change.after.facts.stored is not None
    assert change.after.facts.stored.etag == INFO.etag


def test_a_verified_session_without_processing_has_no_job_and_an_end() -> None:
    change = verify(pending(), INFO, SILENT, NOW)
    assert (change.job_at, change.look_at, change.keep_for) == (None, None, POLICY.retention)


def test_a_late_verified_session_forgets_why_it_expired() -> None:
    expired = expire(pending(), PLACE, NOW).after
    assert expired.facts.reason is not None
    assert verify(expired, INFO, PLACE, NOW).after.facts.reason is None


def test_rejected_bytes_are_looked_at_when_no_request_can_replace_them_any_more() -> None:
    session = pending()
    change = reject(session, INFO, WRONG, PLACE, NOW)
    assert change.look_at == session.facts.requests_end_at + grace(POLICY, 3)
    assert (change.job_at, change.keep_for) == (None, POLICY.retention)
    assert change.after.facts.reason == WRONG


def test_rejected_bytes_that_are_kept_are_not_looked_at() -> None:
    assert reject(pending(), INFO, WRONG, KEEPING, NOW).look_at is None


def test_bytes_that_are_not_ours_are_never_looked_at_for_removal() -> None:
    foreign = Reason(code=FOREIGN_OBJECT, message="not by our request")
    assert reject(pending(), INFO, foreign, PLACE, NOW).look_at is None


def test_bytes_that_the_consumer_rejected_are_looked_at_for_removal() -> None:
    session = at(State.PROCESSING)
    change = finish(session, State.REJECTED, NOW, POLICY, reason=WRONG)
    assert change.look_at == quiet_at(session, POLICY, NOW)


def test_an_aborted_session_is_looked_at_once_more_when_its_requests_have_ended() -> None:
    session = pending()
    change = abort(session, PLACE, NOW)
    assert change.look_at == session.facts.requests_end_at + grace(POLICY, 3)
    assert change.keep_for == POLICY.retention


def test_quiet_is_never_in_the_past() -> None:
    session = pending()
    late = session.facts.requests_end_at + timedelta(days=3)
    assert quiet_at(session, POLICY, late) == late


@pytest.mark.parametrize("name", ["expire", "finish processed", "finish failed", "finish rejected", "retry, last"])
def test_a_terminal_record_is_kept_for_the_retention_and_has_no_job(name: str) -> None:
    move, sources, _ = MOVES[name]
    change = move(at(next(iter(sources))))
    assert change.keep_for == POLICY.retention
    assert change.job_at is None


def test_a_removal_is_no_transition_and_ends_the_looking() -> None:
    change = removed(at(State.REJECTED), PLACE)
    assert not change.is_transition
    assert change.after.facts.is_removed
    assert (change.look_at, change.job_at, change.keep_for) == (None, None, POLICY.retention)


def test_a_retry_waits_as_long_as_the_policy_or_the_processor_says() -> None:
    session = at(State.PROCESSING, failures=2)
    assert retry(session, None, NOW, POLICY, None).job_at == NOW + POLICY.retry_base * 4
    assert retry(session, None, NOW, POLICY, timedelta(minutes=7)).job_at == NOW + timedelta(minutes=7)
    assert retry(session, None, NOW, POLICY, timedelta(0)).job_at == NOW


@pytest.mark.parametrize(("failures", "state"), [(0, State.VERIFIED), (3, State.VERIFIED), (4, State.FAILED)])
def test_only_the_last_permitted_failure_kills_a_job(failures: int, state: State) -> None:
    change = retry(at(State.PROCESSING, failures=failures), None, NOW, POLICY, None)
    assert change.after.state is state
    assert change.after.progress.failures == failures + 1


def test_infrastructure_trouble_backs_off_and_never_kills_a_job() -> None:
    session = at(State.PROCESSING, failures=4, infrastructure=10_000)
    change = release(session, NOW, POLICY, is_infrastructure=True)
    assert change.after.state is State.VERIFIED
    assert change.job_at == NOW + POLICY.retry_limit
    assert change.after.attempts.infrastructure == 10_001
    assert change.after.attempts.failures == 4


def test_a_draining_worker_gives_the_job_back_at_once_and_uncounted() -> None:
    session = at(State.PROCESSING, infrastructure=3)
    change = release(session, NOW, POLICY, is_infrastructure=False)
    assert change.job_at == NOW
    assert change.after.attempts == session.attempts


def test_a_clock_that_steps_back_hides_no_transition_and_turns_no_timeline() -> None:
    change = expire(pending(), PLACE, START - timedelta(hours=1))
    assert change.is_transition
    moments = [step.at for step in change.after.timeline]
    assert moments == sorted(moments)


def test_the_timeline_shows_what_the_ledger_changed_by_itself() -> None:
    session = leased(verify(pending(), INFO, PLACE, NOW).after, NOW)
    session = finish(session, State.PROCESSED, NOW, POLICY).after
    assert [(step.state, step.epoch) for step in session.timeline] == [
        (State.PENDING, 0),
        (State.VERIFIED, 0),
        (State.PROCESSING, 1),
        (State.PROCESSED, 1),
    ]


def test_a_timeline_drops_its_middle_and_keeps_both_ends() -> None:
    session = verify(pending(), INFO, PLACE, NOW).after
    for _ in range(100):
        session = release(leased(session, NOW), NOW, POLICY, is_infrastructure=False).after
    assert len(session.facts.steps) == MAX_STEPS
    assert [step.state for step in session.timeline[:2]] == [State.PENDING, State.VERIFIED]
    assert session.timeline[-1].epoch == 100


def test_the_facts_of_an_older_broker_are_read_with_defaults() -> None:
    plain = msgspec.msgpack.decode(msgspec.msgpack.encode(pending().facts))
    required = [field.name for field in msgspec.structs.fields(Facts) if field.required]
    older = msgspec.msgpack.encode(plain[: len(required)])
    assert msgspec.msgpack.decode(older, type=Facts) == pending().facts


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order, as a ledger with compare-and-set and leases would let it."""

    def __init__(self) -> None:
        super().__init__()
        self.policy = Policy(max_failures=3)
        self.place = Destination(name="default", bucket="acme", prefix="uploads", policy=self.policy)
        self.now = START
        self.session = pending()
        self.states = [State.PENDING]
        self.results = 0
        self.job_at: datetime | None = None
        self.look_at: datetime | None = START

    def _apply(self, move: Callable[[], Change]) -> None:
        before = self.session
        try:
            change = move()
        except (SessionSettled, LeaseLost):
            assert self.session == before
            return
        assert change.before == before
        assert change.after.progress.revision == before.progress.revision + 1
        assert change.is_transition == (change.after.state is not before.state)
        self.session, self.job_at, self.look_at = change.after, change.job_at, change.look_at
        if change.is_transition:
            assert change.after.state in TRANSITIONS[before.state]
            self.states.append(change.after.state)

    @rule(seconds=st.integers(-5, 100_000))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    @rule()
    def verify(self) -> None:
        self._apply(lambda: verify(self.session, INFO, self.place, self.now))

    @rule()
    def reject(self) -> None:
        self._apply(lambda: reject(self.session, INFO, WRONG, self.place, self.now))

    @rule()
    def expire(self) -> None:
        self._apply(lambda: expire(self.session, self.place, self.now))

    @rule()
    def abort(self) -> None:
        self._apply(lambda: abort(self.session, self.place, self.now))

    @rule(minutes=st.integers(0, 60))
    def remint(self, minutes: int) -> None:
        self._apply(lambda: remint(self.session, self.now + timedelta(minutes=minutes), self.now))

    @precondition(lambda self: self.job_at is not None)
    @rule()
    def lease(self) -> None:
        if self.job_at is None or self.job_at > self.now:
            return
        self.session = leased(self.session, self.now)
        self.states.append(State.PROCESSING)
        self.job_at = self.now + timedelta(seconds=60)

    @rule(outcome=st.sampled_from([State.PROCESSED, State.FAILED, State.REJECTED]))
    def finish(self, outcome: State) -> None:
        was = self.session.state
        self._apply(lambda: finish(self.session, outcome, self.now, self.policy, result=b"{}"))  # type: ignore[arg-type]
        self.results += was is State.PROCESSING

    @rule(delay=st.none() | st.integers(0, 1000).map(lambda seconds: timedelta(seconds=seconds)))
    def retry(self, delay: timedelta | None) -> None:
        self._apply(lambda: retry(self.session, WRONG, self.now, self.policy, delay))

    @rule(is_infrastructure=st.booleans())
    def release(self, is_infrastructure: bool) -> None:
        self._apply(lambda: release(self.session, self.now, self.policy, is_infrastructure=is_infrastructure))

    @invariant()
    def a_job_is_visible_exactly_where_one_can_be_leased(self) -> None:
        assert (self.job_at is not None) == (self.session.state in LEASABLE)

    @invariant()
    def a_pending_session_is_always_looked_at(self) -> None:
        if self.session.state is State.PENDING:
            assert self.look_at is not None

    @invariant()
    def one_result_is_accepted_and_nothing_follows_it(self) -> None:
        assert self.results <= 1
        assert self.states.count(State.PROCESSED) <= 1

    @invariant()
    def the_epoch_counts_leases_and_failures_stay_below_their_limit(self) -> None:
        attempts = self.session.attempts
        assert attempts.leases == self.states.count(State.PROCESSING)
        assert attempts.failures <= self.policy.max_failures

    @invariant()
    def the_timeline_is_bounded_and_monotone_and_ends_in_the_present(self) -> None:
        timeline = self.session.timeline
        assert len(timeline) <= MAX_STEPS + 1
        moments = [step.at for step in timeline]
        assert moments == sorted(moments)
        assert timeline[0].state is State.PENDING
        assert timeline[-1].state is self.session.state
        epochs = [step.epoch for step in timeline]
        assert epochs == sorted(epochs)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_only_where_nothing_more_is_expected_is_it_final() -> None:
    goes_on = {State.PENDING, State.VERIFIED, State.PROCESSING}
    for place in (PLACE, None):
        assert {state for state in State if not is_final(state, place)} == goes_on
    assert {state for state in State if not is_final(state, SILENT)} == goes_on - {State.VERIFIED}
