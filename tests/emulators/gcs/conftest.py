"""The real processes over real sockets; every test has an object of its own, so they share one emulator."""

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import requests
from google.auth.transport.requests import Request
from google.cloud import storage
from google.oauth2 import service_account

from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.emulators.gcs.signing import Signer
from tests.emulators.wire import Answer, exchange
from tests.google_auth import point_google_auth_at

DOMAIN = "@emulated.iam.gserviceaccount.com"
WRITER, READER, JANITOR, ADMIN, STRANGER = (
    f"{name}{DOMAIN}" for name in ("writer", "reader", "janitor", "admin", "stranger")
)
ACCOUNTS = (WRITER, READER, JANITOR, ADMIN, STRANGER)
OBJECTS = tuple(f"storage.objects.{verb}" for verb in ("create", "get", "list", "delete", "update"))
EVERYTHING = ",".join((*OBJECTS, "storage.buckets.get", "storage.buckets.update"))
BUCKETS = ("uploads", "versions@versioned", "others")
GRANTS = (
    f"uploads:{WRITER}=storage.objects.create",
    f"uploads:{READER}=storage.objects.get",
    f"uploads:{JANITOR}=storage.objects.list,storage.objects.delete",
    f"uploads:{ADMIN}={EVERYTHING}",
    f"versions:{ADMIN}={EVERYTHING}",
)
CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
CHUNK = 262_144


@pytest.fixture(scope="session")
def iam(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GoogleIamProcess]:
    with start_google_iam(data=tmp_path_factory.mktemp("iam"), accounts=ACCOUNTS) as process:
        yield process


@pytest.fixture(scope="session")
def started_gcs(iam: GoogleIamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsProcess]:
    with start_gcs(iam=iam.endpoint, data=tmp_path_factory.mktemp("gcs"), buckets=BUCKETS, grants=GRANTS) as process:
        yield process


@pytest.fixture
def gcs(started_gcs: GcsProcess) -> Iterator[GcsProcess]:
    """Well-behaved at the beginning of each test."""
    yield started_gcs
    faults(started_gcs)


Tokens = Callable[..., str]


@pytest.fixture(scope="session")
def token(iam: GoogleIamProcess) -> Iterator[Tokens]:
    """Access tokens of an account, each asked for once."""
    held: dict[tuple[str, str], str] = {}
    with requests.Session() as session:

        def of(email: str, scope: str = CLOUD_PLATFORM) -> str:
            if (email, scope) not in held:
                credentials = credentials_of(iam, email, scope)
                credentials.refresh(Request(session))
                held[email, scope] = str(credentials.token)
            return held[email, scope]

        yield of


def credentials_of(iam: GoogleIamProcess, email: str, scope: str = CLOUD_PLATFORM) -> service_account.Credentials:
    return service_account.Credentials.from_service_account_file(str(iam.key_files[email]), scopes=[scope])


@pytest.fixture
def client_as(
    iam: GoogleIamProcess, gcs: GcsProcess, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., storage.Client]]:
    """An unmodified client of Google's, pointed at the emulators."""
    point_google_auth_at(iam, monkeypatch)
    clients: list[storage.Client] = []

    def of(email: str, process: GcsProcess = gcs) -> storage.Client:
        clients.append(client_of(iam, process, email))
        return clients[-1]

    yield of
    for client in clients:
        client.close()


def client_of(iam: GoogleIamProcess, process: GcsProcess, email: str) -> storage.Client:
    options = {"api_endpoint": process.endpoint}
    return storage.Client(project="project-1", credentials=credentials_of(iam, email), client_options=options)


@pytest.fixture
def signer(iam: GoogleIamProcess, gcs: GcsProcess) -> Signer:
    return signer_of(iam, gcs, WRITER)


def signer_of(iam: GoogleIamProcess, process: GcsProcess, email: str) -> Signer:
    key = json.loads(Path(iam.key_files[email]).read_text())["private_key"]
    return Signer.of(email=email, pem=key, host=process.endpoint.removeprefix("http://"))


_numbers = itertools.count(1)


@pytest.fixture
def name() -> str:
    return f"object-{next(_numbers)}"


Api = Callable[..., Answer]


@pytest.fixture
def api(gcs: GcsProcess, token: Tokens) -> Api:
    """One request to the JSON API, as somebody (nobody when None)."""
    return api_of(gcs, token)


def api_of(process: GcsProcess, token: Tokens) -> Api:
    def call(
        method: str,
        path: str,
        email: str | None = ADMIN,
        body: bytes | dict[str, Any] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        bearer = {"authorization": f"Bearer {token(email)}"} if email else {}
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return exchange(process.endpoint, method, path, {**bearer, **(headers or {})}, data)

    return call


def object_path(name: str, bucket: str = "uploads", query: str = "") -> str:
    return f"/storage/v1/b/{bucket}/o/{quote(name, safe='')}{query and '?' + query}"


def insert_path(name: str, bucket: str = "uploads", kind: str = "media", query: str = "") -> str:
    return f"/upload/storage/v1/b/{bucket}/o?uploadType={kind}&name={quote(name, safe='')}{query and '&' + query}"


def reason(answer: Answer) -> tuple[int, str]:
    """Status and reason of a refusal of the JSON API."""
    error = json.loads(answer.body)["error"]
    assert error["code"] == answer.status
    return answer.status, error["errors"][0]["reason"]


def faults(process: GcsProcess, **settings: Any) -> None:
    answer = exchange(process.endpoint, "PUT", "/_emulator/faults", body=json.dumps(settings).encode())
    assert answer.status == 200, answer.body


def until(is_so: Callable[[], bool], seconds: float = 10.0) -> None:
    """Ask again and again, but not for ever."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, f"not so after {seconds} s"
        time.sleep(0.005)


def received(process: GcsProcess, name: str, bucket: str = "uploads") -> int:
    """How many bytes came in for an object, whatever became of them."""
    return int(counters(process)["received"].get(f"{bucket}/{name}", 0))


def counters(process: GcsProcess) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(exchange(process.endpoint, "GET", "/_emulator/counters").body)
    return seen
