"""Headers that nobody signed, sent along with a signed PUT.

A store refuses them (`aws`), or obeys them (`ceph`). Where it obeys, no judgement of what HEAD shows helps: a copy with
REPLACE carries the signed size, type and capsule. What helps is tested in s3/test_guard.py: a write credential that
cannot read. `broker.wiring` refuses such a destination until its operator says that this is so.
"""

import uuid
from dataclasses import dataclass, replace
from datetime import timedelta

import aiohttp
import pytest

from broker.domain.objects import CAPSULE_FIELD, ObjectInfo, judge, pin_of
from tests.contracts.storage.rows import over_stores
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.stores import Place, Store
from tests.contracts.storage.tampering import with_header
from tests.contracts.storage.wire import Reply, Send, Wire, as_signed

SECRET = b"987654321"  # as long as what is declared: its size gives nothing away
# Beside the source of a copy: it comes with the metadata of the request.
REPLACING = {"metadata-directive": "REPLACE"}


def with_headers(wire: Wire, headers: dict[str, str]) -> Wire:
    return replace(wire, headers={**wire.headers, **headers})


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """An upload by somebody who knows a key that he may not read."""

    place: Place
    send: Send
    key: str
    header: str  # what its headers begin with

    async def copy(self, source: str, **more: str) -> Reply:
        """:param more: headers of the store's own, named without what they all begin with."""
        wire = as_signed(await self.place.sign_put(self.key, SPEC))
        copying = {"copy-source": f"/{self.place.bucket}/{source}", **more}
        headers = {f"{self.header}{name}": value for name, value in copying.items()}
        return await self.send(replace(with_headers(wire, {**headers, "content-length": str(len(BODY))}), body=BODY))

    async def found(self) -> ObjectInfo | None:
        return await self.place.objects.head(self.key)


@pytest.fixture
async def secret(place: Place) -> str:
    key = f"private/{uuid.uuid4().hex}"
    await place.witness.put(place.bucket, key, SECRET)
    return key


@pytest.fixture
def attack(store: Store, place: Place, send: Send, key: str) -> Attack:
    return Attack(place=place, send=send, key=key, header=store.words.header)


@over_stores("header", lambda words: words.unsigned)
async def test_an_unsigned_header_is_refused_or_changes_nothing_that_is_judged(
    store: Store, place: Place, send: Send, key: str, header: tuple[str, str]
) -> None:
    reply = await send(with_header(*header)(as_signed(await place.sign_put(key, SPEC), BODY)))

    info = await place.objects.head(key)
    if not store.accepts_unsigned_headers:
        assert reply.status == store.words.malformed
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
    public = with_header(f"{store.words.header}acl", "public-read")

    reply = await send(public(as_signed(await place.sign_put(key, SPEC), BODY)))

    async with http.get(f"{store.url}/{store.bucket}/{key}") as anonymous:
        is_public = anonymous.status == 200
    refused = (store.words.malformed, False)
    assert (reply.status, is_public) == ((200, True) if store.accepts_unsigned_headers else refused)


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
    store: Store, place: Place, send: Send, key: str, headers: dict[str, str]
) -> None:
    """Stores want host and their own headers signed; what else travels is kept as the object's own description."""
    reply = await send(with_headers(as_signed(await place.sign_put(key, SPEC), BODY), headers))

    info = await place.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert (judge(SPEC, info) is not None) is (headers.keys() <= store.words.betrayed)
    now = place.clock.now()
    request = await place.get.sign_get(key, pin_of(info), filename="r.csv", now=now, ends=now + timedelta(minutes=1))
    read = await send(as_signed(request))
    assert read.status == 200
    assert read.headers["content-disposition"].startswith("attachment")
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_signed_put_becomes_a_copy_as_the_signer_only_where_unsigned_headers_are_obeyed(
    store: Store, attack: Attack, secret: str
) -> None:
    reply = await attack.copy(secret)

    found = await attack.found()
    if store.accepts_unsigned_headers:
        assert reply.status == 200
        assert found is not None
        assert CAPSULE_FIELD not in found.metadata  # a plain copy brings its own metadata: foreign at HEAD
    else:
        assert (reply.status, found) == (store.words.malformed, None)


async def test_no_head_can_tell_a_copy_that_replaces_metadata(
    store: Store, place: Place, attack: Attack, secret: str
) -> None:
    """Why the write credential must not be able to read, and why wiring asks."""
    reply = await attack.copy(secret, **REPLACING)

    found = await attack.found()
    if store.accepts_unsigned_headers:
        assert reply.status == 200
        assert found is not None
        assert judge(SPEC, found) is None
        assert found.metadata[CAPSULE_FIELD] == "sealed"
        assert await place.witness.get(place.bucket, attack.key) == SECRET
    else:
        assert (reply.status, found) == (store.words.malformed, None)
