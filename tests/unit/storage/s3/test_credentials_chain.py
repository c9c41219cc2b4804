"""What botocore finds by itself – keys, profiles, processes, ECS, IMDS – with the expiry that its source told."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session

from broker.clock import SystemClock
from broker.domain.errors import CredentialsUnavailable
from broker.logs import configure
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.credentials_chain import ChainSource, chain_session
from broker.storage.s3.credentials_lent import CurrentCredentials, session_with
from broker.storage.s3.sigv4 import Credential
from tests.answering import answering

CANARY = "canary-of-a-secret"


@pytest.fixture(autouse=True)
def nothing_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield pool


@pytest.fixture
def chain(threads: ThreadPoolExecutor) -> ChainSource:
    return ChainSource(open_session=partial(chain_session, None, "eu-central-1"), threads=threads)


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """A file that grows by a line each time the credential process below is asked."""
    return tmp_path / "calls"


def use_process(tmp_path: Path, calls: Path, *, life: timedelta, profile: str = "default") -> None:
    """Make botocore's chain ask a process for temporary credentials (botocore's `credential_process`)."""
    answer = {
        "Version": 1,
        "AccessKeyId": "ASIAPROCESS",
        "SecretAccessKey": CANARY,
        "SessionToken": "token",
        "Expiration": (datetime.now(UTC) + life).isoformat(),
    }
    script = tmp_path / "process.py"
    script.write_text(f"open({str(calls)!r}, 'a').write('x\\n')\nprint({json.dumps(answer)!r})\n")
    section = "default" if profile == "default" else f"profile {profile}"
    (tmp_path / "config").write_text(f"[{section}]\ncredential_process = {sys.executable} {script}\n")


def asked(calls: Path) -> int:
    return len(calls.read_text().splitlines()) if calls.exists() else 0


async def test_fixed_keys_are_given_as_configured() -> None:
    keys = Credential(access_key="AKID", secret_key=CANARY)

    assert await FixedCredentials(credential=keys).current(datetime.now(UTC)) is keys


async def test_the_chain_finds_keys_in_the_environment(chain: ChainSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)

    assert await chain.fetch() == Credential(access_key="AKIAENV", secret_key=CANARY)


async def test_a_profile_is_read_anew_each_time(threads: ThreadPoolExecutor, tmp_path: Path) -> None:
    source = ChainSource(open_session=partial(chain_session, "eu", None), threads=threads)
    keys = []
    for key in ("AKIAOLD", "AKIANEW"):
        (tmp_path / "credentials").write_text(f"[eu]\naws_access_key_id = {key}\naws_secret_access_key = {CANARY}\n")
        keys.append((await source.fetch()).access_key)

    assert keys == ["AKIAOLD", "AKIANEW"]


async def test_a_profile_that_is_nowhere_is_said_so(threads: ThreadPoolExecutor) -> None:
    with pytest.raises(CredentialsUnavailable, match=r"\(ProfileNotFound\)"):
        await ChainSource(open_session=partial(chain_session, "nobody", None), threads=threads).fetch()


@pytest.mark.parametrize("minutes", [60, 5])
async def test_a_process_is_asked_once_and_its_expiry_is_kept(
    chain: ChainSource, tmp_path: Path, calls: Path, minutes: int
) -> None:
    """Also when fewer minutes are left than botocore likes, which would make it ask again at once."""
    life = timedelta(minutes=minutes)
    use_process(tmp_path, calls, life=life)
    now = datetime.now(UTC)

    found = await chain.fetch()

    assert found.session_token == "token"
    assert found.expires_at is not None
    assert life - timedelta(seconds=30) < found.expires_at - now <= life + timedelta(seconds=30)
    assert asked(calls) == 1


@pytest.mark.parametrize("code", [f"raise SystemExit('no: {CANARY}')", f"print('{CANARY}')"], ids=["fails", "no json"])
async def test_what_a_process_says_is_never_repeated(
    chain: ChainSource, tmp_path: Path, calls: Path, caplog: pytest.LogCaptureFixture, code: str
) -> None:
    use_process(tmp_path, calls, life=timedelta(hours=1))
    (tmp_path / "process.py").write_text(code)

    with pytest.raises(CredentialsUnavailable) as refusal:
        await chain.fetch()

    assert CANARY not in str(refusal.value) + caplog.text


async def test_what_the_process_of_a_profiles_source_says_is_not_logged_either(
    threads: ThreadPoolExecutor, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore assumes the role of a profile by itself, and has loggers of its own."""
    (tmp_path / "process.py").write_text(f"raise SystemExit('no: {CANARY}')")
    (tmp_path / "config").write_text(
        f"[profile source]\ncredential_process = {sys.executable} {tmp_path / 'process.py'}\n"
        "[profile role]\nrole_arn = arn:aws:iam::111122223333:role/x\nsource_profile = source\n"
    )
    for name, logger in [("", logging.getLogger()), *logging.Logger.manager.loggerDict.items()]:
        if isinstance(logger, logging.Logger):
            monkeypatch.setattr(logger, "level", logger.level)  # as it was, when the test is over
            if not name:
                monkeypatch.setattr(logger, "handlers", [])
    configure("debug")

    with pytest.raises(CredentialsUnavailable) as refusal:
        await ChainSource(open_session=partial(chain_session, "role", "eu-central-1"), threads=threads).fetch()

    assert CANARY not in str(refusal.value) + "".join(capfd.readouterr())


async def test_nothing_at_all_is_said_so(chain: ChainSource) -> None:
    with pytest.raises(CredentialsUnavailable, match="finds no credentials"):
        await chain.fetch()


async def test_the_event_loop_keeps_running_while_a_source_is_slow(threads: ThreadPoolExecutor) -> None:
    class SlowSession(Session):
        def get_credentials(self) -> None:
            loop.call_soon_threadsafe(turned.set)
            assert asyncio.run_coroutine_threadsafe(turned.wait(), loop).result(5)

    loop = asyncio.get_running_loop()
    turned = asyncio.Event()

    with pytest.raises(CredentialsUnavailable, match="no credentials"):
        await ChainSource(open_session=SlowSession, threads=threads).fetch()


# --- ECS and IMDS: HTTP on loopback ------------------------------------------------------------------------


def document(expires_at: datetime) -> bytes:
    return json.dumps(
        {
            "Code": "Success",
            "Type": "AWS-HMAC",
            "AccessKeyId": "ASIAMETADATA",
            "SecretAccessKey": CANARY,
            "Token": "token",
            "Expiration": f"{expires_at:%Y-%m-%dT%H:%M:%SZ}",
        }
    ).encode()


async def test_the_container_endpoint_is_asked_with_its_token(
    chain: ChainSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=7)
    with answering({("GET", "/role"): (200, document(ends))}) as (url, had):
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{url}/role")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Basic abc")
        found = await chain.fetch()

    assert (found.access_key, found.session_token, found.expires_at) == ("ASIAMETADATA", "token", ends)
    assert [(each.path, each.token) for each in had] == [("/role", "Basic abc")]


@pytest.mark.parametrize("minutes", [300, 10, 1])
async def test_instance_metadata_tells_the_expiry_that_it_was_told(
    chain: ChainSource, monkeypatch: pytest.MonkeyPatch, minutes: int
) -> None:
    """botocore itself would say 17 to 25 minutes of the last ones, and our signed requests with it."""
    ends = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=minutes)
    role = "/latest/meta-data/iam/security-credentials/"
    answers = {
        ("PUT", "/latest/api/token"): (200, b"imds-token"),
        ("GET", role): (200, b"uploads"),
        ("GET", f"{role}uploads"): (200, document(ends)),
    }
    with answering(answers) as (url, had):
        monkeypatch.delenv("AWS_EC2_METADATA_DISABLED")
        monkeypatch.setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", url)
        found = await chain.fetch()

    assert (found.access_key, found.expires_at) == ("ASIAMETADATA", ends)
    assert [each.token for each in had] == [None, "imds-token", "imds-token"]


# --- lent to botocore's own clients ------------------------------------------------------------------------


async def test_a_client_of_botocore_is_told_when_there_is_nothing_to_sign_with() -> None:
    over = Credential(access_key="AKIA", secret_key=CANARY, expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    lent = CurrentCredentials(FixedCredentials(credential=over), SystemClock(), asyncio.get_running_loop())
    client = session_with(lent).create_client("sts", region_name="eu-central-1", endpoint_url="http://127.0.0.1:9")

    with pytest.raises(CredentialRetrievalError, match="has expired") as refusal:
        await asyncio.to_thread(client.get_caller_identity)

    assert CANARY not in str(refusal.value)


async def test_a_client_of_botocore_signs_with_what_is_current() -> None:
    keys = FixedCredentials(credential=Credential(access_key="AKIALENT", secret_key=CANARY, session_token="token"))
    lent = CurrentCredentials(keys, SystemClock(), asyncio.get_running_loop())
    body = b"<GetCallerIdentityResponse><GetCallerIdentityResult/></GetCallerIdentityResponse>"
    with answering({("POST", "/"): (200, body)}) as (url, had):
        client = session_with(lent).create_client("sts", region_name="eu-central-1", endpoint_url=url)
        had.clear()
        await asyncio.to_thread(client.get_caller_identity)

    assert "Credential=AKIALENT/" in str(had[0].token)
    assert CANARY not in repr(lent)
