import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uploader.views.forecast import MIB, Forecast
from uploader.views.wording import left_text, pair_text, percent_text, span_text

TICK = 0.25


def sent(sizes: list[int], file_seconds: float, byte_seconds: float) -> Iterator[tuple[float, int, int]]:
    """What a view sees each tick of files that cost so much each, and each byte so much: moment, files, bytes."""
    now, done, size_bytes, at = 0.0, 0, 0, 0.0
    for size in sizes:
        at += file_seconds + size * byte_seconds
        while at > now + TICK:
            yield now, done, size_bytes
            now += TICK
        done, size_bytes = done + 1, size_bytes + size
    yield now, done, size_bytes


def forecasts(sizes: list[int], file_seconds: float, byte_seconds: float) -> list[tuple[float, Forecast]]:
    """Each tick: how long it really takes from there, and what was forecast (its `seconds` and `is_least` then)."""
    forecast, whole = Forecast(), sum(sizes)
    end = len(sizes) * file_seconds + whole * byte_seconds
    seen = []
    for now, files, size_bytes in sent(sizes, file_seconds, byte_seconds):
        forecast.observe(now, files, size_bytes)
        forecast.ask(now, len(sizes) - files, whole - size_bytes, is_all=True)
        seen.append((end - now, Forecast(seconds=forecast.seconds, is_least=forecast.is_least)))
    return seen


@pytest.mark.parametrize(
    ("size", "file_seconds", "byte_seconds"),
    [(4096, 0.001, 0.0), (MIB, 0.001, 1e-8), (8 * MIB, 0.0, 1e-8)],
)
def test_files_of_one_size_have_an_end_that_is_right_and_stays(
    size: int, file_seconds: float, byte_seconds: float
) -> None:
    cost = file_seconds + size * byte_seconds
    seen = forecasts([size] * int(60 / cost), file_seconds, byte_seconds)
    for left, forecast in seen[40:]:
        assert forecast.seconds == pytest.approx(left, abs=max(3.0, left / 5))
        assert not forecast.is_least


def test_smallest_first_says_nothing_that_is_far_too_long() -> None:
    """4 KiB files at 1,000 a second, then 40 of 100 MiB at 100 MiB/s: by bytes alone this would be 1,000 s at first."""
    seen = forecasts([4096] * 20_000 + [100 * MIB] * 40, 0.001, 1 / (100 * MIB))
    for left, forecast in seen[12:]:
        assert forecast.seconds is not None
        if forecast.is_least:
            assert forecast.seconds < left * 1.3 + 3
        else:
            assert forecast.seconds == pytest.approx(left, abs=max(5.0, left / 2))
    assert not seen[-60][1].is_least


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.floats(1e-4, 1e-2), st.floats(1, 500))
def test_an_end_that_is_said_is_not_far_off(seed: int, file_seconds: float, mib_per_second: float) -> None:
    """Of 1 KiB to 2 MiB, smallest first, and three large ones at the end; small ones cost half as much or half more."""
    dice = random.Random(seed)
    sizes = sorted(int(1024 * 2 ** dice.uniform(0, 11)) for _ in range(1000)) + [60 * MIB] * 3
    noise = [1 if size > 2 * MIB else dice.uniform(0.5, 1.5) for size in sizes]
    costs = [(file_seconds + size / MIB / mib_per_second) * each for size, each in zip(sizes, noise, strict=True)]
    forecast, end, now, at, files, done = Forecast(), sum(costs), 0.0, 0.0, 0, 0
    while now < end:
        now += max(TICK, end / 400)
        while files < len(sizes) and at + costs[files] <= now:
            at, done, files = at + costs[files], done + sizes[files], files + 1
        moved = done + int(sizes[files] * (now - at) / costs[files]) if files < len(sizes) else done
        forecast.observe(now, files, moved)
        forecast.ask(now, len(sizes) - files, sum(sizes) - moved, is_all=True)
        if forecast.seconds is not None and not forecast.is_least:
            assert abs(forecast.seconds - (end - now)) <= max(10.0, 0.6 * (end - now))


def test_nothing_moves_so_nobody_knows() -> None:
    forecast = Forecast()
    for tick in range(100):
        forecast.observe(tick * TICK, 50, 1000)
        forecast.ask(tick * TICK, 50, 1000, is_all=True)
    assert forecast.seconds is None


def test_while_the_scan_goes_on_there_is_only_a_least() -> None:
    forecast = Forecast()
    for tick in range(100):
        forecast.observe(tick * TICK, tick * 10, tick * 10 * 4096)
        forecast.ask(tick * TICK, 1000, 1000 * 4096, is_all=False)
    assert forecast.is_least
    assert forecast.seconds is not None
    assert 15 < forecast.seconds <= 26, (
        "1,000 at 40 a second, or a little less because the end has moved off all the time"
    )


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 60), st.integers(0, 10_000), st.integers(0, 1 << 40)), max_size=30))
def test_whatever_a_meter_says_an_end_is_a_number_or_unknown(steps: list[tuple[float, int, int]]) -> None:
    forecast, now = Forecast(), 0.0
    for pause, files, size_bytes in steps:
        now += pause
        forecast.observe(now, files, size_bytes)
        forecast.ask(now, files, size_bytes, is_all=bool(files % 2))
        assert forecast.seconds is None or 0 <= forecast.seconds < float("inf")
        assert forecast.files.per_second >= 0
        assert forecast.moved.per_second >= 0


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "5 s"), (7, "5 s"), (58, "60 s"), (61, "1 min"), (64.9, "1 min"), (68, "1 min 10 s"), (600, "10 min"),
        (5399, "90 min"), (5400, "1 h 30 min"), (36_000, "10 h 00 min"), (200_000, "2 days"),
    ],
)  # fmt: skip
def test_a_span_in_steps_that_people_count_in(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_what_is_left_in_words() -> None:
    assert left_text(None, is_least=False) == ""
    assert left_text(3, is_least=False) == "a few seconds left"
    assert left_text(90, is_least=False) == "1 min 30 s left"
    assert left_text(90, is_least=True) == "over 1 min 30 s left"
    assert left_text(2, is_least=True) == ""


def test_shares_in_words() -> None:
    assert percent_text(0, 0) == ""
    assert percent_text(999_999, 1_000_000) == "99 %"
    assert percent_text(15, 1_000) == "1.5 %"
    assert percent_text(0, 10) == "0 %"
    assert pair_text(3, 900) == "3 of 900 B"
    assert pair_text(3 << 29, 7 << 30) == "1.5 of 7.0 GiB"
