"""Unmodified google-auth and google-cloud-storage are honoured by our stand-ins, and sign what we sign.

Only addresses are changed (`tests/google_auth.py`). RSA signatures of PKCS #1 v1.5 are a function of key and text, so
that theirs and ours, made by the same key of the same IAM at the same moment, are one URL.
"""

import asyncio
import os
import sys
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import google.auth.transport.requests
import msgspec
import pytest
import yarl

from broker.contract import Checksum
from broker.domain.objects import Pin
from broker.storage.gcs.source import GoogleSource, application_default
from broker.storage.gcs.tokens import AccessToken
from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.flow.google_world import (
    BOUND,
    BROKER,
    BUCKET,
    ENDS,
    FAR,
    IAM_SCOPES,
    KEY,
    MIDDLE,
    NOW,
    READER,
    SPEC,
    WRITER,
    Kind,
    World,
    by_key_file,
    by_metadata_server,
    by_workload_identity,
    our_put,
)
from tests.google_auth import point_google_auth_at


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


@pytest.fixture(params=[by_key_file, by_workload_identity, by_metadata_server])
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


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


WITHOUT_REQUESTS = """
import asyncio, sys
from concurrent.futures import ThreadPoolExecutor

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "requests":
            raise ImportError(name)

sys.meta_path.insert(0, Missing())
from broker.storage.gcs.source import GoogleSource, application_default
with ThreadPoolExecutor(1) as threads:
    print(asyncio.run(GoogleSource(opened=application_default(), threads=threads).fetch()).text)
"""


async def test_on_a_machine_of_google_the_bare_install_finds_the_metadata_server(
    iam: GoogleIamProcess, http: aiohttp.ClientSession
) -> None:
    """google-auth asks it only where the package `requests` is installed, which a server is not given."""
    done = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WITHOUT_REQUESTS),
        env={"PATH": os.environ["PATH"], "GCE_METADATA_HOST": iam.host, "CLOUDSDK_CONFIG": "/nonexistent"},
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        token, _ = await done.communicate()

    info = await _info(iam, token.decode().strip(), http)
    assert (info["email"], info["scope"]) == (BROKER, IAM_SCOPES[0])


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
