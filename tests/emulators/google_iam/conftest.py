"""The real process over real sockets, and clients that are google-auth as it is installed."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from google.auth import impersonated_credentials
from google.auth.transport.requests import Request
from google.oauth2 import service_account

from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.emulators.wire import Answer, exchange
from tests.google_auth import point_google_auth_at

DOMAIN = "@emulated.iam.gserviceaccount.com"
BROKER, WRITER, READER, MIDDLE, FAR = (f"{name}{DOMAIN}" for name in ("broker", "writer", "reader", "middle", "far"))
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
GRANTS = {
    "impersonate": {BROKER: (WRITER, MIDDLE), MIDDLE: (FAR,), "workload": (WRITER,)},
    "delegate": {BROKER: (READER,)},
}


@pytest.fixture(scope="session")
def started_iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleIamProcess]:
    with start_google_iam(data=tmp_path_factory.mktemp("iam"), accounts=(BROKER, READER), **GRANTS) as process:
        yield process


@pytest.fixture
def iam(started_iam: GoogleIamProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[GoogleIamProcess]:
    """Well-behaved at the beginning of each test, with google-auth pointed at it."""
    point_google_auth_at(started_iam, monkeypatch)
    yield started_iam
    control(started_iam, "PUT", "faults", {})


@pytest.fixture
def request_() -> Iterator[Request]:
    with requests.Session() as session:
        yield Request(session)


@pytest.fixture
def source(iam: GoogleIamProcess) -> service_account.Credentials:
    return source_of(iam)


def source_of(iam: GoogleIamProcess, email: str = BROKER, scope: str = CLOUD_PLATFORM) -> service_account.Credentials:
    return service_account.Credentials.from_service_account_file(str(iam.key_files[email]), scopes=[scope])


@pytest.fixture
def token(source: service_account.Credentials, request_: Request) -> str:
    """The broker's own."""
    source.refresh(request_)
    return str(source.token)


Impersonate = Callable[..., impersonated_credentials.Credentials]


@pytest.fixture
def impersonate(source: service_account.Credentials) -> Impersonate:
    def as_(target: str, *delegates: str, lifetime: int = 3600) -> impersonated_credentials.Credentials:
        chain = [f"projects/-/serviceAccounts/{each}" for each in delegates]
        return impersonated_credentials.Credentials(
            source, target, [CLOUD_PLATFORM], delegates=chain, lifetime=lifetime
        )

    return as_


def control(iam: GoogleIamProcess, method: str, what: str, body: Any = None) -> Any:
    answer = exchange(
        iam.endpoint, method, f"/_emulator/{what}", body=json.dumps(body).encode() if body is not None else b""
    )
    assert answer.status == 200, answer.body
    return json.loads(answer.body)


def counters(iam: GoogleIamProcess) -> Any:
    return control(iam, "GET", "counters")


def info(iam: GoogleIamProcess, token: str) -> Any:
    answer = exchange(iam.endpoint, "GET", f"/tokeninfo?access_token={token}")
    return json.loads(answer.body) if answer.status == 200 else answer.status


def post(iam: GoogleIamProcess, path: str, body: Any, token: str | None, **headers: str) -> Answer:
    """A call by hand, JSON unless `body` is bytes."""
    told = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {}) | headers
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return exchange(iam.endpoint, "POST", path, told, raw)


def account(verb: str, email: str = WRITER) -> str:
    return f"/v1/projects/-/serviceAccounts/{email}:{verb}"
