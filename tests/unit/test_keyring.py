"""One keyring for a process: who is configured alike shares one credential, and everything is resolved side by side."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid, CredentialsUnavailable
from broker.settings import CredentialSettings, Secret
from broker.storage.held import Renewal
from broker.storage.s3.credentials_sts import AT_ONCE
from broker.telemetry.credentials import CredentialMetrics
from broker.telemetry.metrics import Metrics
from broker.wiring.credentials import THREADS, Keyring, Use, counted_by, open_keyring
from tests.short_sts import running_sts

HOUR = timedelta(hours=1)
KEYS = CredentialSettings(access_key_id="AKIA", secret_access_key=Secret(env="KEYRING_SECRET"))


def role(sts: str, account: int = 0, **more: Any) -> CredentialSettings:
    arn = f"arn:aws:iam::{account:012}:role/uploads"
    return CredentialSettings(role_arn=arn, source=KEYS, sts_endpoint=sts, **more)


def use(place: str, **more: Any) -> Use:
    return Use(place=place, region="eu-central-1", **more)


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEYRING_SECRET", "secret")


@pytest.fixture
def told() -> list[Renewal]:
    return []


@pytest.fixture
async def keyring(told: list[Renewal]) -> AsyncIterator[Keyring]:
    async with open_keyring(SystemClock(), told.append) as keyring:
        yield keyring


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.01)


async def test_who_is_configured_alike_shares_one_credential(keyring: Keyring) -> None:
    with running_sts(HOUR) as (url, sts):
        one, other = (keyring.of(role(url), use(place)) for place in ("one", "other"))
        narrowed = keyring.of(role(url), use("narrowed", policy='{"Statement":[]}'))
        keys = [(await each.current(SystemClock().now())).access_key for each in (one, other, narrowed)]

        assert one is other
        assert keys[0] == keys[1] != keys[2]
        assert sts.asked.total() == 2


async def test_many_destinations_are_resolved_side_by_side_before_anybody_asks(
    keyring: Keyring, told: list[Renewal]
) -> None:
    """64 of them, a fifth of a second each: one after the other they would take 13 s."""
    with running_sts(HOUR, delay=timedelta(milliseconds=200)) as (url, sts):
        held = [keyring.of(role(url, account), use(f"d{account}")) for account in range(64)]
        await until(lambda: len(told) == 64)

        assert sts.most_at_once == AT_ONCE
        now = SystemClock().now()
        assert all([await each.current(now) for each in held])
        assert sts.asked.total() == 64
        assert all(each.is_ok and each.expires_at for each in told)


async def test_it_renews_in_the_background_though_nobody_asks(keyring: Keyring, told: list[Renewal]) -> None:
    with running_sts(timedelta(seconds=1)) as (url, sts):
        keyring.of(role(url), use("d"))
        await until(lambda: len(told) == 4)

        assert sts.asked.total() >= 4


async def test_mints_over_many_rotations_always_have_a_living_credential(keyring: Keyring) -> None:
    """Sessions of a second and a half, eight destinations, mints all the time."""
    clock = SystemClock()
    with running_sts(timedelta(milliseconds=1_500)) as (url, sts):
        held = [keyring.of(role(url, account), use(f"d{account}")) for account in range(8)]
        while sts.asked.total() < 40:
            for each in held:
                now = clock.now()
                credential = await each.current(now)
                assert credential.expires_at is not None
                assert credential.expires_at > now
            await asyncio.sleep(0.001)

        assert max(sts.asked.values()) <= 3 * min(sts.asked.values())


async def test_one_account_that_is_out_of_order_stops_no_other(keyring: Keyring) -> None:
    with running_sts(HOUR) as (url, _):
        broken = keyring.of(role("http://127.0.0.1:9"), use("destinations.broken.credentials.write"))
        sound = keyring.of(role(url), use("destinations.sound.credentials.write"))

        with pytest.raises(CredentialsUnavailable, match=r"^destinations\.broken\.credentials\.write: STS does not"):
            await broken.current(SystemClock().now())
        assert (await sound.current(SystemClock().now())).access_key


async def test_an_sts_that_hangs_leaves_room_for_the_others(keyring: Keyring) -> None:
    """Twice as many roles as there are threads wait for one that does not answer in time."""
    with running_sts(HOUR, delay=timedelta(seconds=10)) as (slow, busy), running_sts(HOUR) as (quick, _):
        for account in range(2 * THREADS):
            keyring.of(role(slow, account), use(f"slow{account}"))
        await until(lambda: busy.at_once == AT_ONCE)

        async with asyncio.timeout(8):  # less than any of them takes
            assert (await keyring.of(role(quick), use("quick")).current(SystemClock().now())).access_key
        assert busy.most_at_once == AT_ONCE < THREADS


async def test_a_role_lives_as_long_as_the_longest_url_wants(keyring: Keyring) -> None:
    with running_sts(HOUR) as (url, _):
        held: Any = keyring.of(role(url), use("a", wanted=timedelta(minutes=5)))
        keyring.of(role(url), use("b", wanted=timedelta(minutes=20)))
        now = SystemClock().now()
        await held.current(now)

        assert timedelta(minutes=39) * 0.7 < held.ask_at - now <= timedelta(minutes=39, seconds=1)


async def test_metrics_tell_whether_sources_answer_and_until_when_what_is_held_may_be_used() -> None:
    metrics = Metrics()
    told = counted_by(CredentialMetrics(metrics))
    heard: list[Renewal] = []

    def hear(renewal: Renewal) -> None:
        told(renewal)
        heard.append(renewal)

    with running_sts(HOUR) as (url, _):
        async with open_keyring(SystemClock(), hear) as keyring:
            keyring.of(role(url), use("destinations.eu.credentials.write"))
            keyring.of(role("http://127.0.0.1:9"), use("destinations.us.credentials.write"))
            await until(lambda: len(heard) >= 2)

    def value(name: str, place: str, **labels: str) -> float | None:
        return metrics.registry.get_sample_value(
            name, {"credential": f"destinations.{place}.credentials.write", **labels}
        )

    asked, expires = "broker_credential_refreshes_total", "broker_credential_expires_timestamp_seconds"
    assert value(asked, "eu", outcome="ok") == 1
    assert value(asked, "us", outcome="ok") is None
    assert value(asked, "us", outcome="failed") == 1
    ends = next(each.expires_at for each in heard if each.is_ok)
    assert ends is not None
    assert value(expires, "eu") == ends.timestamp()
    assert value(expires, "us") is None


async def test_minimal_is_refused_where_nobody_knows_what_that_is(keyring: Keyring) -> None:
    with pytest.raises(ConfigurationInvalid, match=r"sources\.queue\.credentials: session_policy"):
        keyring.of(role("http://127.0.0.1:9", session_policy="minimal"), use("sources.queue.credentials"))


async def test_a_keyring_that_is_closed_leaves_nothing_under_way() -> None:
    before = asyncio.all_tasks()
    with running_sts(HOUR, delay=timedelta(seconds=1)) as (url, sts):
        async with open_keyring(SystemClock()) as keyring:
            keyring.of(role(url), use("d"))
            await until(lambda: sts.at_once == 1)
        await asyncio.sleep(0)

        assert asyncio.all_tasks() == before


def test_a_credential_process_that_never_returns_does_not_keep_the_process_from_ending(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    (tmp_path / "config").write_text(f"[default]\ncredential_process = sh -c 'touch {begun}; sleep 15'\n")
    program = """
import asyncio
import sys
from pathlib import Path
from broker.clock import SystemClock
from broker.settings import CredentialSettings
from broker.wiring.credentials import Use, open_keyring

async def main():
    async with open_keyring(SystemClock()) as keyring:
        keyring.of(CredentialSettings(), Use(place="d"))
        while not Path(sys.argv[1]).exists():
            await asyncio.sleep(0.01)

asyncio.run(main())
"""
    env = {"PATH": os.environ["PATH"], "AWS_CONFIG_FILE": str(tmp_path / "config"), "AWS_EC2_METADATA_DISABLED": "true"}

    subprocess.run([sys.executable, "-c", program, str(begun)], env=env, check=True, timeout=12)
