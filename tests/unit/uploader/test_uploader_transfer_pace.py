"""The controller of concurrency finds what a store can do, whatever its shape, and lets it be when it has too much."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pace_stores import Crowd, Queue, Quota, Store, Storm, Supply, best_rate, run

from uploader.transfer.pace import FIRST_LIMIT, Pace

JOBS = 64
ENDLESS = 1e9

STORES: dict[str, Callable[[], Store]] = {
    "one at a time": lambda: Queue(1, 0.002),
    "a few": lambda: Queue(4, 0.01),
    "some": lambda: Queue(16, 0.02),
    "many": lambda: Queue(48, 0.03),
    "more than we may": lambda: Queue(200, 0.05),
    "slow": lambda: Queue(30, 0.5),
    "crowded": lambda: Crowd(0.01, 0.05, 0.001),
    "crowded early": lambda: Crowd(0.005, 0.2, 0.005),
    "crowded late": lambda: Crowd(0.05, 0, 0.0002),
    "a quota": lambda: Quota(0.02, 500),
    "a high quota": lambda: Quota(0.02, 2000),
    "a few refusals": lambda: Storm(Queue(32, 0.02), 0, ENDLESS, share=0.05),
    "a few refusals that ask for a second": lambda: Storm(Queue(32, 0.02), 0, ENDLESS, 0.05, 1.0),
}


@pytest.mark.parametrize("name", STORES)
@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_store_can_do_is_found(name: str, seed: int) -> None:
    make = STORES[name]
    seen = run(make(), Pace(JOBS, 0.0), 30, seed)
    found = seen.rate(5, 30) / best_rate(make, JOBS)
    assert found >= 0.8, f"{found:.2f} of the best; limits {[limit for _, limit in seen.limits][::200]}"


@pytest.mark.parametrize("name", ["one at a time", "a few", "some", "crowded early"])
def test_a_store_is_not_crowded_for_nothing(name: str) -> None:
    seen = run(STORES[name](), Pace(JOBS, 0.0), 30)
    assert seen.limit_at(30) <= 32


@pytest.mark.parametrize("jobs", [1, 2, 7, 20])
def test_jobs_are_never_exceeded_and_used(jobs: int) -> None:
    seen = run(Queue(200, 0.02), Pace(jobs, 0.0), 15)
    assert max(limit for _, limit in seen.limits) <= jobs
    assert seen.rate(5, 15) >= 0.8 * best_rate(lambda: Queue(200, 0.02), jobs)


@pytest.mark.parametrize("retry_after", [0.0, 1.0])
@pytest.mark.parametrize("name", ["some", "many"])
def test_a_storm_is_left_alone_and_recovered_from(name: str, retry_after: float) -> None:
    seen = run(Storm(STORES[name](), 10, 15, retry_after_seconds=retry_after), Pace(JOBS, 0.0), 30)
    before = seen.rate(5, 10)
    assert seen.limit_at(14.9) <= 4
    assert seen.rate(10.5, 15) < 0.05 * before
    assert seen.rate(20, 30) >= 0.8 * before


def test_what_a_store_asks_for_holds_everybody() -> None:
    seen = run(Storm(Queue(16, 0.02), 10, 20, retry_after_seconds=2.0), Pace(JOBS, 0.0), 20)
    assert seen.refused < 100


def test_a_quota_is_not_run_into_all_the_time() -> None:
    seen = run(Quota(0.02, 500), Pace(JOBS, 0.0), 30)
    assert seen.refused < 0.15 * len(seen.taken_at)


def test_a_store_that_gets_smaller_and_larger_again_is_followed() -> None:
    class Tide:
        def __init__(self) -> None:
            self.low, self.high = Queue(6, 0.02), Queue(48, 0.02)

        def serve(self, now, under_way, chance):  # type: ignore[no-untyped-def]
            return (self.low if 15 <= now < 30 else self.high).serve(now, under_way, chance)

    seen = run(Tide(), Pace(JOBS, 0.0), 50)
    assert seen.rate(40, 50) >= 0.8 * best_rate(lambda: Queue(48, 0.02), JOBS)
    assert seen.rate(20, 30) >= 0.8 * best_rate(lambda: Queue(6, 0.02), JOBS)


@pytest.mark.parametrize("seconds", [0.05, 0.3, 1.0])
def test_a_supply_that_comes_in_bursts_is_no_slow_store(seconds: float) -> None:
    supply = Supply(files=int(1100 * seconds), seconds=seconds)
    seen = run(Queue(48, 0.03), Pace(JOBS, 0.0), 20, supply=supply)
    assert seen.rate(5, 20) >= 0.95 * 1100


def test_nothing_is_concluded_where_there_is_not_enough_to_send() -> None:
    pace = Pace(JOBS, 0.0)
    for number in range(10_000):
        pace.took(4096, number / 100, is_full=False)
    assert pace.limit == FIRST_LIMIT


ANSWERS = st.lists(
    st.tuples(
        st.sampled_from(["took", "refused"]),
        st.floats(0, 3, allow_nan=False),
        st.integers(0, 1 << 30),
        st.booleans(),
    ),
    max_size=400,
)


@given(jobs=st.integers(1, 200), answers=ANSWERS)
def test_whatever_a_store_says_the_limit_is_one_at_least_and_jobs_at_most(
    jobs: int, answers: list[tuple[str, float, int, bool]]
) -> None:
    pace, now = Pace(jobs, 100.0), 100.0
    for kind, seconds, number, is_full in answers:
        now += seconds
        before, held = pace.limit, pace.held_until
        if kind == "took":
            pace.took(number, now, is_full=is_full)
        else:
            pace.refused(seconds, now, is_full=is_full)
        assert held <= pace.held_until <= max(held, now + 3)
        assert 1 <= pace.limit <= jobs
        assert pace.limit <= 2 * before


@given(jobs=st.integers(1, 64), number=st.integers(50, 300))
def test_a_store_that_refuses_everything_is_asked_by_one_at_a_time(jobs: int, number: int) -> None:
    pace, now = Pace(jobs, 0.0), 0.0
    for _ in range(number):
        now += 0.01
        pace.refused(0.0, now, is_full=True)
    assert pace.limit <= max(1, jobs >> 2)
