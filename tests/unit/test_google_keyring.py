"""What belongs to Google, for a whole process: who is configured alike shares one token, and a mint costs none."""

import asyncio
import json
import logging
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from prometheus_client import generate_latest

from broker.clock import SystemClock
from broker.domain.errors import CredentialsUnavailable, SigningQuotaExhausted
from broker.ledger.rates import MemoryRates
from broker.settings import GcsDestination
from broker.settings.google import GoogleSourceSettings
from broker.storage.held import Renewal
from broker.telemetry.credentials import CredentialMetrics
from broker.telemetry.metrics import Metrics
from broker.wiring.credentials import Keyring, counted_by, open_keyring
from emulators.google_iam.process import GoogleIamProcess, start_google_iam

BROKER, MIDDLE, WRITER, READER, JANITOR, STRANGER = (
    f"{name}@acme.iam.gserviceaccount.com" for name in ("broker", "middle", "writer", "reader", "janitor", "stranger")
)
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
GRANTS = {BROKER: (WRITER, READER, JANITOR, MIDDLE), MIDDLE: (STRANGER,)}


@pytest.fixture(scope="module")
def started() -> Iterator[GoogleIamProcess]:
    with start_google_iam(accounts=(BROKER,), impersonate=GRANTS) as iam:
        yield iam


@pytest.fixture
def iam(started: GoogleIamProcess) -> Iterator[GoogleIamProcess]:
    yield started
    control(started, "faults", b"{}")


@pytest.fixture
def told() -> list[Renewal]:
    return []


@pytest.fixture
async def keyring(told: list[Renewal]) -> AsyncIterator[Keyring]:
    clock = SystemClock()
    async with open_keyring(clock, told.append, MemoryRates(clock)) as keyring:
        yield keyring


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


def place(iam: GoogleIamProcess, **differs: Any) -> GcsDestination:
    usual = GcsDestination(
        bucket="acme-uploads",
        iam_endpoint=f"{iam.endpoint}/",
        writer=WRITER,
        reader=READER,
        janitor=JANITOR,
        source=GoogleSourceSettings(key_file=str(iam.key_files[BROKER])),
    )
    return msgspec.structs.replace(usual, **differs)


def control(iam: GoogleIamProcess, what: str, body: bytes | None = None) -> Any:
    method = "GET" if body is None else "PUT"
    request = urllib.request.Request(f"{iam.endpoint}/_emulator/{what}", data=body, method=method)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)


async def asked(iam: GoogleIamProcess) -> dict[str, int]:
    counted: dict[str, int] = (await asyncio.to_thread(control, iam, "counters"))["requests"]
    return counted


def since(before: dict[str, int], after: dict[str, int]) -> dict[str, int]:
    return {route: count - before.get(route, 0) for route, count in after.items() if count > before.get(route, 0)}


async def test_a_thousand_cold_signatures_cost_one_token(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess
) -> None:
    before = await asked(iam)
    writer = keyring.google.signatory("scans", "writer", place(iam), http)

    signatures = await asyncio.gather(*(writer.sign(b"%d" % (number % 7)) for number in range(1_000)))

    assert len(set(signatures)) == 7
    assert since(before, await asked(iam)) == {"token": 1, "signBlob": 1_000}


async def test_destinations_that_are_configured_alike_share_tokens(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess
) -> None:
    before, now = await asked(iam), SystemClock().now()
    names = [f"d{number}" for number in range(10)]
    held = {keyring.google.tokens(name, "writer", place(iam, bucket=name * 2), http, SCOPES) for name in names}

    tokens = {(await each.current(now)).text for each in held}

    assert len(tokens) == 1
    assert since(before, await asked(iam)) == {"token": 1, "generateAccessToken": 1}
    (shared,) = held
    assert shared.places == tuple(f"destinations.{name}.writer" for name in names)
    assert shared.ask_at - now <= timedelta(minutes=55)  # in the background, five minutes before its end at the latest


async def test_each_right_has_a_token_of_its_own_account_and_scope(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess
) -> None:
    now = SystemClock().now()
    for right, account in (("writer", WRITER), ("reader", READER), ("janitor", JANITOR)):
        held = keyring.google.tokens("scans", right, place(iam), http, SCOPES)  # type: ignore[arg-type]
        token = (await held.current(now)).text
        async with http.get(f"{iam.endpoint}/tokeninfo", params={"access_token": token}) as response:
            info = await response.json(content_type=None)
        assert (info["email"], info["scope"]) == (account, SCOPES[0])


async def test_a_chain_of_delegates_reaches_whom_the_broker_may_not(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess
) -> None:
    direct = keyring.google.signatory("one", "writer", place(iam, writer=STRANGER), http)
    chained = keyring.google.signatory("two", "writer", place(iam, writer=STRANGER, delegates=(MIDDLE,)), http)

    assert await chained.sign(b"x")
    with pytest.raises(CredentialsUnavailable, match="403 PERMISSION_DENIED"):
        await direct.sign(b"x")


async def test_a_workload_identity_signs_as_well(http: aiohttp.ClientSession) -> None:
    with start_google_iam(accounts=(BROKER,), impersonate={"workload": (WRITER,)}) as iam:
        federated = GoogleSourceSettings(config_file=str(iam.workload_identity_file))
        async with open_keyring(SystemClock()) as keyring:
            assert await keyring.google.signatory("scans", "writer", place(iam, source=federated), http).sign(b"x")


async def test_a_source_that_was_revoked_is_asked_again(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess
) -> None:
    """401 once: the token is doubted, and the request repeated."""
    writer = keyring.google.signatory("scans", "writer", place(iam), http)
    await asyncio.to_thread(control, iam, "faults", b'{"script": {"signBlob": [401, 429, 503, 403]}}')

    assert await writer.sign(b"x")


async def test_all_destinations_of_a_project_share_its_quota(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess
) -> None:
    slow = place(iam, signing_rate_per_second=0.01)
    one = keyring.google.signatory("one", "writer", slow, http)
    other = keyring.google.signatory("two", "reader", slow, http)
    await one.sign(b"x")

    with pytest.raises(SigningQuotaExhausted):
        await other.sign(b"x")


async def test_refreshes_are_counted_by_place_and_nothing_of_a_token_is_shown(
    http: aiohttp.ClientSession, iam: GoogleIamProcess, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "broker")
    metrics = Metrics()
    async with open_keyring(SystemClock(), counted_by(CredentialMetrics(metrics))) as keyring:
        held = keyring.google.tokens("scans", "writer", place(iam), http, SCOPES)
        token = await held.current(SystemClock().now())
        shown = f"{token!r} {held!r} {vars(held)} {vars(keyring.google)} {caplog.text}"

    page = generate_latest(metrics.registry).decode()
    for right in ("source", "writer"):
        assert f'broker_credential_refreshes_total{{credential="destinations.scans.{right}",outcome="ok"}} 1.0' in page
        assert f'broker_credential_expires_timestamp_seconds{{credential="destinations.scans.{right}"}}' in page
    assert token.text not in shown + page


async def test_a_key_file_that_is_missing_is_said_by_its_place(
    keyring: Keyring, http: aiohttp.ClientSession, iam: GoogleIamProcess, tmp_path: Path
) -> None:
    lost = place(iam, source=GoogleSourceSettings(key_file=str(tmp_path / "lost.json")))

    with pytest.raises(CredentialsUnavailable, match=r"destinations\.scans\.source: .*lost\.json cannot be read"):
        await keyring.google.signatory("scans", "writer", lost, http).sign(b"x")
