"""Roles on a real STS: a session really may no more than its right on its prefix, also against its holder's tricks.

Ceph 16.2 obeys headers that nobody signed. So this is where it counts that a session for writing cannot read.
"""

import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from broker.clock import SystemClock
from broker.contract import SignedRequest
from broker.domain.errors import CredentialsUnavailable, StoreRefused
from broker.domain.objects import judge, pin_of
from broker.ports import Bucket
from broker.settings import load
from broker.storage.s3.lister import S3ObjectLister
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover
from broker.wiring.credentials import open_keyring
from broker.wiring.providers import buckets_of
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.stores import S3Place, S3Store
from tests.contracts.storage.s3.words import S3_WORDS
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.test_unsigned_headers import REPLACING, SECRET, Attack
from tests.contracts.storage.wire import Send, as_signed
from tests.peers.ceph.accounts import SECRET_NAME, RoleAccount, role_accounts
from tests.peers.ceph.cluster import Ceph
from tests.peers.ceph.loop import LoopOptions, running_loop

Accounts = tuple[RoleAccount, RoleAccount]
SOON = timedelta(minutes=5)


@pytest.fixture(scope="module")
def accounts(ceph: Ceph) -> Iterator[Accounts]:
    with role_accounts(ceph, uuid.uuid4().hex[:12]) as both:
        yield both


@pytest.fixture
async def buckets(
    accounts: Accounts, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, Bucket]]:
    """Both destinations as one process opens them: the start-up guard lets one narrowed role stand for all rights."""
    monkeypatch.setenv(SECRET_NAME, accounts[0].broker.credential.secret_key)
    path = tmp_path / "broker.toml"
    path.write_text("".join(account.toml() for account in accounts))
    async with open_keyring(SystemClock()) as keyring:
        yield buckets_of(load(path, {}).destinations, http, SystemClock(), keyring)


def place_of(bucket: Bucket, account: RoleAccount) -> S3Place:
    assert isinstance(bucket.put, S3PutSigner)
    assert isinstance(bucket.get, S3GetSigner)
    assert isinstance(bucket.objects, S3ObjectHead)
    assert isinstance(bucket.remover, S3ObjectRemover)
    assert isinstance(bucket.lister, S3ObjectLister)
    assert isinstance(bucket.mark, S3StoreMark)
    return S3Place(
        put=bucket.put,
        get=bucket.get,
        objects=bucket.objects,
        remover=bucket.remover,
        lister=bucket.lister,
        mark=bucket.mark,
        witness=account.witness,
        bucket=account.bucket,
    )


@pytest.fixture
def red(buckets: dict[str, Bucket], accounts: Accounts) -> S3Place:
    return place_of(buckets["red"], accounts[0])


@pytest.fixture
def blue(buckets: dict[str, Bucket], accounts: Accounts) -> S3Place:
    return place_of(buckets["blue"], accounts[1])


@pytest.fixture
def send(http: aiohttp.ClientSession) -> Send:
    return Send(http)


@pytest.fixture
def key() -> str:
    return f"uploads/{uuid.uuid4().hex}/report.csv"


async def signed_get(place: S3Place, signer: S3GetSigner, key: str) -> SignedRequest:
    info = await place.objects.head(key)
    assert info is not None
    now = place.clock.now()
    return await signer.sign_get(key, pin_of(info), filename="r.csv", now=now, ends=now + SOON)


async def read_by(place: S3Place, send: Send, key: str) -> bytes:
    """By the session for reading: on Ceph the owner of a bucket may not read what another's session wrote there."""
    return (await send(as_signed(await signed_get(place, place.get, key)))).body


async def test_each_right_does_its_work_with_its_own_session(red: S3Place, blue: S3Place, send: Send, key: str) -> None:
    for place in (red, blue):
        request = await place.sign_put(key, SPEC)
        assert "X-Amz-Security-Token" in request.url
        assert (await send.put(request, BODY)).status == 200

        info = await place.objects.head(key)
        assert info is not None
        assert judge(SPEC, info) is None
        assert await read_by(place, send, key) == BODY
        assert await place.remover.remove(key, pin_of(info))
        assert await place.objects.head(key) is None


async def test_parts_listings_and_the_note_work_with_sessions(buckets: dict[str, Bucket], key: str) -> None:
    for bucket in buckets.values():
        assert bucket.multipart is not None
        assert bucket.lister is not None
        assert bucket.mark is not None
        upload_id = await bucket.multipart.uploads.open(key, SPEC, "sealed")
        assert await bucket.multipart.uploads.parts(key, upload_id) == []
        assert await bucket.multipart.remover.open_uploads(key) == [upload_id]
        assert await bucket.multipart.remover.abort(key, upload_id)
        assert await bucket.multipart.uploads.parts(key, upload_id) is None
        await bucket.mark.write("store", now=SystemClock().now())
        assert await bucket.mark.read() == "store"
        assert [each.key async for page in bucket.lister.objects() for each in page] == ["uploads/.broker"]


async def test_a_session_for_writing_writes_nowhere_but_under_its_prefix(red: S3Place, send: Send) -> None:
    for elsewhere in ("private/mine", "uploads2/mine", "uploads"):
        reply = await send.put(await red.sign_put(elsewhere, SPEC), BODY)

        assert reply.status == 403
        assert elsewhere not in await red.witness.keys(red.bucket)


async def test_a_session_for_writing_reads_and_removes_nothing(red: S3Place, send: Send, key: str) -> None:
    assert (await send.put(await red.sign_put(key, SPEC), BODY)).status == 200
    by_writer = replace(red.get, credentials=red.put.credentials)

    read = await send(as_signed(await signed_get(red, by_writer, key)))
    removed = await red.remover.caller.call("DELETE", key, red.put.credentials)

    assert (read.status, removed.status) == (403, 403)
    assert await read_by(red, send, key) == BODY


async def test_a_session_for_reading_writes_and_removes_nothing(red: S3Place, send: Send, key: str) -> None:
    """That for removing may write on Ceph 16.2, which asks for it at an abort; no client ever holds what it signs."""
    signer, now = replace(red.put, credentials=red.get.credentials), red.clock.now()

    reply = await send.put(await signer.sign_put(key, SPEC, "sealed", now=now, ends=now + SOON), BODY)
    removed = await red.remover.caller.call("DELETE", key, red.get.credentials)

    assert (reply.status, removed.status) == (403, 403)
    assert key not in await red.witness.keys(red.bucket)


@pytest.mark.parametrize("headers", [{}, REPLACING], ids=["plain", "with other metadata"])
@pytest.mark.parametrize("source", ["private/secret", "uploads/theirs"])
async def test_no_signed_put_becomes_a_copy(
    red: S3Place, send: Send, key: str, source: str, headers: dict[str, str]
) -> None:
    """The attack that a store obeys which obeys unsigned headers, if whoever signed may read."""
    await red.witness.put(red.bucket, source, SECRET)
    attack = Attack(place=red, send=send, key=key, header=S3_WORDS.header)

    reply = await attack.copy(source, **headers)

    assert reply.status == 403
    assert await attack.found() is None


async def test_no_signed_part_becomes_a_copy(red: S3Place, buckets: dict[str, Bucket], send: Send, key: str) -> None:
    await red.witness.put(red.bucket, "private/secret", SECRET)
    rights = buckets["red"].multipart
    assert rights is not None
    upload_id = await rights.uploads.open(key, SPEC, "sealed")
    now = red.clock.now()
    wire = as_signed(await rights.signer.sign_part(key, upload_id, 1, 0, now=now, ends=now + SOON))
    source = {"x-amz-copy-source": f"/{red.bucket}/private/secret", "content-length": "0"}

    reply = await send(replace(wire, headers={**wire.headers, **source}))

    assert reply.status == 403
    assert await rights.uploads.parts(key, upload_id) == []
    assert await rights.remover.abort(key, upload_id)


async def test_without_its_session_policy_the_same_role_would_be_read_with(
    accounts: Accounts, red: S3Place, send: Send, key: str, tmp_path: Path
) -> None:
    """So it is the session policy that helps, and not what the role may."""
    await red.witness.put(red.bucket, "private/secret", SECRET)
    text = accounts[0].toml().replace("source = {", 'session_policy = "none", source = {')
    reader = f'access_key_id = "OTHER", secret_access_key = {{env = "{SECRET_NAME}"}}'
    text = text.replace("{default = {", f"{{read = {{{reader}}}, default = {{")
    (tmp_path / "open.toml").write_text(text)
    place = load(tmp_path / "open.toml", {}).destinations["red"]
    async with open_keyring(SystemClock()) as keyring:
        bucket = buckets_of({"red": place}, red.remover.caller.http, SystemClock(), keyring)["red"]
        assert isinstance(bucket.put, S3PutSigner)

        leaking = replace(red, put=bucket.put)
        attack = Attack(place=leaking, send=send, key=key, header=S3_WORDS.header)
        reply = await attack.copy("private/secret", **REPLACING)

    assert reply.status == 200
    assert await read_by(red, send, key) == SECRET


async def test_no_account_reaches_the_other(red: S3Place, blue: S3Place, send: Send, key: str) -> None:
    strayed = replace(red.put, credentials=blue.put.credentials)
    now = red.clock.now()

    reply = await send.put(await strayed.sign_put(key, SPEC, "sealed", now=now, ends=now + SOON), BODY)

    assert reply.status == 403
    with pytest.raises(StoreRefused):
        await replace(red.objects, credentials=blue.objects.credentials).head(key)


async def test_a_stranger_is_not_given_the_role(
    accounts: Accounts, http: aiohttp.ClientSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ceph: Ceph
) -> None:
    monkeypatch.setenv(SECRET_NAME, ceph.owner.credential.secret_key)
    text = accounts[0].toml().replace(accounts[0].broker.credential.access_key, ceph.owner.credential.access_key)
    (tmp_path / "broker.toml").write_text(text)
    async with open_keyring(SystemClock()) as keyring:
        bucket = buckets_of(load(tmp_path / "broker.toml", {}).destinations, http, SystemClock(), keyring)["red"]
        now = SystemClock().now()

        with pytest.raises(CredentialsUnavailable, match=r"^destinations\.red\.credentials\.write: STS answers 403 to"):
            await bucket.put.sign_put("uploads/a/b", SPEC, "sealed", now=now, ends=now + SOON)


async def test_one_process_serves_both_accounts(
    store: S3Store, accounts: Accounts, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Through the API: minted, sent, looked at, read back – for each account with its own role."""
    guarded = f"guarded-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(guarded)
    store.witness.set_policy(guarded, *guard_statements(guarded, writer=store.writer_name, reader=store.owner_name))
    options = LoopOptions(
        bucket=guarded,
        directory=tmp_path,
        first_look="600s",
        more="".join(account.toml() for account in accounts),
        env={SECRET_NAME: accounts[0].broker.credential.secret_key},
    )
    with running_loop(store, options) as loop:
        as_app = {"authorization": f"Bearer {loop.api_key}"}
        for account in accounts:
            wanted = {"filename": "r.csv", "size_bytes": len(BODY), "destination": account.name}
            async with http.post(f"{loop.url}/upload-sessions", json=wanted, headers=as_app) as answer:
                assert answer.status == 201, await answer.text()
                session = await answer.json()
            request = session["upload"]["request"]
            assert urlsplit(request["url"]).path.startswith(f"/{account.bucket}/uploads/")
            async with http.put(request["url"], data=BODY, headers=request["headers"]) as put:
                assert put.status == 200
            path = f"{loop.url}/upload-sessions/{session['id']}"
            async with http.post(f"{path}/completion", headers=as_app) as completed:
                assert completed.status in {200, 202}
            state = "pending"
            end = time.monotonic() + 20
            while state == "pending" and time.monotonic() < end:
                async with http.get(path, headers=as_app) as told:
                    state = (await told.json())["state"]
            assert state in {"verified", "processing", "processed"}
            async with http.get(f"{path}/content", headers=as_app) as content:
                read = await content.json()
            async with http.get(read["url"], headers=read["headers"]) as got:
                assert await got.read() == BODY
