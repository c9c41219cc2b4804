"""Where Ceph 16.2 is weaker than S3: each fact on which the `ceph` row, its guard and the suite's gaps rest.

A test that fails here is good news: Ceph has become stricter, and a row, a guard or a `Lack` can go.
"""

import uuid
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest

from broker.domain.errors import StoreRefused
from broker.storage.s3.sigv4 import Credential, SigV4
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.stores import S3Place, S3Store, place_on
from tests.contracts.storage.samples import BODY, OTHER, SPEC, with_digest
from tests.contracts.storage.wire import Reply, Send, as_signed

ALLOW_PUT, READER_MAY_READ, WRITER_MAY_NOT = range(3)  # the order of `guard_statements`


@pytest.fixture
def send(http: aiohttp.ClientSession) -> Send:
    return Send(http)


@pytest.fixture
def place(store: S3Store, http: aiohttp.ClientSession) -> S3Place:
    return place_on(store, store.bucket, http, store.credential)


@pytest.fixture
def key() -> str:
    return f"uploads/{uuid.uuid4().hex}/report.csv"


async def put_with(place: S3Place, send: Send, key: str, headers: dict[str, str]) -> Reply:
    wire = as_signed(await place.sign_put(key, SPEC), BODY)
    return await send(replace(wire, headers={**wire.headers, **headers}))


# --- what is not checked ---------------------------------------------------------------------------------


@pytest.mark.parametrize("sigv4", [SigV4(region="eu-west-9"), SigV4(region="default", service="sts")])
async def test_any_region_and_service_will_do(place: S3Place, send: Send, key: str, sigv4: SigV4) -> None:
    """With the right secret key, and only when they were signed: changed in the URL they break the signature."""
    elsewhere = replace(place, put=replace(place.put, sigv4=sigv4))

    assert (await send.put(await elsewhere.sign_put(key, SPEC), BODY)).status == 200


async def test_a_put_may_come_from_the_future(place: S3Place, send: Send, key: str) -> None:
    now = place.clock.now() + timedelta(minutes=20)
    request = await place.put.sign_put(key, SPEC, "sealed", now=now, ends=now + timedelta(minutes=5))

    assert (await send.put(request, BODY)).status == 200


async def test_a_session_token_means_nothing_without_sts(
    store: S3Store, http: aiohttp.ClientSession, send: Send, key: str
) -> None:
    keys = store.credential
    tokened = Credential(access_key=keys.access_key, secret_key=keys.secret_key, session_token="invented")
    place = place_on(store, store.bucket, http, tokened)

    assert (await send.put(await place.sign_put(key, SPEC), BODY)).status == 200


@pytest.mark.parametrize("algorithm", ["sha256", "crc32c", "crc64nvme"])
async def test_an_amz_checksum_is_ignored(place: S3Place, send: Send, key: str, algorithm: str) -> None:
    signing = replace(place.put, dialect=replace(place.put.dialect, verifies=(algorithm,)))
    request = await replace(place, put=signing).sign_put(key, with_digest(algorithm))

    reply = await send.put(request, OTHER)

    assert f"x-amz-checksum-{algorithm}" in request.headers
    assert reply.status == 200


# --- why the guard needs more than s3:PutObject ----------------------------------------------------------


def guarded(store: S3Store, http: aiohttp.ClientSession, *statements: int) -> tuple[S3Place, S3Place]:
    """The owner's and the writer's place in a bucket behind some of the guard's statements."""
    bucket = f"facts-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(bucket)
    guard = guard_statements(bucket, writer=store.writer_name, reader=store.owner_name)
    store.witness.set_policy(bucket, *(guard[each] for each in statements))
    return place_on(store, bucket, http, store.credential), place_on(store, bucket, http, store.writer)


async def test_the_owner_of_a_bucket_may_not_even_head_what_another_account_wrote_there(
    store: S3Store, http: aiohttp.ClientSession, send: Send, key: str
) -> None:
    owner, writer = guarded(store, http, ALLOW_PUT)
    assert (await send.put(await writer.sign_put(key, SPEC), BODY)).status == 200

    with pytest.raises(StoreRefused):
        await owner.objects.head(key)


async def test_who_may_only_put_may_still_copy_what_he_put(
    store: S3Store, http: aiohttp.ClientSession, send: Send, key: str
) -> None:
    """So one client's upload could be read through another client's signed PUT."""
    owner, writer = guarded(store, http, ALLOW_PUT, READER_MAY_READ)
    theirs = f"uploads/{uuid.uuid4().hex}/theirs.csv"
    await send.put(await writer.sign_put(theirs, SPEC), OTHER)

    copied = await put_with(writer, send, key, {"x-amz-copy-source": f"/{owner.bucket}/{theirs}"})

    assert copied.status == 200
    assert await owner.witness.get(owner.bucket, key) == OTHER


# --- public ACLs -----------------------------------------------------------------------------------------


def set_public_access(place: S3Place, setting: str) -> None:
    names = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    place.witness.set_public_access(place.bucket, {name: name == setting for name in names})


async def test_ignored_public_acls_open_nothing(
    store: S3Store, http: aiohttp.ClientSession, send: Send, key: str
) -> None:
    owner, writer = guarded(store, http, ALLOW_PUT, READER_MAY_READ, WRITER_MAY_NOT)
    set_public_access(owner, "IgnorePublicAcls")

    reply = await put_with(writer, send, key, {"x-amz-acl": "public-read"})

    async with http.get(f"{store.url}/{owner.bucket}/{key}") as anonymous:
        assert (reply.status, anonymous.status) == (200, 403)
    assert await owner.objects.head(key) is not None


async def test_blocked_public_acls_refuse_every_put(
    store: S3Store, http: aiohttp.ClientSession, send: Send, key: str
) -> None:
    owner, writer = guarded(store, http, ALLOW_PUT, READER_MAY_READ, WRITER_MAY_NOT)
    set_public_access(owner, "BlockPublicAcls")

    assert (await send.put(await writer.sign_put(key, SPEC), BODY)).status == 403
