"""What a dialect's row claims of a signed PUT, claim by claim, on each store on which the row is run (rows.py).

`enforced`: the tampered request is refused and stores nothing. Less than that: the store takes it, and the answer of
the mint said so.
"""

import asyncio
from collections.abc import Callable

import pytest

from broker.contract import Level
from broker.domain.objects import judge, unproved
from tests.contracts.storage.rows import PROVED_ON
from tests.contracts.storage.samples import BODY, CHECKSUMS, OTHER, SPEC, with_digest
from tests.contracts.storage.stores import Place, Store
from tests.contracts.storage.tampering import Change, with_header, without_header
from tests.contracts.storage.wire import Send, as_signed

RACERS = 16


@pytest.fixture(
    scope="session",
    params=[
        pytest.param((dialect, name), id=f"{dialect}-on-{name}")
        for dialect, names in PROVED_ON.items()
        for name in names
    ],
)
def store(request: pytest.FixtureRequest) -> Store:
    dialect, name = request.param
    running: Store = request.getfixturevalue(f"{name}_store")
    return running.speaking(dialect)


@pytest.mark.parametrize("body", [BODY + b"0", BODY * 1000, BODY[:-1], b""], ids=["more", "much more", "less", "none"])
async def test_another_size_is_refused_where_size_is_enforced(place: Place, send: Send, key: str, body: bytes) -> None:
    reply = await send.put(await place.sign_put(key, SPEC), body)

    assert place.put.binds(SPEC).size is Level.ENFORCED
    assert reply.status in {400, 403, 411}
    assert await place.witness.keys(place.bucket, key) == set()


@pytest.mark.parametrize(
    "change",
    [with_header("content-type", "text/html"), without_header("content-type")],
    ids=["another", "none"],
)
async def test_another_type_is_refused_where_the_type_is_enforced(
    place: Place, send: Send, key: str, change: Change
) -> None:
    reply = await send(change(as_signed(await place.sign_put(key, SPEC), BODY)))

    assert place.put.binds(SPEC).content_type is Level.ENFORCED
    assert reply.status in {400, 403}
    assert await place.witness.keys(place.bucket, key) == set()


async def test_a_replayed_put_is_refused_where_create_only_is_enforced(place: Place, send: Send, key: str) -> None:
    request = await place.sign_put(key, SPEC)
    await send.put(request, BODY)

    replayed = await send.put(request, OTHER)

    if place.put.binds(SPEC).create_only is Level.ENFORCED:
        assert replayed.status == 412
        assert await place.witness.get(place.bucket, key) == BODY
    else:
        assert place.put.binds(SPEC).create_only is Level.NONE


async def test_of_concurrent_puts_exactly_one_is_stored_where_create_only_is_enforced(
    place: Place, send: Send, key: str
) -> None:
    request = await place.sign_put(key, SPEC)
    bodies = [bytes([ord("a") + each]) * len(BODY) for each in range(RACERS)]

    replies = await asyncio.gather(*(send.put(request, body) for body in bodies))

    statuses, stored = [reply.status for reply in replies], await place.witness.get(place.bucket, key)
    if place.put.binds(SPEC).create_only is Level.ENFORCED:
        assert statuses.count(200) == 1
        assert set(statuses) <= {200, 409, 412}
        assert stored == bodies[statuses.index(200)]
    else:
        assert stored in bodies


@pytest.mark.parametrize("algorithm", CHECKSUMS)
async def test_other_bytes_than_declared_are_refused_where_the_checksum_is_enforced(
    store: Store, place: Place, send: Send, key: str, algorithm: str
) -> None:
    spec = with_digest(algorithm)
    guarantees = place.put.binds(spec)
    request = await place.sign_put(key, spec)

    wrong = await send.put(request, OTHER)

    if guarantees.checksum is Level.ENFORCED:
        assert wrong.status == 400
        assert await place.witness.keys(place.bucket, key) == set()
        assert (await send.put(request, BODY)).status == 200
        info = await place.objects.head(key)
        assert info is not None
        is_unseen = algorithm in store.words.unseen_digests
        assert getattr(info.checksum, algorithm) == (None if is_unseen else CHECKSUMS[algorithm])
    else:
        info = await place.objects.head(key)
        assert wrong.status == 200
        assert info is not None
        assert guarantees.checksum is Level.ON_READ
        # Either HEAD shows a digest and gives it away, or it is named as what reading has to prove.
        assert judge(spec, info) is not None or unproved(spec, info, guarantees) == [algorithm]


@pytest.mark.parametrize("algorithm", CHECKSUMS)
@pytest.mark.parametrize("change", [with_header, without_header], ids=["changed", "left out"])
async def test_an_enforced_checksum_can_be_neither_changed_nor_left_out_and_no_other_is_sent(
    store: Store, place: Place, send: Send, key: str, algorithm: str, change: Callable[..., Change]
) -> None:
    is_bound = place.put.binds(with_digest(algorithm)).checksum is Level.ENFORCED
    bound = store.words.digest(algorithm, CHECKSUMS[algorithm]) if is_bound else {}
    request = await place.sign_put(key, with_digest(algorithm))
    assert bound == {name: value for name, value in request.headers.items() if name in store.words.digest_headers}

    for header, value in bound.items():
        tampered = change(header, value[1:] + value[:1]) if change is with_header else change(header)
        reply = await send(tampered(as_signed(request, OTHER)))

        assert reply.status == (403 if change is with_header else store.words.malformed)
        assert await place.witness.keys(place.bucket, key) == set()


async def test_an_unsigned_header_is_refused_where_that_is_claimed(
    store: Store, place: Place, send: Send, key: str
) -> None:
    extra = with_header(f"{store.words.metadata}extra", "1")

    reply = await send(extra(as_signed(await place.sign_put(key, SPEC), BODY)))

    if store.accepts_unsigned_headers:
        assert reply.status in {200, 403}  # `generic` only fears it
    else:
        assert reply.status == store.words.malformed
        assert await place.witness.keys(place.bucket, key) == set()
