"""Unmodified google-auth and google-cloud-storage are honoured by our stand-ins, and sign what we sign.

Only addresses are changed (`tests/google_auth.py`). RSA signatures of PKCS #1 v1.5 are a function of key and text, so
that theirs and ours, made by the same key of the same IAM at the same moment, are one URL.
"""

import asyncio
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import uuid4

import aiohttp
import google.auth.transport.requests
import msgspec
import pytest
import yarl
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
from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.google_auth import point_google_auth_at

BROKER, MIDDLE, FAR, WRITER, READER = (
    f"{name}@acme.iam.gserviceaccount.com" for name in ("broker", "middle", "far", "writer", "reader")
)
BUCKET, KEY = "acme-uploads", "uploads/1/Straße + 100%.csv"
NOW = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)
ENDS = NOW + timedelta(minutes=15)
IAM_SCOPES = ["https://www.googleapis.com/auth/iam"]
MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="


@pytest.fixture(scope="module")
def gcs(started: GoogleIamProcess) -> Iterator[GcsProcess]:
    grants = (f"{BUCKET}:{WRITER}=storage.objects.create", f"{BUCKET}:{READER}=storage.objects.get")
    with start_gcs(iam=started.endpoint, buckets=(f"{BUCKET}@versioned",), grants=grants) as gcs:
        yield gcs


@pytest.fixture(scope="module")
def started() -> Iterator[GoogleIamProcess]:
    with start_google_iam(
        accounts=(BROKER,),
        impersonate={BROKER: (WRITER, READER, MIDDLE), MIDDLE: (FAR,), "workload": (WRITER, READER)},
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
        signatory = Impersonated(email=READER, iam=self.client)
        return GcsGetSigner(bucket=BUCKET, endpoint=Endpoint.of(endpoint), signatory=signatory)

    async def their_url(
        self, method: str, endpoint: str, email: str = WRITER, now: datetime = NOW, **terms: Any
    ) -> str:
        """What `generate_signed_url` gives at `now`, over an impersonated account. Blocks: in a thread."""

        def signed() -> str:
            key = terms.pop("key", KEY)
            delegates = terms.pop("delegates", [])
            account = impersonated_credentials.Credentials(
                self.theirs, email, ["https://www.googleapis.com/auth/devstorage.read_write"], delegates=delegates
            )
            client = storage.Client(project="acme", credentials=account)
            with mock.patch.object(_signing, "_NOW", return_value=now):
                url: str = (
                    client.bucket(BUCKET)
                    .blob(key)
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
        READER,
        generation="17321",
        response_disposition="attachment; filename*=UTF-8''a%20b.csv",
    )

    assert request.url == theirs


async def test_chains_of_delegates_sign_alike(iam: GoogleIamProcess, http: aiohttp.ClientSession) -> None:
    world = World(iam, *by_key_file(iam), http)

    request = await our_put(world.put_signer("https://storage.googleapis.com", FAR, (MIDDLE,)))

    assert request.url == await world.their_url(
        "PUT",
        "https://storage.googleapis.com",
        FAR,
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


async def test_what_both_sign_is_honoured_once_and_for_exactly_this_object(
    world: World, gcs: GcsProcess, http: aiohttp.ClientSession
) -> None:
    """Two keys of one second, since a key is taken once: each side puts one, and reads what the other put."""
    now, body = datetime.now(UTC).replace(microsecond=0), b"17 bytes, exactly"
    spec = msgspec.structs.replace(
        SPEC, checksum=Checksum(md5=b64encode(md5(body, usedforsecurity=False).digest()).decode())
    )
    bound = {**BOUND, "X-Goog-Hash": f"md5={spec.checksum.md5}"}
    key = f"{uuid4()}/Straße + 100%.csv"

    ours = await world.put_signer(gcs.endpoint).sign_put(key, spec, "sealed", now=now, ends=now + timedelta(minutes=15))
    theirs = await world.their_url(
        "PUT", gcs.endpoint, now=now, key=f"{key}.2", content_type="text/csv", headers=dict(bound)
    )

    assert await _put(http, ours.url, ours.headers, body[:-1]) == 400  # not the size
    assert await _put(http, ours.url, {**ours.headers, "x-goog-acl": "public-read"}, body) == 400  # nobody signed it
    assert await _put(http, ours.url, {**ours.headers, "content-type": "text/html"}, body) == 403
    assert await _put(http, ours.url.replace("100%25", "101%25"), ours.headers, body) == 403
    assert await _put(http, ours.url, ours.headers, body) == 200
    assert await _put(http, ours.url, ours.headers, body) == 412  # it is taken
    assert await _put(http, theirs, {"content-type": "text/csv", **bound}, body) == 200
    for name in (key, f"{key}.2"):
        read = await world.get_signer(gcs.endpoint).sign_get(
            name, None, filename="a b.csv", now=now, ends=now + timedelta(minutes=5)
        )
        async with http.get(yarl.URL(read.url, encoded=True)) as response:
            assert (response.status, await response.read()) == (200, body)
            assert response.headers["content-disposition"] == "attachment; filename*=UTF-8''a%20b.csv"
            generation = response.headers["x-goog-generation"]
        pin = Pin(etag="e", version=generation)
        pinned = await world.get_signer(gcs.endpoint).sign_get(
            name, pin, filename="a b.csv", now=now, ends=now + timedelta(minutes=5)
        )
        assert await _get(http, pinned.url) == 200
        assert await _get(http, pinned.url.replace(generation, f"{generation}1")) == 403
        their_read = await world.their_url("GET", gcs.endpoint, READER, now=now, key=name, generation=generation)
        assert await _get(http, their_read) == 200


async def _put(http: aiohttp.ClientSession, url: str, headers: Mapping[str, str], body: bytes) -> int:
    async with http.put(yarl.URL(url, encoded=True), data=body, headers=headers) as response:
        await response.read()
        return response.status


async def _get(http: aiohttp.ClientSession, url: str) -> int:
    async with http.get(yarl.URL(url, encoded=True)) as response:
        await response.read()
        return response.status
