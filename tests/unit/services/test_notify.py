"""Notify: an authentic envelope, however large, becomes hints."""

import asyncio
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from broker.contract import NotificationReceipt
from broker.domain.keys import new_session_id
from broker.ports import Envelope, Hint, Opened
from broker.services.record_hints import AT_ONCE
from tests.unit.services.house import DOOR_TOKEN, Fuse, House


class Counting(Fuse):
    """How many calls are on their way at once."""

    running = 0
    most = 0

    async def run(self, call: Any, trouble: Any) -> Any:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(0)
        try:
            return await super().run(call, trouble)
        finally:
            self.running -= 1


async def notified(house: House, keys: list[str], name: str = "ObjectCreated:Put") -> NotificationReceipt:
    records = [{"eventName": name, "s3": {"bucket": {"name": "acme"}, "object": {"key": key}}} for key in keys]
    body = msgspec.json.encode({"Records": records})
    return await house.notify("events", Envelope(headers={}, query={"token": DOOR_TOKEN}, body=body))


async def test_thousands_of_hints_go_to_the_ledger_some_at_a_time() -> None:
    fuse = Counting()
    house = House(fuse=fuse)
    keys = [f"uploads/{new_session_id(0)}/a.csv" for _ in range(1000)]
    receipt = await notified(house, keys)
    assert receipt.accepted == 1000
    assert (fuse.calls, fuse.most) == (-(-1000 // AT_ONCE), 1)
    assert len(await house.ledger.claim(2000, now=house.clock.now(), hold=house.place.policy.first_look)) == 1000


async def test_what_is_said_twice_is_recorded_once_and_counted_as_accepted() -> None:
    house = House()
    key = f"uploads/{new_session_id(0)}/a.csv"
    receipt = await notified(house, [key] * 500)
    assert (receipt.accepted, house.fuse.calls) == (500, 1)


async def test_a_removal_is_recorded_once_and_makes_nothing_known_that_was_not() -> None:
    house = House()
    key = f"uploads/{new_session_id(0)}/a.csv"
    receipt = await notified(house, [key] * 3, name="ObjectRemoved:Delete")
    assert (receipt.accepted, receipt.ignored, house.fuse.calls) == (3, 0, 1)
    assert await house.ledger.next_due() is None


PLACES = [
    (("default",), "acme", "uploads", True),
    (("twin",), "acme", "uploads", False),  # a bucket of the same name at another store
    (("twin", "default"), "acme", "uploads", True),
    (("default", "twin"), "acme", "uploads", True),
    (("default",), "other", "uploads", False),
    (("default",), "acme", "elsewhere", False),
    (("default",), "acme", "uploads/uploads", False),
    (("default",), "acme/uploads", "", False),
    (("gone",), "acme", "uploads", False),
    ((), "acme", "uploads", False),
]


@pytest.mark.parametrize(("spoken_of", "bucket", "prefix", "is_moved"), PLACES)
async def test_a_source_moves_sessions_of_its_own_destinations_alone(
    spoken_of: tuple[str, ...], bucket: str, prefix: str, is_moved: bool
) -> None:
    house = House()
    house.buckets["twin"] = replace(
        house.buckets["default"], destination=msgspec.structs.replace(house.place, name="twin")
    )
    minted = await house.minted()
    hint = Hint(bucket=bucket, key=f"{prefix}/{minted.session.id}/report.csv".removeprefix("/"))
    await house.record(spoken_of, Opened(hints=[hint]))
    due = await house.ledger.claim(5, now=house.clock.now(), hold=house.place.policy.first_look)
    assert [look.id for look in due] == ([minted.session.id] if is_moved else [])
