"""HEAD tells the truth about a key, and a removal takes exactly the state that it names."""

import pytest

from broker.domain.errors import StoreRefused
from broker.domain.objects import ObjectInfo, Pin, UploadSpec, pin_of
from tests.contracts.storage.stores import Place, PlaceWith, Store, Who
from tests.contracts.storage.wire import Send

BODY = b"123456789"
SPEC = UploadSpec(filename="report.csv", size_bytes=len(BODY), content_type="text/csv")


async def stored(place: Place, send: Send, key: str, body: bytes = BODY) -> ObjectInfo:
    reply = await send.put(await place.sign_put(key, SPEC), body)
    assert reply.status == 200, reply
    info = await place.objects.head(key)
    assert info is not None
    return info


async def test_nothing_is_under_a_key_that_nobody_wrote(place: Place, key: str) -> None:
    assert await place.objects.head(key) is None


async def test_head_sees_a_put_at_once(place: Place, send: Send, key: str) -> None:
    info = await stored(place, send, key)

    assert (info.size_bytes, info.content_type) == (len(BODY), "text/csv")


@pytest.mark.parametrize("who", ["neighbour", "unknown", "impostor"])
async def test_a_store_that_refuses_us_is_not_taken_for_an_empty_one(
    store: Store, place_with: PlaceWith, key: str, who: Who
) -> None:
    stranger = place_with(who)

    with pytest.raises(StoreRefused):
        await stranger.objects.head(key)
    with pytest.raises(StoreRefused):
        await stranger.remover.remove(key, store.words.other_pin("abc"))


async def test_what_is_named_is_removed_once(place: Place, send: Send, key: str) -> None:
    info = await stored(place, send, key)

    assert await place.remover.remove(key, pin_of(info))
    assert await place.objects.head(key) is None
    assert not await place.remover.remove(key, pin_of(info))


async def test_something_else_under_the_key_is_not_removed(store: Store, place: Place, send: Send, key: str) -> None:
    info = await stored(place, send, key)

    for other in (Pin(etag="0123456789abcdef0123456789abcdef"), store.words.other_pin(info.etag + "0")):
        assert not await place.remover.remove(key, other)
    assert await place.objects.head(key) == info


async def test_a_version_is_removed_and_the_one_after_it_stays(versioned_place: Place, send: Send, key: str) -> None:
    first = await stored(versioned_place, send, key)
    await versioned_place.witness.delete(versioned_place.bucket, key)
    second = await stored(versioned_place, send, key, BODY[::-1])

    is_removed = await versioned_place.remover.remove(key, pin_of(first))

    assert is_removed
    assert first.version is not None
    assert await versioned_place.objects.head_version(key, first.version) is None
    assert await versioned_place.objects.head(key) == second


async def test_a_version_that_never_was_is_not_removed(
    store: Store, versioned_place: Place, send: Send, key: str
) -> None:
    info = await stored(versioned_place, send, key)

    is_removed = await versioned_place.remover.remove(key, Pin(etag=info.etag, version=store.words.other_version))

    assert not is_removed
    assert await versioned_place.objects.head(key) == info


@pytest.mark.parametrize("name", ["a b+c%41&d.csv", "é日本🗺.csv", "a//b/./../c.csv"])
async def test_every_key_can_be_looked_at_and_removed(place: Place, send: Send, key: str, name: str) -> None:
    info = await stored(place, send, f"{key}/{name}")

    assert await place.remover.remove(f"{key}/{name}", pin_of(info))
    assert await place.objects.head(f"{key}/{name}") is None
