"""SNS's keys: fetched once, kept while nobody answers, and no stranger makes us fetch without end."""

import asyncio
import base64
import gc
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import example, given
from hypothesis import strategies as st

from broker.domain.errors import SenderUnavailable
from broker.doors.sns_keys import ASK_AGAIN_AFTER, FRESH_FOR, MAX_CERTIFICATE_BYTES, MOST_ASKED_A_MINUTE, MOST_KEYS
from tests.clock import FrozenClock
from tests.unit.doors.sns_world import CERTIFICATE, HOST, Sns, certificate, rsa_key

MINUTE = timedelta(minutes=1)


@pytest.fixture
def sns() -> Sns:
    return Sns()


def named(name: object) -> str:
    return f"{HOST}/SimpleNotificationService-{name}.pem"


async def found(sns: Sns, url: str = CERTIFICATE) -> bool:
    return await sns.keys.find(url) is not None


async def test_many_at_once_make_one_question(sns: Sns) -> None:
    sns.pages.open = asyncio.Event()
    asking = [asyncio.create_task(found(sns)) for _ in range(100)]
    await sns.pages.was_asked.wait()
    sns.pages.open.set()
    assert all(await asyncio.gather(*asking))
    assert sns.pages.asked == [CERTIFICATE]


async def test_who_asked_first_may_go_and_the_others_still_get_the_answer(sns: Sns) -> None:
    sns.pages.open = asyncio.Event()
    first, second = asyncio.create_task(found(sns)), asyncio.create_task(found(sns))
    await sns.pages.was_asked.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    sns.pages.open.set()
    assert await second
    assert sns.pages.asked == [CERTIFICATE]


async def test_trouble_that_nobody_waits_for_any_more_is_no_warning(sns: Sns) -> None:
    sns.unavailable()
    sns.pages.open = asyncio.Event()
    only = asyncio.create_task(found(sns))
    await sns.pages.was_asked.wait()
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    sns.pages.open.set()
    await sns.keys._asking.land()
    await asyncio.sleep(0)
    gc.collect()
    assert CERTIFICATE not in sns.keys._asking
    assert not complaints


async def test_it_is_asked_for_again_after_a_day(sns: Sns) -> None:
    assert await found(sns)
    sns.clock.advance(FRESH_FOR - timedelta(milliseconds=1))
    assert await found(sns)
    assert len(sns.pages.asked) == 1
    sns.clock.advance(timedelta(milliseconds=1))
    assert await found(sns)
    assert len(sns.pages.asked) == 2


async def test_it_stays_good_while_nobody_answers_until_its_own_end(sns: Sns) -> None:
    begins = sns.clock.now() - timedelta(days=1)
    sns.pages.pages[CERTIFICATE] = certificate(rsa_key(), begins=begins, days=4)
    assert await found(sns)
    sns.unavailable()
    sns.clock.advance(FRESH_FOR)
    for _ in range(5):
        assert await found(sns)
    assert len(sns.pages.asked) == 2
    sns.clock.advance(ASK_AGAIN_AFTER)
    assert await found(sns)
    assert len(sns.pages.asked) == 3
    sns.clock.advance(timedelta(days=3))
    assert not await found(sns)


async def test_one_that_was_withdrawn_is_no_longer_good(sns: Sns) -> None:
    assert await found(sns)
    del sns.pages.pages[CERTIFICATE]
    sns.clock.advance(FRESH_FOR)
    assert not await found(sns)
    assert not await found(sns)
    assert len(sns.pages.asked) == 2


async def test_without_an_answer_nobody_is_let_in_and_it_is_asked_again(sns: Sns) -> None:
    sns.unavailable()
    for times in (1, 2):
        with pytest.raises(SenderUnavailable):
            await found(sns)
        assert len(sns.pages.asked) == times
    sns.pages.pages[CERTIFICATE] = certificate(rsa_key(), begins=sns.clock.now() - timedelta(days=1))
    assert await found(sns)


async def test_one_that_there_is_not_is_not_asked_for_again_at_once(sns: Sns) -> None:
    url = named("made-up")
    for _ in range(5):
        assert not await found(sns, url)
    assert sns.pages.asked == [url]
    sns.pages.pages[url] = certificate(rsa_key(), begins=sns.clock.now())
    sns.clock.advance(ASK_AGAIN_AFTER)
    assert await found(sns, url)


async def test_names_made_up_are_asked_for_only_so_often_and_displace_no_key(sns: Sns) -> None:
    assert await found(sns)
    for round_ in range(40):
        for number in range(MOST_ASKED_A_MINUTE):
            try:
                assert not await found(sns, named(f"{round_}-{number}"))
            except SenderUnavailable:
                break
        with pytest.raises(SenderUnavailable):
            await found(sns, named("one-more"))
        assert await found(sns)
        sns.clock.advance(MINUTE)
    assert len(sns.pages.asked) <= 40 * MOST_ASKED_A_MINUTE
    assert sns.pages.asked.count(CERTIFICATE) == 1
    assert len(sns.keys._absent) <= 256


async def test_real_ones_are_kept_by_their_use(sns: Sns) -> None:
    page = certificate(rsa_key(), begins=sns.clock.now())
    for number in range(MOST_KEYS + 5):
        sns.pages.pages[named(number)] = page
        sns.clock.advance(timedelta(seconds=3))
        assert await found(sns, named(number))
    assert len(sns.keys._found) == MOST_KEYS


async def test_a_page_that_never_ends_is_none(sns: Sns) -> None:
    page = sns.pages.pages[CERTIFICATE]
    assert isinstance(page, bytes)
    sns.pages.pages[CERTIFICATE] = page + b"\n" * MAX_CERTIFICATE_BYTES
    assert not await found(sns)


PEM = certificate(rsa_key(), begins=FrozenClock().now())
DER = x509.load_pem_x509_certificate(PEM).public_bytes(Encoding.DER)


# What cryptography reads today with a warning (a serial number that is not positive), it will refuse tomorrow.
@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")
@given(st.integers(0, len(DER) - 1), st.binary(min_size=1, max_size=4))
@example(15, b"\x80")
def test_no_damaged_certificate_is_more_than_none(at: int, junk: bytes) -> None:
    sns = Sns()
    der = DER[:at] + junk + DER[at + len(junk) :]
    body = base64.encodebytes(der)
    sns.pages.pages[CERTIFICATE] = b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"
    asyncio.run(found(sns))


async def test_a_key_of_another_kind_is_none(sns: Sns) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    sns.pages.pages[CERTIFICATE] = certificate(key, begins=sns.clock.now())
    assert not await found(sns)
