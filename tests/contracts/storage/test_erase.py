"""Erasing on real stores: exactly what was judged goes, with what the same request brought again, and nothing else."""

import pytest
from msgspec.structs import replace

from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.fan_out import note_of
from broker.domain.keys import new_session_id
from broker.domain.objects import ObjectInfo, UploadSpec, stored_object
from broker.domain.policy import Destination
from broker.domain.sessions import Session, begin
from broker.ports import Bucket
from broker.services.erase import wipe
from tests.clock import START
from tests.contracts.storage.stores import Place
from tests.contracts.storage.wire import Send
from tests.unit.domain.samples import pending

BODY = b"123456789"
SPEC = UploadSpec(filename="report.csv", size_bytes=len(BODY), content_type="text/csv")
SEALER = CapsuleSealer([b"k" * 32])


class Erased:
    """One session on one bucket, and the capsule that its signed requests carry."""

    def __init__(self, place: Place) -> None:
        session_id = new_session_id(0)
        destination = Destination(name="default", bucket=place.bucket, prefix="uploads")
        facts = replace(
            pending().facts, bucket=place.bucket, key=f"uploads/{session_id}/report.csv", spec=SPEC, created_at=START
        )
        self.place = place
        self.session: Session = begin(session_id, facts, START)
        self.capsule = SEALER.seal(capsule_of(session_id, facts), bucket=place.bucket, key=facts.key)
        self.key = facts.key
        self.bucket = Bucket(
            destination=destination, put=place.put, get=place.get, objects=place.objects, remover=place.remover
        )

    async def sent(self, send: Send, *, capsule: str | None = None) -> ObjectInfo:
        wire = await self.place.sign_put(self.key, SPEC, capsule=self.capsule if capsule is None else capsule)
        reply = await send.put(wire, BODY)
        assert reply.status == 200, reply
        info = await self.place.objects.head(self.key)
        assert info is not None
        return info

    async def wipe(self, judged: ObjectInfo) -> bool:
        facts = replace(self.session.facts, stored=stored_object(judged))
        return await wipe(note_of(replace(self.session, facts=facts)), self.bucket, SEALER)

    async def covered(self) -> None:
        """Somebody deletes it without naming a version: nothing is under the key now, and its version still there."""
        await self.place.witness.delete(self.place.bucket, self.key)

    async def has(self, info: ObjectInfo) -> bool:
        assert info.version is not None
        return await self.place.objects.head_version(self.key, info.version) is not None


@pytest.fixture
def plain(place: Place) -> Erased:
    return Erased(place)


@pytest.fixture
def versioned(versioned_place: Place) -> Erased:
    return Erased(versioned_place)


async def test_it_is_gone_and_asking_again_is_harmless(plain: Erased, send: Send) -> None:
    judged = await plain.sent(send)
    for _ in range(2):
        assert await plain.wipe(judged)
        assert await plain.place.objects.head(plain.key) is None


async def test_what_the_same_request_brings_again_goes_too(plain: Erased, send: Send) -> None:
    judged = await plain.sent(send)
    assert await plain.wipe(judged)
    await plain.sent(send)
    assert await plain.wipe(judged)
    assert await plain.place.objects.head(plain.key) is None


async def test_somebody_elses_object_under_the_key_stays(plain: Erased, send: Send) -> None:
    judged = await plain.sent(send)
    assert await plain.wipe(judged)
    other = await plain.sent(send, capsule="somebody-else")
    assert await plain.wipe(replace(judged, etag="0" * 32))
    assert await plain.place.objects.head(plain.key) == other


async def test_the_judged_version_goes_from_under_a_marker(versioned: Erased, send: Send) -> None:
    judged = await versioned.sent(send)
    await versioned.covered()
    assert await versioned.wipe(judged)
    assert not await versioned.has(judged)


async def test_the_judged_version_goes_from_under_another_which_stays(versioned: Erased, send: Send) -> None:
    judged = await versioned.sent(send)
    await versioned.covered()
    other = await versioned.sent(send, capsule="somebody-else")
    assert await versioned.wipe(judged)
    assert not await versioned.has(judged)
    assert await versioned.has(other)


async def test_a_version_that_the_same_request_brought_goes_with_it(versioned: Erased, send: Send) -> None:
    judged = await versioned.sent(send)
    await versioned.covered()
    again = await versioned.sent(send)
    assert await versioned.wipe(judged)
    assert not await versioned.has(judged)
    assert not await versioned.has(again)
