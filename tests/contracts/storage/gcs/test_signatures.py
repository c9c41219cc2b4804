"""What only a V4 signature of Cloud Storage says: a range of lengths, and as whom."""

from collections.abc import Awaitable

import aiohttp
import pytest

from broker.domain.errors import StoreRefused
from broker.domain.objects import Pin
from tests.contracts.storage.gcs.stores import JANITOR, READER, WRITER, Accounts, GcsPlace, GcsStore
from tests.contracts.storage.samples import BODY, OTHER, SPEC
from tests.contracts.storage.tampering import with_body, with_header, without_header
from tests.contracts.storage.test_get_tampered import sign, stored
from tests.contracts.storage.test_put_tampered import assert_nothing_is_stored, assert_refused
from tests.contracts.storage.wire import Send, as_signed

RANGE = "x-goog-content-length-range"


@pytest.mark.parametrize("lengths", ["0,1000000", f"0,{len(BODY)}", f"{len(BODY)},1000000", f"{len(BODY)}", ""])
async def test_no_other_range_of_lengths_is_taken(
    store: GcsStore, place: GcsPlace, send: Send, key: str, lengths: str
) -> None:
    wire = with_body(BODY + OTHER)(as_signed(await place.sign_put(key, SPEC)))

    assert_refused(await send(with_header(RANGE, lengths)(wire)))
    assert_refused(await send(without_header(RANGE)(wire)))
    await assert_nothing_is_stored(store, key)


# --- one right, one account: what leaks is worth that right


async def test_a_writer_reads_lists_and_removes_nothing(
    store: GcsStore, place: GcsPlace, send: Send, http: aiohttp.ClientSession, key: str
) -> None:
    pin = await stored(place, send, key)
    writer = store.place_of(store.bucket, http, Accounts.all(WRITER))

    reply = await send(as_signed(await sign(writer, key, pin)))

    assert (reply.status, BODY in reply.body) == (403, False)
    assert await refusals(writer, key) == {"read", "listed", "removed", "note"}
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_reader_writes_lists_and_removes_nothing(
    store: GcsStore, place: GcsPlace, send: Send, http: aiohttp.ClientSession, key: str
) -> None:
    reader = store.place_of(store.bucket, http, Accounts.all(READER))
    assert_refused(await send.put(await reader.sign_put(key, SPEC), BODY))
    await stored(place, send, key)

    assert await refusals(reader, key) == {"listed", "removed", "opened"}
    assert await place.witness.get(place.bucket, key) == BODY


async def test_a_janitor_writes_and_reads_nothing(
    store: GcsStore, place: GcsPlace, send: Send, http: aiohttp.ClientSession, key: str
) -> None:
    janitor = store.place_of(store.bucket, http, Accounts.all(JANITOR))
    assert_refused(await send.put(await janitor.sign_put(key, SPEC), BODY))
    pin = await stored(place, send, key)

    reply = await send(as_signed(await sign(janitor, key, pin)))

    assert (reply.status, BODY in reply.body) == (403, False)
    assert await refusals(janitor, key) >= {"read", "opened", "note"}


async def test_no_writer_replaces_what_is_there(
    store: GcsStore, place: GcsPlace, send: Send, http: aiohttp.ClientSession, key: str
) -> None:
    """Beside the condition that every request carries: to replace takes the right to delete."""
    await stored(place, send, key)
    url = f"{store.url}/upload/storage/v1/b/{store.bucket}/o?uploadType=media&name={key}"
    bearer = {"authorization": f"Bearer {store.tokens[WRITER].text}"}

    async with http.post(url, data=OTHER, headers=bearer) as answer:
        assert answer.status == 403

    assert await place.witness.get(place.bucket, key) == BODY


async def refusals(place: GcsPlace, key: str) -> set[str]:
    """What is refused to whom this place belongs to."""
    calls: dict[str, Awaitable[object]] = {
        "read": place.objects.head(key),
        "listed": anext(place.lister.objects()),
        "removed": place.remover.remove(key, Pin(etag="", version="1")),
        "opened": place.resumable.open(f"{key}.other", SPEC, "sealed", origin=None),
        "note": place.mark.read(),
    }
    found = set()
    for name, call in calls.items():
        try:
            await call
        except StoreRefused:
            found.add(name)
    return found
