"""A credential is renewed before it ends, by one for all, and used to its end when it cannot be renewed."""

import asyncio
import logging
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from broker.domain.errors import CredentialsUnavailable
from broker.storage.held import HeldCredentials, Renewal
from broker.storage.s3.sigv4 import Credential
from tests.clock import START, FrozenClock

MINUTE = timedelta(minutes=1)
SECRET, TOKEN = "canary-secret-key", "canary-session-token"


@dataclass(slots=True, kw_only=True)
class Source:
    """A source in memory, whose credentials live for `life` from when they are asked for – or end at `ends`."""

    clock: FrozenClock
    life: timedelta | None = timedelta(hours=1)
    ends: datetime | None = None
    trouble: Exception | None = None
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    def __post_init__(self) -> None:
        self.gate.set()

    async def fetch(self) -> Credential:
        self.asked += 1
        number = self.asked
        await self.gate.wait()
        if self.trouble is not None:
            raise self.trouble
        ends = self.ends or (None if self.life is None else self.clock.now() + self.life)
        return Credential(access_key=f"ASIA{number}", secret_key=SECRET, session_token=TOKEN, expires_at=ends)


@dataclass(slots=True, kw_only=True)
class Held:
    """One under test: its clock, its source, and what was told of it."""

    clock: FrozenClock
    source: Source
    credentials: HeldCredentials[Credential]
    told: list[Renewal]

    async def key(self, after: timedelta = timedelta()) -> str:
        """Who signs, where somebody keeps time."""
        self.credentials.renew(self.clock.advance(after))
        return await self.key_alone()

    async def key_alone(self, after: timedelta = timedelta()) -> str:
        """Who signs, where nobody keeps time."""
        return (await self.credentials.current(self.clock.advance(after))).access_key

    async def settle(self) -> None:
        """Until whatever is under way has ended."""
        soon = self.credentials.ask_at - timedelta(seconds=1)
        flight = self.credentials.renew(soon)  # not due yet: it only says what is under way
        if flight is not None:
            await asyncio.wait_for(asyncio.shield(flight), 5)


@pytest.fixture
async def held() -> Held:
    return held_with(jitter=0.0)


def held_with(*, jitter: float, wanted: timedelta = 15 * MINUTE, life: timedelta | None = timedelta(hours=1)) -> Held:
    clock, told = FrozenClock(), list[Renewal]()
    source = Source(clock=clock, life=life)
    credentials = HeldCredentials(
        source, clock=clock, jitter=lambda: jitter, told=told.append, patience=timedelta(milliseconds=200)
    )
    credentials.serve("destinations.eu.credentials.write", wanted)
    return Held(clock=clock, source=source, credentials=credentials, told=told)


async def test_concurrent_callers_ask_the_source_once(held: Held) -> None:
    keys = await asyncio.gather(*(held.key() for _ in range(50)))

    assert set(keys) == {"ASIA1"}
    assert held.source.asked == 1


async def test_what_never_ends_is_asked_for_once() -> None:
    held = held_with(jitter=0.0, life=None)
    await held.key()

    assert await held.key(timedelta(days=400)) == "ASIA1"
    assert held.source.asked == 1


async def test_an_hour_is_kept_until_the_longest_url_would_be_cut_short(held: Held) -> None:
    """60 minutes less 15 of the URL and one for the renewal."""
    await held.key()

    assert await held.key(43 * MINUTE) == "ASIA1"
    assert held.source.asked == 1
    assert await held.key(MINUTE) == "ASIA1"  # does not wait: the old one is good enough
    await held.settle()
    assert await held.key() == "ASIA2"


async def test_sessions_as_short_as_their_urls_are_asked_for_twice_in_their_life_and_no_more() -> None:
    """STS gives at least 15 minutes; a URL of 15 minutes must not make a storm of it."""
    held = held_with(jitter=0.0, life=15 * MINUTE)
    for _ in range(24 * 60):
        await held.key(MINUTE)
        await held.settle()

    assert 24 * 60 // 8 <= held.source.asked <= 24 * 60 // 7


async def test_a_url_that_wants_more_than_any_session_makes_no_storm_either() -> None:
    held = held_with(jitter=0.0, wanted=timedelta(days=7), life=timedelta(hours=1))
    for _ in range(24 * 60):
        await held.key(MINUTE)
        await held.settle()

    assert held.source.asked <= 24 * 2 + 1


async def test_where_nobody_keeps_time_a_mint_asks_by_itself(held: Held) -> None:
    """Half-way between the moment when somebody should have, and the one from which mints wait."""
    await held.key_alone()

    assert await held.key_alone(50 * MINUTE) == "ASIA1"
    await asyncio.sleep(0)
    assert held.source.asked == 1
    assert await held.key_alone(MINUTE) == "ASIA1"  # not waited for
    await held.settle()
    assert await held.key_alone() == "ASIA2"


async def test_jitter_renews_earlier_by_three_tenths_at_most() -> None:
    early, late = held_with(jitter=1.0), held_with(jitter=0.0)
    for each in (early, late):
        await each.key()

    assert early.credentials.ask_at - START == 44 * MINUTE * 0.7
    assert late.credentials.ask_at - START == 44 * MINUTE


async def test_nobody_waits_while_what_is_held_is_good_enough(held: Held) -> None:
    await held.key()
    held.source.gate.clear()

    assert await held.key(50 * MINUTE) == "ASIA1"
    await asyncio.sleep(0)
    assert await held.key(5 * MINUTE) == "ASIA1"
    assert held.source.asked == 2

    held.source.gate.set()
    await held.settle()
    assert await held.key() == "ASIA2"


async def test_near_its_end_a_mint_waits_for_a_fresh_one(held: Held) -> None:
    """A URL of 15 minutes is not signed with 40 s left when a fresh credential can be had."""
    await held.key()

    assert await held.key(timedelta(minutes=59, seconds=20)) == "ASIA2"


async def test_near_its_end_a_source_that_hangs_costs_one_wait_and_no_mint(held: Held) -> None:
    await held.key()
    held.source.gate.clear()

    assert await held.key(timedelta(minutes=59, seconds=20)) == "ASIA1"
    async with asyncio.timeout(0.1):  # less than the patience for one
        assert await held.key() == "ASIA1"

    held.source.gate.set()
    await held.settle()
    assert await held.key() == "ASIA2"


async def test_a_source_that_fails_keeps_the_old_one_until_it_dies(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    await held.key()
    held.source.trouble = CredentialsUnavailable("STS answers AccessDenied")
    for _ in range(14):
        assert await held.key(timedelta(minutes=59) / 14) == "ASIA1"
        await held.settle()

    with pytest.raises(CredentialsUnavailable) as refusal:
        await held.key(2 * MINUTE)
    await held.settle()

    assert refusal.value.detail == "destinations.eu.credentials.write: STS answers AccessDenied"
    lines = [each for each in caplog.records if each.message == "credentials.refresh-failed"]
    assert {each.levelno for each in lines} == {logging.WARNING, logging.ERROR}
    assert vars(lines[0])["credentials"] == "destinations.eu.credentials.write"
    assert vars(lines[0])["usable_until"] == (START + timedelta(hours=1)).isoformat()
    assert vars(lines[-1])["usable_until"] is None
    assert [each.is_ok for each in held.told] == [True] + [False] * len(lines)


async def test_near_the_end_a_source_that_failed_is_not_waited_for(held: Held) -> None:
    await held.key()
    held.source.trouble = CredentialsUnavailable("no")
    await held.key(58 * MINUTE)
    await held.settle()
    held.source.gate.clear()

    async with asyncio.timeout(0.1):  # less than the patience for one
        assert await held.key(MINUTE) == "ASIA1"


async def test_a_source_that_fails_is_asked_later_and_later(held: Held) -> None:
    held.source.trouble = CredentialsUnavailable("no")
    times = []
    for _ in range(600):
        before = held.source.asked
        with pytest.raises(CredentialsUnavailable):
            await held.key(timedelta(seconds=1))
        if held.source.asked > before:
            times.append(held.clock.now() - START)

    gaps = [round((later - earlier).total_seconds()) for earlier, later in pairwise(times)]
    assert gaps[:6] == [2, 4, 8, 16, 32, 60]
    assert set(gaps[5:]) == {60}


async def test_it_is_asked_at_its_old_pace_again_once_it_answers(held: Held) -> None:
    held.source.trouble = CredentialsUnavailable("no")
    with pytest.raises(CredentialsUnavailable):
        await held.key()
    held.source.trouble = None

    assert await held.key(timedelta(seconds=3)) == "ASIA2"
    assert held.credentials.ask_at - held.clock.now() == 44 * MINUTE


async def test_a_source_that_has_nothing_newer_is_asked_a_few_times_and_nobody_waits() -> None:
    """Instance metadata gives the same credential until five minutes before its end."""
    held = held_with(jitter=0.0)
    held.source.ends = START + timedelta(hours=1)
    await held.key()
    for _ in range(58 * 60 // 10):
        await held.key(timedelta(seconds=10))
        await held.settle()

    assert held.source.asked <= 25
    held.source.ends = START + timedelta(hours=7)
    await held.key(MINUTE)
    await held.settle()
    assert (await held.credentials.current(held.clock.now())).expires_at == START + timedelta(hours=7)


async def test_a_credential_that_is_over_when_it_comes_is_refused(held: Held) -> None:
    held.source.ends = START - MINUTE

    with pytest.raises(CredentialsUnavailable, match="clock"):
        await held.key()


async def test_whatever_a_source_raises_is_an_answer_and_says_nothing_of_it(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    held.source.trouble = KeyError(SECRET)

    with pytest.raises(CredentialsUnavailable, match=r"resolving it failed \(KeyError\)") as refusal:
        await held.key()
    with pytest.raises(CredentialsUnavailable):
        await held.key(timedelta(seconds=1))

    assert held.source.asked == 1
    assert SECRET not in caplog.text + str(refusal.value)


async def test_a_source_that_never_answers_is_not_waited_for_for_ever(held: Held) -> None:
    held.source.gate.clear()

    with pytest.raises(CredentialsUnavailable, match="does not answer"):
        await held.key()


async def test_a_source_that_never_answers_costs_one_wait_and_not_one_for_each(
    held: Held, caplog: pytest.LogCaptureFixture
) -> None:
    """A lease of many jobs signs one after the other: those of other stores must not wait for all of them."""
    held.source.gate.clear()
    with pytest.raises(CredentialsUnavailable):
        await held.key()

    async with asyncio.timeout(0.1):  # less than the patience for one
        for _ in range(10):
            with pytest.raises(CredentialsUnavailable, match="does not answer"):
                await held.key()

    (line,) = [each for each in caplog.records if each.message == "credentials.slow"]
    assert vars(line)["credentials"] == "destinations.eu.credentials.write"
    held.source.gate.set()
    await held.settle()
    assert await held.key() == "ASIA1"


async def test_a_clock_that_was_ahead_and_is_set_right_delays_nothing(held: Held) -> None:
    """A machine that wakes with a wrong clock: what it is given seems over, until NTP sets it back by days."""
    held.source.ends = START - timedelta(days=2)
    with pytest.raises(CredentialsUnavailable, match="clock"):
        await held.key()

    assert await held.key(-timedelta(days=3)) == "ASIA2"


async def test_a_caller_that_goes_away_takes_nobody_with_it(held: Held) -> None:
    held.source.gate.clear()
    first = asyncio.create_task(held.key())
    second = asyncio.create_task(held.key())
    await asyncio.sleep(0)
    first.cancel()
    held.source.gate.set()

    assert await second == "ASIA1"
    assert held.source.asked == 1


async def test_the_neediest_user_decides_when_it_is_renewed(held: Held) -> None:
    held.credentials.serve("destinations.us.credentials.write", 20 * MINUTE)
    await held.key()

    assert held.credentials.ask_at - START == 39 * MINUTE


async def test_rotation_under_many_mints_never_gives_one_that_is_over() -> None:
    """Two hundred mints a step over many lives, with a source that fails every third time."""
    held = held_with(jitter=0.5, wanted=5 * MINUTE, life=10 * MINUTE)

    async def mint() -> None:
        now = held.clock.now()
        credential = await held.credentials.current(now)
        assert credential.expires_at is not None
        assert credential.expires_at > now

    for step in range(300):
        held.source.trouble = CredentialsUnavailable("no") if held.source.asked % 3 == 2 else None
        await asyncio.gather(*(mint() for _ in range(200)))
        await held.settle()
        held.clock.advance(timedelta(seconds=20 + step % 7))

    assert held.source.asked < 80


async def test_no_secret_is_in_a_repr_or_a_log(held: Held, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    credential = await held.credentials.current(START)
    held.source.trouble = CredentialsUnavailable("no")
    await held.key(50 * MINUTE)
    await held.settle()

    said = f"{credential!r} {held.credentials!r} {vars(held.credentials)} {held.told} {caplog.text}"
    assert SECRET not in said
    assert TOKEN not in said


async def test_what_was_not_honoured_is_not_given_again_where_another_can_be_had(held: Held) -> None:
    refused = await held.credentials.current(START)
    held.clock.advance(MINUTE)
    held.credentials.distrust(refused)

    assert await held.key_alone() == "ASIA2"
    held.credentials.distrust(refused)  # by those who came with it at the same time
    assert await held.key_alone() == "ASIA2"
    assert held.source.asked == 2


async def test_a_source_without_another_keeps_what_was_not_honoured(held: Held) -> None:
    """Who doubts it may be wrong."""
    refused = await held.credentials.current(START)
    held.source.trouble = CredentialsUnavailable("no")
    held.clock.advance(MINUTE)
    held.credentials.distrust(refused)

    assert await held.key_alone() == "ASIA1"


async def test_doubts_make_no_storm_of_requests(held: Held) -> None:
    """A store that honours nothing: a permission was taken away, not a credential."""
    for _ in range(100):
        held.credentials.distrust(await held.credentials.current(held.clock.advance(timedelta(seconds=1))))

    assert held.source.asked <= 11
