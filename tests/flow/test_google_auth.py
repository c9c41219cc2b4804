"""Unmodified google-auth and google-cloud-storage are honoured by our stand-ins, and sign what we sign.

Only addresses are changed (`tests/google_auth.py`). RSA signatures of PKCS #1 v1.5 are a function of key and text, so
that theirs and ours, made by the same key of the same IAM at the same moment, are one URL.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import aiohttp
import google.auth.transport.requests
import pytest
from google.auth import compute_engine, identity_pool, impersonated_credentials
from google.auth.credentials import Credentials
from google.cloud import storage
from google.cloud.storage import _signing
from google.oauth2 import service_account

from broker.clock import SystemClock
from broker.contract import Checksum, SignedRequest
from broker.domain.objects import Pin, UploadSpec
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.impersonation import Impersonated
from broker.storage.gcs.signer import GcsGetSigner, GcsPutSigner
from broker.storage.gcs.source import GoogleSource, Opened, application_default, config_file, key_file
from broker.storage.gcs.tokens import AccessToken
from broker.storage.held import HeldCredentials
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.google_auth import point_google_auth_at

BROKER, MIDDLE, WRITER, READER = (
    f"{name}@acme.iam.gserviceaccount.com" for name in ("broker", "middle", "writer", "reader")
)
BUCKET, KEY = "acme-uploads", "uploads/1/Straße + 100%.csv"
NOW = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)
ENDS = NOW + timedelta(minutes=15)
IAM_SCOPES = ["https://www.googleapis.com/auth/iam"]
MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="


@pytest.fixture(scope="module")
def started() -> Iterator[GoogleIamProcess]:
    with start_google_iam(
        accounts=(BROKER,),
        impersonate={BROKER: (WRITER, MIDDLE), MIDDLE: (READER,), "workload": (WRITER,)},
    ) as iam:
        yield iam


@pytest.fixture
def iam(started: GoogleIamProcess, monkeypatch: pytest.MonkeyPatch) -> GoogleIamProcess:
    point_google_auth_at(started, monkeypatch)
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", "/nonexistent")
    return started


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


Kind = Callable[[GoogleIamProcess], tuple[Opened, Credentials]]


def by_key_file(iam: GoogleIamProcess) -> tuple[Opened, Credentials]:
    path = iam.key_files[BROKER]
    return key_file(path), service_account.Credentials.from_service_account_file(str(path), scopes=IAM_SCOPES)


def by_workload_identity(iam: GoogleIamProcess) -> tuple[Opened, Credentials]:
    path = iam.workload_identity_file
    return config_file(path), identity_pool.Credentials.from_file(str(path), scopes=IAM_SCOPES)


def by_metadata_server(iam: GoogleIamProcess) -> tuple[Opened, Credentials]:
    assert iam.host
    return application_default(), compute_engine.Credentials(scopes=IAM_SCOPES)


@pytest.fixture(params=[by_key_file, by_workload_identity, by_metadata_server])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


class World:
    """Both ways to the same: our adapters, and the library over the same IAM."""

    def __init__(self, iam: GoogleIamProcess, opened: Opened, theirs: Any, http: aiohttp.ClientSession) -> None:
        self.threads = ThreadPoolExecutor(1)
        clock = SystemClock()
        source = HeldCredentials(
            GoogleSource(opened=opened, threads=self.threads), clock=clock, jitter=lambda: 0.0, told=lambda _: None
        )
        self.client = IamCredentials(http=http, source=source, clock=clock, endpoint=iam.endpoint)
        self.theirs = theirs

    def put_signer(self, endpoint: str, email: str = WRITER, delegates: tuple[str, ...] = ()) -> GcsPutSigner:
        signatory = Impersonated(email=email, iam=self.client, delegates=delegates)
        return GcsPutSigner(bucket=BUCKET, endpoint=Endpoint.of(endpoint), signatory=signatory)

    def get_signer(self, endpoint: str) -> GcsGetSigner:
        signatory = Impersonated(email=WRITER, iam=self.client)
        return GcsGetSigner(bucket=BUCKET, endpoint=Endpoint.of(endpoint), signatory=signatory)

    async def their_url(self, method: str, endpoint: str, email: str = WRITER, **terms: Any) -> str:
        """What `generate_signed_url` gives at `NOW`, over an impersonated account. Blocks: in a thread."""

        def signed() -> str:
            delegates = terms.pop("delegates", [])
            account = impersonated_credentials.Credentials(
                self.theirs, email, ["https://www.googleapis.com/auth/devstorage.read_write"], delegates=delegates
            )
            client = storage.Client(project="acme", credentials=account)
            with mock.patch.object(_signing, "_NOW", return_value=NOW):
                url: str = (
                    client.bucket(BUCKET)
                    .blob(KEY)
                    .generate_signed_url(
                        version="v4", method=method, api_access_endpoint=endpoint, expiration=900, **terms
                    )
                )
            return url

        return await asyncio.get_running_loop().run_in_executor(self.threads, signed)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@pytest.fixture
async def world(iam: GoogleIamProcess, kind: Kind, http: aiohttp.ClientSession) -> AsyncIterator[World]:
    opened, theirs = kind(iam)
    world = World(iam, opened, theirs, http)
    yield world
    world.threads.shutdown()


SPEC = UploadSpec(
    filename="report.csv",
    size_bytes=17,
    content_type="text/csv",
    checksum=Checksum(md5=MD5),
    object_metadata={"mtime": "1732100000"},
)
BOUND = {
    "X-Goog-Content-Length-Range": "17,17",
    "X-Goog-If-Generation-Match": "0",
    "X-Goog-Hash": f"md5={MD5}",
    "X-Goog-Meta-Upload-Session": "sealed",
    "X-Goog-Meta-Mtime": "1732100000",
}


async def our_put(signer: GcsPutSigner, now: datetime = NOW) -> SignedRequest:
    return await signer.sign_put(KEY, SPEC, "sealed", now=now, ends=now + timedelta(minutes=15))


async def test_every_source_of_google_auth_signs_the_put_that_we_sign(world: World) -> None:
    request = await our_put(world.put_signer("https://storage.googleapis.com"))

    theirs = await world.their_url(
        "PUT", "https://storage.googleapis.com", content_type="text/csv", headers=dict(BOUND)
    )

    assert request.url == theirs


async def test_every_source_of_google_auth_signs_the_get_that_we_sign(world: World) -> None:
    request = await world.get_signer("http://127.0.0.1:9000").sign_get(
        KEY, Pin(etag="e", version="17321"), filename="a b.csv", now=NOW, ends=ENDS
    )

    theirs = await world.their_url(
        "GET",
        "http://127.0.0.1:9000",
        generation="17321",
        response_disposition="attachment; filename*=UTF-8''a%20b.csv",
    )

    assert request.url == theirs


async def test_chains_of_delegates_sign_alike(iam: GoogleIamProcess, http: aiohttp.ClientSession) -> None:
    world = World(iam, *by_key_file(iam), http)

    request = await our_put(world.put_signer("https://storage.googleapis.com", READER, (MIDDLE,)))

    assert request.url == await world.their_url(
        "PUT",
        "https://storage.googleapis.com",
        READER,
        delegates=[f"projects/-/serviceAccounts/{MIDDLE}"],
        content_type="text/csv",
        headers=dict(BOUND),
    )
    world.threads.shutdown()


async def test_our_source_and_theirs_are_the_same_identity_with_the_same_scope(
    iam: GoogleIamProcess, kind: Kind, threads: ThreadPoolExecutor, http: aiohttp.ClientSession
) -> None:
    opened, theirs = kind(iam)
    token = await GoogleSource(opened=opened, threads=threads).fetch()
    await asyncio.get_running_loop().run_in_executor(threads, theirs.refresh, google.auth.transport.requests.Request())

    ours, other = await _info(iam, token.text, http), await _info(iam, theirs.token, http)

    assert (ours["email"], ours["scope"]) == (other["email"], other["scope"])
    assert _is_an_hour(token)


async def _info(iam: GoogleIamProcess, token: str, http: aiohttp.ClientSession) -> dict[str, Any]:
    async with http.get(f"{iam.endpoint}/tokeninfo", params={"access_token": token}) as response:
        assert response.status == 200
        info: dict[str, Any] = await response.json(content_type=None)
    return info


def _is_an_hour(token: AccessToken) -> bool:
    return abs(token.expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(minutes=1)


async def test_the_default_is_the_file_that_the_environment_names(
    iam: GoogleIamProcess, threads: ThreadPoolExecutor, http: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in (iam.key_files[BROKER], iam.workload_identity_file, Path(iam.workload_identity_url_file)):
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        token = await GoogleSource(opened=application_default(), threads=threads).fetch()
        assert (await _info(iam, token.text, http))["scope"] == IAM_SCOPES[0]
