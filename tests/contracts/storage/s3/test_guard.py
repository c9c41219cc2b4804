"""Where unsigned headers are obeyed: the guard, a bucket policy with a write credential that cannot read.

What it protects from is in ../test_unsigned_headers.py.
"""

import uuid
from dataclasses import replace
from datetime import timedelta

import aiohttp
import pytest

from broker.domain.objects import judge, pin_of
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.stores import S3Place, S3Store, place_on
from tests.contracts.storage.s3.words import S3_WORDS
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.test_unsigned_headers import REPLACING, SECRET, Attack
from tests.contracts.storage.wire import Send, as_signed


@pytest.fixture
def guarded(store: S3Store, http: aiohttp.ClientSession) -> S3Place:
    """The broker's rights in a guarded bucket: `put` is the writer's, the rest the owner's."""
    bucket = f"guarded-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(bucket)
    store.witness.set_policy(bucket, *guard_statements(bucket, writer=store.writer_name, reader=store.owner_name))
    reading = place_on(store, bucket, http, store.credential)
    return replace(reading, put=place_on(store, bucket, http, store.writer).put)


async def test_behind_the_guard_an_upload_is_stored_judged_read_and_removed(
    guarded: S3Place, send: Send, key: str
) -> None:
    reply = await send.put(await guarded.sign_put(key, SPEC), BODY)

    info = await guarded.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert judge(SPEC, info) is None
    now = guarded.clock.now()
    request = await guarded.get.sign_get(key, pin_of(info), filename="r", now=now, ends=now + timedelta(minutes=1))
    assert (await send(as_signed(request))).body == BODY
    assert await guarded.remover.remove(key, pin_of(info))


@pytest.mark.parametrize("headers", [{}, REPLACING], ids=["plain", "with other metadata"])
@pytest.mark.parametrize("source", ["private/secret", "uploads/secret"])
async def test_behind_the_guard_no_copy_reads_what_the_owner_keeps(
    guarded: S3Place, send: Send, key: str, source: str, headers: dict[str, str]
) -> None:
    await guarded.witness.put(guarded.bucket, source, SECRET)
    attack = Attack(place=guarded, send=send, key=key, header=S3_WORDS.header)

    reply = await attack.copy(source, **headers)

    assert reply.status == 403
    assert await attack.found() is None


@pytest.mark.parametrize("headers", [{}, REPLACING], ids=["plain", "with other metadata"])
async def test_behind_the_guard_no_copy_reads_what_somebody_else_uploaded(
    guarded: S3Place, send: Send, key: str, headers: dict[str, str]
) -> None:
    theirs = f"uploads/{uuid.uuid4().hex}/theirs.csv"
    assert (await send.put(await guarded.sign_put(theirs, SPEC), BODY)).status == 200
    attack = Attack(place=guarded, send=send, key=key, header=S3_WORDS.header)

    reply = await attack.copy(theirs, **headers)

    assert reply.status == 403
    assert await attack.found() is None


async def test_behind_the_guard_nothing_is_written_outside_the_prefix(guarded: S3Place, send: Send) -> None:
    reply = await send.put(await guarded.sign_put("private/mine", SPEC), BODY)

    assert reply.status == 403
    assert await guarded.objects.head("private/mine") is None


async def test_the_guards_write_credential_reads_and_removes_nothing(
    store: S3Store, guarded: S3Place, send: Send, http: aiohttp.ClientSession, key: str
) -> None:
    await send.put(await guarded.sign_put(key, SPEC), BODY)
    info = await guarded.objects.head(key)
    assert info is not None
    writer, now = place_on(store, guarded.bucket, http, store.writer), guarded.clock.now()
    request = await writer.get.sign_get(key, pin_of(info), filename="r", now=now, ends=now + timedelta(minutes=1))

    read = await send(as_signed(request))
    removed = await writer.remover.caller.call("DELETE", key, writer.remover.credentials)

    assert (read.status, removed.status) == (403, 403)
    assert await guarded.objects.head(key) == info
