"""A signed PUT is accepted exactly as signed, and stores what was declared. What is not is in test_put_tampered.py."""

from datetime import timedelta

import pytest

from broker.domain.objects import UploadSpec, judge
from tests.contracts.storage.samples import BODY, SPEC
from tests.contracts.storage.stores import Place, Store
from tests.contracts.storage.tampering import with_header
from tests.contracts.storage.wire import Send, as_signed


async def test_a_put_sent_as_signed_is_stored_as_declared(store: Store, place: Place, send: Send, key: str) -> None:
    reply = await send.put(await place.sign_put(key, SPEC, capsule="sealed"), BODY)

    info = await place.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert judge(SPEC, info) is None
    assert info.metadata == {"upload-session": "sealed", "mtime": "1732100000"}
    assert info.etag == reply.headers["etag"].strip('"')
    assert (info.version is not None) is store.words.is_always_versioned
    assert info.last_modified is not None
    assert abs(info.last_modified - place.clock.now()) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "name", ["a b+c%41&d=e?f#g;h.csv", "é日本🗺.csv", "a//b/./../c.csv", "~'()*!@$,[]{}|^`\"\\<>.csv", "x" * 900]
)
async def test_every_key_arrives_as_it_was_signed(place: Place, send: Send, key: str, name: str) -> None:
    reply = await send.put(await place.sign_put(f"{key}/{name}", SPEC), BODY)

    assert reply.status == 200
    assert await place.objects.head(f"{key}/{name}") is not None
    assert await place.objects.head(key) is None


async def test_an_empty_object_is_an_object(place: Place, send: Send, key: str) -> None:
    empty = UploadSpec(filename="empty", size_bytes=0, content_type="application/octet-stream")

    reply = await send(with_header("content-length", "0")(as_signed(await place.sign_put(key, empty))))

    info = await place.objects.head(key)
    assert reply.status == 200
    assert info is not None
    assert info.size_bytes == 0


async def test_a_put_to_a_versioned_bucket_names_its_version(
    store: Store, versioned_place: Place, send: Send, key: str
) -> None:
    reply = await send.put(await versioned_place.sign_put(key, SPEC), BODY)

    info = await versioned_place.objects.head(key)
    assert info is not None
    assert info.version == reply.headers[store.words.version_header]
