"""How an object is to be kept is bound: the store does it, and a neighbour of the request stores nothing.

Over every store, each case where its dialect is said to know it (`Dialect.keeps`). Encryption by a key of KMS makes the
ETag something else than an MD5 on AWS and the emulator; everything after it must not care.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from broker.domain.multipart import MIN_PART_BYTES
from broker.domain.objects import judge, pin_of
from broker.storage.s3.dialects import DialectName
from broker.storage.s3.keeping import Feature, Keeping
from broker.storage.s3.multipart import S3MultipartUploads
from tests.contracts.storage.s3 import multiparts
from tests.contracts.storage.s3.multiparts import PartsPlace
from tests.contracts.storage.s3.stores import S3Place, S3Store
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.tampering import with_header, without_header
from tests.contracts.storage.test_put_tampered import assert_nothing_is_stored, assert_refused
from tests.contracts.storage.wire import Send, as_signed
from tests.peers.ceph.config import KMS_KEY_ID


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """`shown` by HEAD, `tags` by GetObjectTagging; `other` is what an attacker would rather have."""

    keeping: Keeping
    other: Mapping[str, str]
    shown: Mapping[str, str]
    tags: Mapping[str, str]


def case(name: str, keeping: Keeping, *, other: Mapping[str, str], **shown: Any) -> Any:
    tags = dict(keeping.tags)
    return pytest.param(Case(keeping=keeping, other=other, shown=shown.get("shown", {}), tags=tags), id=name)


# What a store keeps of a PUT and forgets of an object in parts, so that its dialect has it not.
KEPT_BY_PUT: Mapping[DialectName, frozenset[Feature]] = {"ceph": frozenset({"tags"})}

SSE = "x-amz-server-side-encryption"
CASES = [
    case("SSE-S3", Keeping(encryption="AES256"), other={SSE: "aws:kms"}, shown={SSE: "AES256"}),
    case(
        "SSE-KMS",
        Keeping(encryption="aws:kms", kms_key_id=KMS_KEY_ID),
        other={SSE: "AES256", f"{SSE}-aws-kms-key-id": "another-key"},
        shown={SSE: "aws:kms"},
    ),
    case(
        "SSE-KMS with a bucket key",
        Keeping(encryption="aws:kms", has_bucket_key=True),
        other={f"{SSE}-bucket-key-enabled": "false"},
        shown={SSE: "aws:kms", f"{SSE}-bucket-key-enabled": "true"},
    ),
    case(
        "two layers",
        Keeping(encryption="aws:kms:dsse", kms_key_id=KMS_KEY_ID),
        other={SSE: "aws:kms"},
        shown={SSE: "aws:kms:dsse"},
    ),
    case("storage class", Keeping(storage_class="STANDARD"), other={"x-amz-storage-class": "GLACIER"}),
    case(
        "tags",
        Keeping(tags={"project": "a b+c", "Größe": "1/2@x=y", "empty": ""}),
        other={"x-amz-tagging": "project=theirs"},
    ),
    case("ACL", Keeping(acl="bucket-owner-full-control"), other={"x-amz-acl": "public-read"}),
]


@pytest.fixture(params=CASES)
def asked(request: pytest.FixtureRequest, store: S3Store) -> Case:
    found: Case = request.param
    if not found.keeping.features <= store.dialect.keeps | KEPT_BY_PUT.get(store.dialect_name, frozenset()):
        pytest.skip("a destination of this dialect may not ask for it")
    return found


@pytest.fixture
def kept_place(place: S3Place, asked: Case) -> S3Place:
    return replace(place, put=replace(place.put, keeping=asked.keeping))


@pytest.fixture
def parts_place(store: S3Store, http: aiohttp.ClientSession, asked: Case) -> PartsPlace:
    if not asked.keeping.features <= store.dialect.keeps:
        pytest.skip("of an object in parts this store forgets it: tests/peers/ceph/test_keeping.py")
    place = PartsPlace.on(store, store.bucket, http, store.credential)
    assert isinstance(place.uploads, S3MultipartUploads)
    return replace(place, uploads=replace(place.uploads, keeping=asked.keeping))


async def assert_kept(place: S3Place, key: str, asked: Case) -> None:
    client = place.witness.client
    head = await asyncio.to_thread(lambda: client.head_object(Bucket=place.bucket, Key=key))
    headers = head["ResponseMetadata"]["HTTPHeaders"]
    assert {name: headers.get(name) for name in asked.shown} == asked.shown
    tagging = await asyncio.to_thread(lambda: client.get_object_tagging(Bucket=place.bucket, Key=key))
    assert {each["Key"]: each["Value"] for each in tagging["TagSet"]} == asked.tags


async def test_the_object_is_kept_as_asked_judged_read_and_removed(
    kept_place: S3Place, send: Send, key: str, asked: Case
) -> None:
    reply = await send.put(await kept_place.sign_put(key, SPEC), BODY)

    info = await kept_place.objects.head(key)
    assert reply.status == 200, reply
    assert info is not None
    assert judge(SPEC, info) is None
    await assert_kept(kept_place, key, asked)
    now = kept_place.clock.now()
    request = await kept_place.get.sign_get(key, pin_of(info), filename="r", now=now, ends=now + timedelta(minutes=1))
    assert (await send(as_signed(request))).body == BODY
    assert await kept_place.remover.remove(key, pin_of(info))
    assert await kept_place.objects.head(key) is None


async def test_no_client_leaves_it_out(store: S3Store, kept_place: S3Place, send: Send, key: str, asked: Case) -> None:
    for name in asked.keeping.headers:
        reply = await send(without_header(name)(as_signed(await kept_place.sign_put(key, SPEC), BODY)))

        assert_refused(reply)
    await assert_nothing_is_stored(store, key)


async def test_no_client_asks_for_something_else(
    store: S3Store, kept_place: S3Place, send: Send, key: str, asked: Case
) -> None:
    for name, value in asked.other.items():
        assert name in asked.keeping.headers
        reply = await send(with_header(name, value)(as_signed(await kept_place.sign_put(key, SPEC), BODY)))

        assert_refused(reply)
    await assert_nothing_is_stored(store, key)


async def test_an_object_in_parts_is_kept_as_asked_and_its_parts_ask_for_nothing(
    parts_place: PartsPlace, kept_place: S3Place, key: str, asked: Case
) -> None:
    part = await parts_place.sign(key, "an-upload", 1, MIN_PART_BYTES)
    assert part.headers == {}

    upload_id, parts = await parts_place.uploaded(key)
    assert await parts_place.uploads.complete(key, upload_id, parts)

    info = await parts_place.objects.head(key)
    assert info is not None
    assert judge(multiparts.SPEC, info) is None
    await assert_kept(kept_place, key, asked)
    assert await kept_place.remover.remove(key, pin_of(info))
