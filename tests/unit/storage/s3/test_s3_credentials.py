"""Credentials come from memory; botocore resolves them in a thread, and no more often than needed."""

import asyncio
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.session import Session

from broker.domain.errors import CredentialsUnavailable
from broker.storage.s3.credentials import ChainCredentials, FixedCredentials
from broker.storage.s3.sigv4 import Credential


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file that grows by a line each time the credential process below is asked."""
    return tmp_path / "calls"


def use_process(tmp_path: Path, calls: Path, *, life: timedelta) -> None:
    """Make botocore's chain ask a process for temporary credentials (botocore's `credential_process`)."""
    answer = {
        "Version": 1,
        "AccessKeyId": "ASIAPROCESS",
        "SecretAccessKey": "hush",
        "SessionToken": "token",
        "Expiration": (datetime.now(UTC) + life).isoformat(),
    }
    script = tmp_path / "process.py"
    script.write_text(f"open({str(calls)!r}, 'a').write('x\\n')\nprint({json.dumps(answer)!r})\n")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")


def asked(calls: Path) -> int:
    return len(calls.read_text().splitlines()) if calls.exists() else 0


async def test_fixed_keys_are_given_as_configured() -> None:
    keys = Credential(access_key="AKID", secret_key="hush")

    assert await FixedCredentials(credential=keys).current(datetime.now(UTC)) is keys


async def test_the_chain_finds_keys_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")

    found = await ChainCredentials().current(datetime.now(UTC))

    assert found == Credential(access_key="AKIAENV", secret_key="hush")


async def test_temporary_credentials_bring_their_expiry(tmp_path: Path, calls: Path) -> None:
    use_process(tmp_path, calls, life=timedelta(hours=1))
    now = datetime.now(UTC)

    found = await ChainCredentials().current(now)

    assert found.session_token == "token"
    assert found.expires_at is not None
    assert timedelta(minutes=59) < found.expires_at - now <= timedelta(hours=1, seconds=5)


async def test_concurrent_callers_ask_the_source_once(tmp_path: Path, calls: Path) -> None:
    use_process(tmp_path, calls, life=timedelta(hours=1))
    chain = ChainCredentials()
    now = datetime.now(UTC)

    found = await asyncio.gather(*(chain.current(now) for _ in range(20)))

    assert len(set(found)) == 1
    assert asked(calls) == 1


async def test_the_event_loop_keeps_running_while_a_source_is_slow() -> None:
    class SlowSession(Session):
        def get_credentials(self) -> None:
            loop.call_soon_threadsafe(turned.set)
            assert asyncio.run_coroutine_threadsafe(turned.wait(), loop).result(5)

    loop = asyncio.get_running_loop()
    turned = asyncio.Event()

    with pytest.raises(CredentialsUnavailable, match="no credentials"):
        await ChainCredentials(SlowSession).current(datetime.now(UTC))


async def test_a_source_that_fails_is_not_asked_by_every_call(tmp_path: Path, calls: Path) -> None:
    script = tmp_path / "process.py"
    script.write_text(f"open({str(calls)!r}, 'a').write('x\\n')\nraise SystemExit('no: hush')\n")
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {sys.executable} {script}\n")
    chain = ChainCredentials()
    now = datetime.now(UTC)

    for later in range(5):
        with pytest.raises(CredentialsUnavailable) as refusal:
            await chain.current(now + timedelta(seconds=later))
        assert "hush" not in str(refusal.value)

    assert asked(calls) == 1


async def test_near_its_end_a_credential_is_refreshed_and_meanwhile_good_enough(tmp_path: Path, calls: Path) -> None:
    use_process(tmp_path, calls, life=timedelta(minutes=5))
    chain = ChainCredentials()
    now = datetime.now(UTC)
    first = await chain.current(now)
    (tmp_path / "process.py").write_text("raise SystemExit(1)\n")

    assert await chain.current(now + timedelta(seconds=30)) == first
    with pytest.raises(CredentialsUnavailable):
        await chain.current(now + timedelta(minutes=6))
