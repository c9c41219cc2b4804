"""What stands in an item of a batch besides what it declares."""

import msgspec

from broker.api.batch_bodies import wish_of
from broker.contract import BatchItem, CreateUploadSession
from broker.services.mint_batch import Wish


def item(**more: object) -> bytes:
    return msgspec.json.encode({"filename": "one.csv", "size_bytes": 7, **more})


def test_what_is_announced_is_no_part_of_what_its_key_stands_for() -> None:
    declared = CreateUploadSession(filename="one.csv", size_bytes=7)
    assert wish_of(item(idempotency_key="one", is_announced=True), 0) == Wish(declared, "one", is_announced=True)
    assert wish_of(item(idempotency_key="one"), 0) == Wish(declared, "one", is_announced=False)


def test_it_may_be_announced_without_a_key() -> None:
    assert wish_of(item(is_announced=True), 0).is_announced
    assert not wish_of(msgspec.json.encode(BatchItem(filename="one.csv", size_bytes=7)), 0).is_announced
