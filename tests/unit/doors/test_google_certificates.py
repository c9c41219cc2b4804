"""Google's certificates: fetched seldom, kept while nobody answers, and no stranger makes us fetch without end."""

import asyncio
import json
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import SenderUnavailable
from broker.doors.google_certificates import (
    ASK_AGAIN_AFTER,
    ASK_SOON_AFTER,
    FRESH_AT_LEAST,
    FRESH_AT_MOST,
    FRESH_FOR,
    MAX_PAGE_BYTES,
)
from tests.clock import FrozenClock
from tests.unit.doors.google_world import CERTS, Google
from tests.unit.doors.sns_world import certificate, rsa_key

TICK = timedelta(milliseconds=1)


@pytest.fixture
def google() -> Google:
    return Google()


async def found(google: Google, name: str = "one") -> bool:
    return await google.certificates.find(name) is not None


def asked(google: Google) -> int:
    assert set(google.pages.asked) <= {CERTS}
    return len(google.pages.asked)


async def test_many_at_once_make_one_question(google: Google) -> None:
    google.pages.open = asyncio.Event()
    asking = [asyncio.create_task(found(google, name)) for name in ["one", "unknown"] * 50]
    await google.pages.was_asked.wait()
    google.pages.open.set()
    assert sorted(await asyncio.gather(*asking)) == [False] * 50 + [True] * 50
    assert asked(google) == 1


async def test_who_asked_first_may_go_and_the_others_still_get_the_answer(google: Google) -> None:
    google.pages.open = asyncio.Event()
    first, second = asyncio.create_task(found(google)), asyncio.create_task(found(google))
    await google.pages.was_asked.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    google.pages.open.set()
    assert await second
    assert asked(google) == 1


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (None, FRESH_FOR),
        (timedelta(), FRESH_AT_LEAST),
        (timedelta(hours=5), timedelta(hours=5)),
        (timedelta(days=365), FRESH_AT_MOST),
    ],
)
async def test_it_is_fetched_again_when_google_says_so_within_reason(
    google: Google, said: timedelta | None, kept: timedelta
) -> None:
    google.pages.fresh_for = said
    assert await found(google)
    google.clock.advance(kept - TICK)
    assert await found(google)
    assert asked(google) == 1
    google.clock.advance(TICK)
    assert await found(google)
    assert asked(google) == 2


async def test_a_key_that_google_began_to_use_is_found_and_one_it_gave_up_is_not(google: Google) -> None:
    assert await found(google)
    google.publish("one", "two")
    google.clock.advance(ASK_AGAIN_AFTER)
    assert await found(google, "two")
    google.publish("two")
    google.clock.advance(timedelta(hours=6))
    assert await found(google, "two")
    assert not await found(google, "one")


async def test_a_storm_of_unknown_keys_is_one_question_a_minute_and_costs_no_known_one(google: Google) -> None:
    assert await found(google)
    for minute in range(1, 6):
        google.clock.advance(ASK_AGAIN_AFTER)
        for number in range(50):
            assert not await found(google, f"made-up-{minute}-{number}")
            assert await found(google)
        assert asked(google) == 1 + minute
    assert len(google.certificates._held) == 1


async def test_while_nobody_answers_what_is_known_stays_good_until_its_own_end(google: Google) -> None:
    google.publish("one", days=3)
    assert await found(google)
    google.unavailable()
    google.clock.advance(timedelta(hours=6))
    for _ in range(5):
        assert await found(google)
    assert asked(google) == 2
    google.clock.advance(ASK_AGAIN_AFTER)
    assert await found(google)
    assert asked(google) == 3
    google.clock.advance(timedelta(days=2))
    assert not await found(google)


async def test_while_nobody_answers_nobody_knows_of_an_unknown_key(google: Google) -> None:
    assert await found(google)
    google.unavailable()
    google.clock.advance(ASK_AGAIN_AFTER)
    for _ in range(5):
        with pytest.raises(SenderUnavailable):
            await found(google, "two")
        assert await found(google)
    assert asked(google) == 2
    google.publish("one", "two")
    google.clock.advance(ASK_AGAIN_AFTER)
    assert await found(google, "two")


async def test_with_nothing_to_go_on_it_asks_again_soon_and_lets_nobody_in(google: Google) -> None:
    google.unavailable()
    for times in (1, 2, 3):
        for _ in range(5):
            with pytest.raises(SenderUnavailable):
                await found(google)
        assert asked(google) == times
        google.clock.advance(ASK_SOON_AFTER)
    google.publish("one")
    assert await found(google)


async def test_a_clock_that_is_set_back_keeps_no_new_key_out(google: Google) -> None:
    right = google.clock.now()
    google.clock.advance(timedelta(hours=12))
    assert await found(google)
    google.publish("one", "two")
    google.certificates.clock = FrozenClock(right)
    assert await found(google, "two")


@pytest.mark.parametrize(
    "page",
    [b"", b"{}", b"null", b"[]", b"<html>", b'{"one": 7}', b'{"one": "text"}', b"[" * 100_000, b"\xff\xfe"],
    ids=lambda page: str(page)[:20],
)
async def test_a_page_without_certificates_displaces_none(google: Google, page: bytes) -> None:
    assert await found(google)
    good = google.pages.pages[CERTS]
    google.pages.pages[CERTS] = page
    google.clock.advance(timedelta(days=1))
    assert await found(google)
    fresh = Google()
    fresh.pages.pages[CERTS] = page
    with pytest.raises(SenderUnavailable):
        await found(fresh)
    fresh.pages.pages[CERTS] = good
    fresh.clock.advance(ASK_SOON_AFTER)
    assert await found(fresh)


async def test_a_page_that_is_not_there_or_never_ends_is_none(google: Google) -> None:
    page = google.pages.pages[CERTS]
    assert isinstance(page, bytes)
    for other in (None, page + b" " * MAX_PAGE_BYTES):
        fresh = Google()
        fresh.pages.pages = {} if other is None else {CERTS: other}
        with pytest.raises(SenderUnavailable):
            await found(fresh)


async def test_one_that_cannot_be_used_spoils_no_other(google: Google) -> None:
    begins = google.clock.now() - timedelta(days=1)
    page = {
        "one": certificate(rsa_key("one"), begins=begins).decode(),
        "weak": certificate(rsa_key("weak"), begins=begins).decode(),
        "curve": certificate(ec.generate_private_key(ec.SECP256R1()), begins=begins).decode(),
        "over": certificate(rsa_key("two"), begins=begins - timedelta(days=9), days=9).decode(),
        "later": certificate(rsa_key("two"), begins=begins + timedelta(days=2)).decode(),
        "text": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }
    google.pages.pages[CERTS] = json.dumps(page).encode()
    assert [name for name in page if await found(google, name)] == ["one"]
    google.clock.advance(timedelta(days=1))
    assert [name for name in page if await found(google, name)] == ["one", "later"]


@given(page=st.dictionaries(st.text(max_size=5), st.text(max_size=40) | st.integers() | st.none()))
def test_no_page_breaks_it(page: dict[str, object]) -> None:
    google = Google()
    google.pages.pages[CERTS] = json.dumps(page).encode(errors="surrogatepass")
    with pytest.raises(SenderUnavailable):
        asyncio.run(found(google))
