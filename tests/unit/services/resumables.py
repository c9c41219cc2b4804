"""What the suites of uploads by a URI share: a wish, a house whose store opens them, clients who send some of it."""

from typing import Any

from msgspec.structs import replace

from broker.contract import ResumableUpload, Upload
from broker.domain.sessions import Session
from broker.services.drafts import Minted
from tests.memory_resumable import MULTIPLE
from tests.unit.services.house import APP, WISH, House

SIZE = 3 * MULTIPLE + 5
BY_URI = replace(WISH, strategy="resumable", size_bytes=SIZE)


def house_of(**bucket: Any) -> House:
    return House(is_resumable=True, **bucket)


async def minted_by_uri(house: House, key: str | None = None, **changes: Any) -> Minted:
    return await house.mint(APP, replace(BY_URI, **changes), key)


def uri_of(upload: Upload | None) -> str:
    assert isinstance(upload, ResumableUpload)
    assert (upload.request.method, upload.request.headers) == ("PUT", {})
    return upload.request.url


async def begun(house: House, up_to: int | None = None, **changes: Any) -> tuple[Session, str]:
    """Minted, and sent up to here or whole; and the URI by which that came."""
    minted = await minted_by_uri(house, **changes)
    uri = uri_of(minted.upload)
    house.bucket.resumables.send_by(uri, up_to)
    return await house.session(minted.session.id), uri


async def given_again(house: House, session: Session) -> str:
    _, upload = await house.remint(await house.session(session.id))
    return uri_of(upload)
