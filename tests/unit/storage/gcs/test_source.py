"""google-auth gives the source credential, of every kind, in a thread, and what it says of trouble is safe to show."""

import json
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography.hazmat.primitives import serialization
from google.auth import _default, jwt

from broker.domain.errors import CredentialsUnavailable
from broker.storage.gcs.source import GoogleSource, Opened, application_default, config_file, key_file
from tests.answering import Had, answering
from tests.unit.storage.gcs.signing_peer import rsa_key

CANARY = "canary-in-an-answer"
TOKEN = {"access_token": "ya29.hush", "expires_in": 3_599, "token_type": "Bearer"}
STS_TOKEN = {**TOKEN, "issued_token_type": "urn:ietf:params:oauth:token-type:access_token"}
METADATA = "/computeMetadata/v1/instance/service-accounts/default/"
Answers = dict[tuple[str, str], tuple[int, bytes]]


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


@pytest.fixture
def answers() -> Answers:
    return {}


@pytest.fixture
def google(answers: Answers) -> Iterator[tuple[str, list[Had]]]:
    with answering(answers) as (url, had):
        yield url, had


def written(path: Path, **content: Any) -> Path:
    path.write_text(json.dumps(content))
    return path


def service_account(directory: Path, url: str) -> Path:
    pem = rsa_key().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return written(
        directory / "key.json",
        type="service_account",
        client_email="broker@acme.iam.gserviceaccount.com",
        private_key_id="k1",
        private_key=pem.decode(),
        token_uri=f"{url}/token",
    )


def federated(directory: Path, url: str) -> Path:
    subject = directory / "subject"
    subject.write_text("eyJ.subject")
    return written(
        directory / "federation.json",
        type="external_account",
        audience="//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/p/providers/x",
        subject_token_type="urn:ietf:params:oauth:token-type:jwt",
        token_url=f"{url}/v1/token",
        credential_source={"file": str(subject)},
    )


def assert_an_hour(expires_at: datetime) -> None:
    assert abs(expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


async def test_a_key_file_is_exchanged_for_a_token_of_the_narrowest_scope(
    tmp_path: Path, google: tuple[str, list[Had]], answers: Answers, threads: ThreadPoolExecutor
) -> None:
    url, had = google
    answers["POST", "/token"] = (200, json.dumps(TOKEN).encode())
    source = GoogleSource(opened=key_file(service_account(tmp_path, url)), threads=threads)

    token = await source.fetch()

    assert token.text == "ya29.hush"
    assert_an_hour(token.expires_at)
    (asked,) = had
    claims = jwt.decode(parse_qs(asked.body.decode())["assertion"][0], verify=False)
    assert claims["scope"] == "https://www.googleapis.com/auth/iam"
    assert claims["iss"] == "broker@acme.iam.gserviceaccount.com"


async def test_a_file_that_was_replaced_is_read_anew(
    tmp_path: Path, google: tuple[str, list[Had]], answers: Answers, threads: ThreadPoolExecutor
) -> None:
    answers["POST", "/token"] = (200, json.dumps(TOKEN).encode())
    path = tmp_path / "key.json"
    source = GoogleSource(opened=key_file(path), threads=threads)
    with pytest.raises(CredentialsUnavailable, match=r"key\.json cannot be read: No such file"):
        await source.fetch()
    service_account(tmp_path, google[0])

    assert (await source.fetch()).text == "ya29.hush"


async def test_a_workload_identity_is_exchanged_at_the_sts(
    tmp_path: Path, google: tuple[str, list[Had]], answers: Answers, threads: ThreadPoolExecutor
) -> None:
    url, had = google
    answers["POST", "/v1/token"] = (200, json.dumps(STS_TOKEN).encode())

    token = await GoogleSource(opened=config_file(federated(tmp_path, url)), threads=threads).fetch()

    assert_an_hour(token.expires_at)
    (asked,) = had
    assert parse_qs(asked.body.decode())["subject_token"] == ["eyJ.subject"]


@pytest.mark.parametrize("kind", [service_account, federated])
async def test_the_default_is_what_the_environment_names(
    kind: Any,
    tmp_path: Path,
    google: tuple[str, list[Had]],
    answers: Answers,
    threads: ThreadPoolExecutor,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    url, had = google
    answers["POST", "/token"] = answers["POST", "/v1/token"] = (200, json.dumps(STS_TOKEN).encode())
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(kind(tmp_path, url)))

    assert (await GoogleSource(opened=application_default(), threads=threads).fetch()).text == "ya29.hush"
    assert len(had) == 1


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, google: tuple[str, list[Had]]) -> list[Had]:
    """No file of credentials, and a machine whose metadata server is ours – of which google-auth itself hears nothing,
    as where the package `requests` is missing."""
    monkeypatch.setattr(_default, "_get_gce_credentials", lambda *_, **__: (None, None))
    monkeypatch.setenv("GCE_METADATA_HOST", google[0].removeprefix("http://"))
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    return google[1]


async def test_who_is_no_metadata_server_is_not_taken_for_one(
    machine: list[Had], answers: Answers, threads: ThreadPoolExecutor
) -> None:
    """It gives a token, and does not say that it is Google's: a captive portal, another machine."""
    path = METADATA + "token?scopes=https%3A%2F%2Fwww.googleapis.com%2Fauth%2Fiam"
    answers["GET", path] = (200, json.dumps(TOKEN).encode())

    with pytest.raises(CredentialsUnavailable, match="no metadata server"):
        await GoogleSource(opened=application_default(), threads=threads).fetch()

    assert [each.path for each in machine] == [path]


async def test_where_there_is_no_default_that_is_said(
    machine: list[Had], threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert machine == []
    monkeypatch.setenv("GCE_METADATA_HOST", "127.0.0.1:9")

    with pytest.raises(CredentialsUnavailable, match="no application default credentials"):
        await GoogleSource(opened=application_default(), threads=threads).fetch()


async def test_a_default_that_is_named_and_missing_is_not_replaced_by_the_machine(
    machine: list[Had], threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "lost.json"))

    with pytest.raises(CredentialsUnavailable, match="GOOGLE_APPLICATION_CREDENTIALS names cannot be used"):
        await GoogleSource(opened=application_default(), threads=threads).fetch()

    assert machine == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"type": "authorized_user"}', '{"type": "service_account"}'])
async def test_a_file_that_is_none_of_its_kind_is_said_and_not_quoted(
    content: str, tmp_path: Path, threads: ThreadPoolExecutor
) -> None:
    path = tmp_path / "some.json"
    path.write_text(content)

    for opened in (key_file(path), config_file(path)):
        with pytest.raises(CredentialsUnavailable) as refusal:
            await GoogleSource(opened=opened, threads=threads).fetch()
        assert refusal.value.detail


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (400, {"error": "invalid_grant", "error_description": CANARY}, "refused a token: invalid_grant"),
        (400, {"error": f"({CANARY})"}, "RefreshError"),
        (200, {"no_token": CANARY}, "RefreshError"),
    ],
)
async def test_what_a_token_endpoint_says_is_not_quoted(
    status: int,
    body: dict[str, str],
    said: str,
    tmp_path: Path,
    google: tuple[str, list[Had]],
    answers: Answers,
    threads: ThreadPoolExecutor,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG, "broker")
    answers["POST", "/token"] = (status, json.dumps(body).encode())
    opened: Opened = key_file(service_account(tmp_path, google[0]))

    with pytest.raises(CredentialsUnavailable, match=said) as refusal:
        await GoogleSource(opened=opened, threads=threads).fetch()

    assert CANARY not in f"{refusal.value.detail} {caplog.text}"


async def test_nobody_who_answers_is_said(tmp_path: Path, threads: ThreadPoolExecutor) -> None:
    with answering({}) as (url, _):
        path = service_account(tmp_path, url)

    with pytest.raises(CredentialsUnavailable, match="gets no token"):
        await GoogleSource(opened=key_file(path), threads=threads).fetch()
