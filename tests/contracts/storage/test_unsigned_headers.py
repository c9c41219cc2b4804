"""Headers that nobody signed, sent along with a signed PUT.

A store refuses them (`aws`), or obeys them (`ceph`). Where it obeys, no judgement of what HEAD shows helps: a copy with
REPLACE carries the signed size, type and capsule. What helps is tested here too: a write credential that cannot read.
`broker.wiring` refuses such a destination until its operator says that this is so.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

import aiohttp
import pytest

from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, judge, pin_of
from tests.contracts.storage.guard import guard_statements
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.stores import Place, Reply, Send, Store, Wire, as_signed, place_on
from tests.contracts.storage.tampering import with_header

SECRET = b"987654321"  # as long as what is declared: its size gives nothing away
COPY = {"x-amz-metadata-directive": "REPLACE"}

HARMLESS = [
    pytest.param("x-amz-tagging", "a=b", id="tagging"),
    pytest.param("x-amz-meta-extra", "1", id="metadata"),
    pytest.param("x-amz-storage-class", "STANDARD_IA", id="storage class"),
    pytest.param("x-amz-website-redirect-location", "https://evil.example/", id="redirect"),
    pytest.param("x-amz-server-side-encryption", "AES256", id="encryption"),
    pytest.param("x-amz-checksum-sha256", "A" * 43 + "=", id="checksum"),
    pytest.param("x-amz-object-lock-mode", "COMPLIANCE", id="lock"),
    pytest.param("x-amz-security-token", "invented", id="session token"),
]


def with_headers(wire: Wire, headers: dict[str, str]) -> Wire:
    return replace(wire, headers={**wire.headers, **headers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """An upload by somebody who knows a key that he may not read."""

    place: Place
    send: Send
    key: str

    async def copy(self, source: str, **headers: str) -> Reply:
        wire = as_signed(await self.place.sign_put(self.key, SPEC))
        copying = {"x-amz-copy-source": f"/{self.place.bucket}/{source}", "content-length": str(len(BODY))}
        return await self.send(replace(with_headers(wire, {**copying, **headers}), body=BODY))

    async def found(self) -> ObjectInfo | None:
        return await self.place.objects.head(self.key)


@pytest.fixture
async def secret(place: Place) -> str:
    key = f"private/{uuid.uuid4().hex}"
    await place.witness.put(place.bucket, key, SECRET)
    return key


@pytest.fixture
def attack(place: Place, send: Send, key: str) -> Attack:
    return Attack(place=place, send=send, key=key)


@pytest.mark.parametrize(("name", "value"), HARMLESS)
async def test_an_unsigned_amz_header_is_refused_or_changes_nothing_that_is_judged(
    place: Place, send: Send, key: str, name: str, value: str
) -> None:
    reply = await send(with_header(name, value)(as_signed(await place.sign_put(key, SPEC), BODY)))

    info = await place.objects.head(key)
    if not place.dialect.accepts_unsigned_headers:
        assert reply.status == 403
    if reply.status == 200:
        assert info is not None
        assert judge(SPEC, info) is None
        assert info.metadata[CAPSULE_FIELD] == "sealed"
        assert await place.witness.get(place.bucket, key) == BODY
    else:
        assert info is None


async def test_an_unsigned_acl_is_refused_or_makes_the_object_public(
    store: Store, place: Place, send: Send, http: aiohttp.ClientSession, key: str
) -> None:
    """Where it is obeyed only the bucket helps: block public access, or ignore public ACLs."""
    reply = await send(with_header("x-amz-acl", "public-read")(as_signed(await place.sign_put(key, SPEC), BODY)))

    async with http.get(f"{store.url}/{store.bucket}/{key}") as anonymous:
        is_public = anonymous.status == 200
    assert (reply.status, is_public) == ((200, True) if place.dialect.accepts_unsigned_headers else (403, False))


@pytest.mark.parametrize(
    "headers",
    [
        {"cache-control": "no-transform"},
        {"content-encoding": "gzip"},
        {"content-disposition": "inline"},
        {"content-language": "de"},
        {"expires": "Wed, 21 Oct 2026 07:28:00 GMT"},
        {"date": "Wed, 21 Oct 2015 07:28:00 GMT"},
    ],
    ids=lambda headers: next(iter(headers)),
)
async def test_a_header_that_no_store_wants_signed_changes_no_byte_and_no_verdict(
    place: Place, send: Send, key: str, headers: dict[str, str]
) -> None:
    """S3 asks for a signature only of host and x-amz-*; what else travels is kept as the object's own description."""
    reply = await send(with_headers(as_signed(await place.sign_put(key, SPEC), BODY), headers))

    info = await place.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert judge(SPEC, info) is None
    now = place.clock.now()
    request = await place.get.sign_get(key, pin_of(info), filename="r.csv", now=now, ends=now + timedelta(minutes=1))
    read = await send(as_signed(request))
    assert read.status == 200
    assert read.headers["content-disposition"].startswith("attachment")
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_signed_put_becomes_a_copy_as_the_signer_only_where_unsigned_headers_are_obeyed(
    place: Place, attack: Attack, secret: str
) -> None:
    reply = await attack.copy(secret)

    found = await attack.found()
    if place.dialect.accepts_unsigned_headers:
        assert reply.status == 200
        assert found is not None
        assert CAPSULE_FIELD not in found.metadata  # a plain copy brings its own metadata: foreign at HEAD
    else:
        assert (reply.status, found) == (403, None)


async def test_no_head_can_tell_a_copy_that_replaces_metadata(place: Place, attack: Attack, secret: str) -> None:
    """Why the write credential must not be able to read, and why wiring asks."""
    reply = await attack.copy(secret, **COPY)

    found = await attack.found()
    if place.dialect.accepts_unsigned_headers:
        assert reply.status == 200
        assert found is not None
        assert judge(SPEC, found) is None
        assert found.metadata[CAPSULE_FIELD] == "sealed"
        assert await place.witness.get(place.bucket, attack.key) == SECRET
    else:
        assert (reply.status, found) == (403, None)


# --- the guard: a write credential that cannot read ------------------------------------------------------


@pytest.fixture
def guarded(store: Store, http: aiohttp.ClientSession) -> Place:
    """The broker's rights in a guarded bucket: `put` is the writer's, the rest the owner's."""
    bucket = f"guarded-{uuid.uuid4().hex[:12]}"
    store.witness.make_bucket(bucket)
    store.witness.set_policy(bucket, *guard_statements(bucket, writer=store.writer_name, reader=store.owner_name))
    reading = place_on(store, bucket, http, store.credential)
    return replace(reading, put=place_on(store, bucket, http, store.writer).put)


async def test_behind_the_guard_an_upload_is_stored_judged_read_and_removed(
    guarded: Place, send: Send, key: str
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


@pytest.mark.parametrize("headers", [{}, COPY], ids=["plain", "with other metadata"])
@pytest.mark.parametrize("source", ["private/secret", "uploads/secret"])
async def test_behind_the_guard_no_copy_reads_what_the_owner_keeps(
    guarded: Place, send: Send, key: str, source: str, headers: dict[str, str]
) -> None:
    await guarded.witness.put(guarded.bucket, source, SECRET)
    attack = Attack(place=guarded, send=send, key=key)

    reply = await attack.copy(source, **headers)

    assert reply.status == 403
    assert await attack.found() is None


@pytest.mark.parametrize("headers", [{}, COPY], ids=["plain", "with other metadata"])
async def test_behind_the_guard_no_copy_reads_what_somebody_else_uploaded(
    guarded: Place, send: Send, key: str, headers: dict[str, str]
) -> None:
    theirs = f"uploads/{uuid.uuid4().hex}/theirs.csv"
    assert (await send.put(await guarded.sign_put(theirs, SPEC), BODY)).status == 200
    attack = Attack(place=guarded, send=send, key=key)

    reply = await attack.copy(theirs, **headers)

    assert reply.status == 403
    assert await attack.found() is None


async def test_behind_the_guard_nothing_is_written_outside_the_prefix(guarded: Place, send: Send) -> None:
    reply = await send.put(await guarded.sign_put("private/mine", SPEC), BODY)

    assert reply.status == 403
    assert await guarded.objects.head("private/mine") is None


async def test_the_guards_write_credential_reads_and_removes_nothing(
    store: Store, guarded: Place, send: Send, http: aiohttp.ClientSession, key: str
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
