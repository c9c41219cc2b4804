"""Back-off is bounded, random and polite."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uploader.media import guess_type
from uploader.retry import LONGEST_RETRY_AFTER, RetryPolicy, parse_retry_after
from uploader.sender import Answer, Next

POLICY = RetryPolicy(attempts=5, first_delay=timedelta(seconds=1), longest_delay=timedelta(seconds=5))


@given(st.integers(1, 2000))
def test_a_pause_doubles_up_to_its_limit_and_half_of_it_is_chance(attempt: int) -> None:
    full = min(5.0, 2.0 ** min(attempt - 1, 10))
    assert full / 2 <= POLICY.delay(attempt).total_seconds() <= full


def test_retry_after_is_a_lower_bound_that_is_itself_bounded() -> None:
    assert POLICY.delay(1, timedelta(seconds=30)) == timedelta(seconds=30)
    assert POLICY.delay(1, timedelta(days=1)) == LONGEST_RETRY_AFTER
    assert POLICY.delay(1, timedelta()) >= timedelta(seconds=0.5)


def test_the_last_attempt_is_known() -> None:
    assert [POLICY.is_last(attempt) for attempt in (1, 4, 5, 6)] == [False, False, True, True]


def test_retry_after_is_seconds_or_a_date() -> None:
    assert parse_retry_after("7") == timedelta(seconds=7)
    soon = parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True))
    assert soon is not None
    assert timedelta(seconds=25) < soon <= timedelta(seconds=30)
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == timedelta()


@given(st.none() | st.text(max_size=40))
def test_any_other_retry_after_counts_as_absent_or_as_a_pause(value: str | None) -> None:
    pause = parse_retry_after(value)
    assert pause is None or pause >= timedelta()


@pytest.mark.parametrize(
    ("status", "code", "following"),
    [
        (200, "", Next.CONFIRM),
        (204, "", Next.CONFIRM),
        (412, "PreconditionFailed", Next.CONFIRM),
        (403, "AccessDenied", Next.REMINT),
        (400, "ExpiredToken", Next.REMINT),
        (0, "connection lost", Next.REPEAT),
        (408, "", Next.REPEAT),
        (409, "ConditionalRequestConflict", Next.REPEAT),
        (429, "", Next.REPEAT),
        (500, "InternalError", Next.REPEAT),
        (503, "SlowDown", Next.REPEAT),
        (400, "RequestTimeout", Next.REPEAT),
        (400, "EntityTooLarge", Next.GIVE_UP),
        (400, "BadDigest", Next.GIVE_UP),
        (404, "NoSuchBucket", Next.GIVE_UP),
        (307, "TemporaryRedirect", Next.GIVE_UP),
        (411, "MissingContentLength", Next.GIVE_UP),
    ],
)
def test_what_follows_from_an_answer(status: int, code: str, following: Next) -> None:
    assert Answer(status=status, code=code, message="").next is following


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("report.csv", "text/csv"),
        ("report.csv.gz", "application/gzip"),
        ("photo.JPG", "image/jpeg"),
        ("README", "application/octet-stream"),
        (".hidden", "application/octet-stream"),
        ("x.tar.xz", "application/x-xz"),
    ],
)
def test_the_type_is_guessed_from_the_name(name: str, kind: str) -> None:
    assert guess_type(name) == kind
