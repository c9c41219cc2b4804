"""What the suites of multipart uploads share: a wish of three parts, and clients who send some of them."""

from collections.abc import Collection
from typing import Any

from msgspec.structs import replace

from broker.contract import PartRequest
from broker.domain.sessions import Session
from broker.services.drafts import Minted
from tests.unit.services.house import APP, WISH, House, parts_of

MIB = 2**20
PART = 16 * MIB
IN_PARTS = replace(WISH, strategy="multipart", size_bytes=2 * PART + 5)


async def minted_in_parts(house: House, key: str | None = None, **changes: Any) -> Minted:
    return await house.mint(APP, replace(IN_PARTS, **changes), key)


def send_parts(house: House, parts: Collection[PartRequest], *numbers: int) -> None:
    """These of them, or all."""
    for part in parts:
        if not numbers or part.number in numbers:
            house.bucket.uploads.send(part.request)


async def begun(house: House, *numbers: int) -> Session:
    """Minted, and some parts sent; without numbers all."""
    minted = await minted_in_parts(house)
    send_parts(house, parts_of(minted.upload).parts, *numbers)
    return await house.session(minted.session.id)


def upload_id_of(session: Session) -> str:
    assert session.facts.multipart is not None
    return session.facts.multipart.upload_id
