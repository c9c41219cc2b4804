"""Terms of a destination: what it permits, what it demands, how long it waits."""

from datetime import datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from broker.contract import Checksum, Guarantees, Level
from broker.domain.errors import ChecksumNotProvable, ContentTypeNotAllowed, SizeTooLarge, StrategyTooWeak
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination, Guarantee, Policy, admit, demand, grace, next_look, retry_delay, weaker
from tests.clock import START
from tests.unit.domain.samples import ALL_DIGESTS, GUARANTEES, PLACE

SPEC = UploadSpec(filename="a.csv", size_bytes=100, content_type="text/csv")


def place(policy: Policy) -> Destination:
    return replace(PLACE, policy=policy)


durations = st.timedeltas(timedelta(0), timedelta(days=3650))


@pytest.mark.parametrize(("policy_limit", "key_limit"), [(100, None), (100, 200), (200, 100)])
def test_the_smaller_of_two_limits_counts_and_is_itself_permitted(policy_limit: int, key_limit: int | None) -> None:
    policy = Policy(max_size_bytes=policy_limit)
    admit(SPEC, policy, max_size_bytes=key_limit)
    with pytest.raises(SizeTooLarge) as refused:
        admit(replace(SPEC, size_bytes=101), policy, max_size_bytes=key_limit)
    assert refused.value.errors[0].pointer == "/size_bytes"


def test_a_key_that_may_send_nothing_sends_nothing() -> None:
    admit(replace(SPEC, size_bytes=0), Policy(), max_size_bytes=0)
    with pytest.raises(SizeTooLarge):
        admit(replace(SPEC, size_bytes=1), Policy(), max_size_bytes=0)


@pytest.mark.parametrize(
    ("content_type", "pattern"),
    [
        ("text/csv", "*"),
        ("text/csv", "*/*"),
        ("text/csv", "text/*"),
        ("text/csv", "text/csv"),
        ("Text/CSV", "text/csv"),
        ("text/csv", "TEXT/*"),
        ("text/csv; charset=utf-8", "text/csv"),
        ("text/csv ;charset=utf-8", "text/csv"),
    ],
)
def test_a_type_that_a_pattern_names_is_admitted(content_type: str, pattern: str) -> None:
    admit(replace(SPEC, content_type=content_type), Policy(content_types=("image/png", pattern)), max_size_bytes=None)


@pytest.mark.parametrize(
    ("content_type", "pattern"),
    [
        ("text/csvx", "text/csv"),
        ("textx/csv", "text/*"),
        ("application/text", "text/*"),
        ("image/png;text/csv", "text/*"),
        ("text/csv", "text/"),
        ("text/csv", ""),
    ],
)
def test_a_type_that_no_pattern_names_is_refused(content_type: str, pattern: str) -> None:
    with pytest.raises(ContentTypeNotAllowed) as refused:
        admit(replace(SPEC, content_type=content_type), Policy(content_types=(pattern,)), max_size_bytes=None)
    assert refused.value.errors[0].pointer == "/content_type"


def test_a_destination_that_takes_no_types_takes_nothing() -> None:
    with pytest.raises(ContentTypeNotAllowed):
        admit(SPEC, Policy(content_types=()), max_size_bytes=None)


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("name", ["size", "content_type", "create_only"])
def test_what_a_destination_requires_holds_before_any_job_or_is_refused(name: Guarantee, level: Level) -> None:
    policy, given_ = Policy(require=(name,)), replace(GUARANTEES, **{name: level})
    if level in {Level.ENFORCED, Level.AT_HEAD}:
        demand(SPEC, place(policy), given_)
    else:
        with pytest.raises(StrategyTooWeak, match=name) as refused:
            demand(SPEC, place(policy), given_)
        assert refused.value.errors[0].pointer == "/strategy"


@pytest.mark.parametrize("level", Level)
@pytest.mark.parametrize("checksum", [Checksum(), ALL_DIGESTS])
def test_a_required_checksum_is_declared_and_proved_by_somebody(checksum: Checksum, level: Level) -> None:
    spec, given_ = replace(SPEC, checksum=checksum), replace(GUARANTEES, checksum=level)
    if checksum == ALL_DIGESTS and level is not Level.NONE:
        demand(spec, place(Policy(require=("checksum",))), given_)
    else:
        with pytest.raises(ChecksumNotProvable):
            demand(spec, place(Policy(require=("checksum",))), given_)


@pytest.mark.parametrize("level", Level)
def test_a_required_checksum_is_not_left_to_a_reader_where_nobody_reads(level: Level) -> None:
    spec, given_ = replace(SPEC, checksum=ALL_DIGESTS), replace(GUARANTEES, checksum=level)
    unread = replace(place(Policy(require=("checksum",))), processing="none")
    if level in {Level.ENFORCED, Level.AT_HEAD}:
        demand(spec, unread, given_)
    else:
        with pytest.raises(ChecksumNotProvable) as refused:
            demand(spec, unread, given_)
        assert refused.value.errors[0].pointer == "/checksum"


def test_what_holds_in_both_cases_is_the_weaker_level_of_each_promise() -> None:
    one = replace(GUARANTEES, checksum=Level.ON_READ)
    other = replace(GUARANTEES, size=Level.AT_HEAD, checksum=Level.AT_HEAD)
    both = replace(GUARANTEES, size=Level.AT_HEAD, checksum=Level.ON_READ)
    assert weaker(one, other) == weaker(other, one) == both


def test_who_requires_nothing_takes_the_weakest() -> None:
    none = Guarantees(size=Level.NONE, content_type=Level.NONE, create_only=Level.NONE, checksum=Level.NONE)
    demand(SPEC, place(Policy(require=())), none)


def test_looks_double_from_two_seconds_to_a_minute() -> None:
    policy, at = Policy(), START + timedelta(seconds=2)
    waits = []
    for _ in range(8):
        following = next_look(policy, since=START, now=at)
        waits.append((following - at).total_seconds())
        at = following
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]


@given(st.timedeltas(timedelta(days=-1), timedelta(days=400)))
def test_a_look_is_never_sooner_than_a_second_nor_later_than_the_limit(waited: timedelta) -> None:
    policy, now = Policy(), START + waited
    wait = next_look(policy, since=START, now=now) - now
    assert timedelta(seconds=1) <= wait <= policy.longest_look_interval


def test_a_retry_doubles_up_to_its_limit() -> None:
    delays = [retry_delay(Policy(), failures).total_seconds() for failures in range(1, 12)]
    assert delays == [2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600]


@given(durations, durations, st.integers(0, 2**40))
def test_a_retry_delay_stays_between_its_bounds_however_odd_they_are(
    base: timedelta, limit: timedelta, failures: int
) -> None:
    delay = retry_delay(Policy(retry_base=base, retry_limit=limit), failures)
    assert min(base, limit) <= delay <= limit
    assert retry_delay(Policy(retry_base=base, retry_limit=limit), failures + 1) >= delay


@given(st.integers(0, 5 * 1024**4), st.integers(1, 10**12))
def test_grace_grows_with_the_object_and_starts_at_the_policy(size: int, rate: int) -> None:
    policy = Policy(min_rate_bytes_per_second=rate)
    if size / rate > 10**11:  # thousands of years: not a date any more
        return
    assert grace(policy, size) >= policy.grace
    assert grace(policy, 0) == policy.grace
    assert grace(policy, size) % timedelta(milliseconds=1) == timedelta(0)


@pytest.mark.parametrize(
    "wrong",
    [{"min_rate_bytes_per_second": 0}, {"max_failures": 0}, {"max_size_bytes": -1}, {"require": ["speed"]}, {"x": 1}],
)
def test_a_policy_that_cannot_work_is_not_read(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, Policy)


def test_grace_is_a_moment_in_the_calendar_for_the_largest_object() -> None:
    assert isinstance(START + grace(Policy(), 5 * 1024**4), datetime)
