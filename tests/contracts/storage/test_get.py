"""A signed GET reads one stored state of one object, as an attachment. Its neighbours are in test_get_tampered.py."""

from dataclasses import replace
from datetime import timedelta
from urllib.parse import unquote

import pytest

from broker.contract import SignedRequest
from broker.domain.objects import ObjectInfo, Pin, UploadSpec, pin_of
from tests.contracts.storage.samples import BODY, OTHER
from tests.contracts.storage.stores import Place, Store
from tests.contracts.storage.wire import Send, Wire, as_signed

SPEC = UploadSpec(filename="report.csv", size_bytes=len(BODY), content_type="text/html")


async def stored(place: Place, send: Send, key: str, body: bytes = BODY) -> ObjectInfo:
    reply = await send.put(await place.sign_put(key, SPEC), body)
    assert reply.status == 200, reply
    info = await place.objects.head(key)
    assert info is not None
    return info


async def sign(place: Place, key: str, pin: Pin | None, filename: str = "report.csv") -> SignedRequest:
    now = place.clock.now()
    return await place.get.sign_get(key, pin, filename=filename, now=now, ends=now + timedelta(minutes=5))


async def test_a_get_sent_as_signed_reads_the_verified_bytes(place: Place, send: Send, key: str) -> None:
    info = await stored(place, send, key)

    reply = await send(as_signed(await sign(place, key, pin_of(info))))

    assert (reply.status, reply.body) == (200, BODY)


@pytest.mark.parametrize("filename", ["report.csv", 'Straße "2"; x=y.csv', "日本.csv"])
async def test_what_is_read_is_always_an_attachment(place: Place, send: Send, key: str, filename: str) -> None:
    info = await stored(place, send, key)

    reply = await send(as_signed(await sign(place, key, pin_of(info), filename)))

    kind, _, name = reply.headers["content-disposition"].partition("; filename*=UTF-8''")
    assert (kind, unquote(name)) == ("attachment", filename)


async def test_a_range_may_be_read_although_it_is_not_signed(place: Place, send: Send, key: str) -> None:
    info = await stored(place, send, key)
    request = await sign(place, key, pin_of(info))

    reply = await send(ranged(request, "bytes=3-5"))

    assert (reply.status, reply.body) == (206, BODY[3:6])


def ranged(request: SignedRequest, value: str) -> Wire:
    wire = as_signed(request)
    return replace(wire, headers={**wire.headers, "range": value})


async def test_a_pinned_get_fails_when_the_object_was_replaced(
    store: Store, place: Place, send: Send, key: str
) -> None:
    verified = await stored(place, send, key)
    request = await sign(place, key, pin_of(verified))
    await replaced(place, send, key, verified)

    whole = await send(as_signed(request))
    part = await send(ranged(request, "bytes=0-3"))

    assert (whole.status, part.status) == (store.words.stale, store.words.stale)
    assert OTHER not in whole.body


async def replaced(place: Place, send: Send, key: str, verified: ObjectInfo) -> ObjectInfo:
    """After our own delete a create-only PUT succeeds again."""
    assert await place.remover.remove(key, pin_of(verified))
    return await stored(place, send, key, OTHER)


async def test_a_version_is_read_although_another_came_after_it(versioned_place: Place, send: Send, key: str) -> None:
    verified = await stored(versioned_place, send, key)
    request = await sign(versioned_place, key, pin_of(verified))
    await versioned_place.witness.delete(versioned_place.bucket, key)
    await stored(versioned_place, send, key, OTHER)

    reply = await send(as_signed(request))

    assert request.headers == {}
    assert (reply.status, reply.body) == (200, BODY)


async def test_an_unpinned_get_is_its_url_alone(place: Place, send: Send, key: str) -> None:
    await stored(place, send, key)

    reply = await send(as_signed(await sign(place, key, None)))

    assert (reply.status, reply.body) == (200, BODY)
