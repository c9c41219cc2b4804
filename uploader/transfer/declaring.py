"""What is declared of one file of a tree."""

from collections.abc import Callable

import msgspec
from msgspec import UNSET

from broker.contract import BatchItem, Checksum, Problem
from uploader.attributes import declared, located, presentable
from uploader.checksums import FOR_ANY_STORE, Algorithm, chosen
from uploader.media import guess_type
from uploader.transfer.order import TreeOrder
from uploader.tree.rows import Row


class Declaring:
    """From a row of the manifest to the item of a batch. The same row makes the same item, or the broker would not
    know it again by its key."""

    def __init__(self, order: TreeOrder, key_of: Callable[[Row], str]) -> None:
        """:param key_of: as `Manifest.idempotency_key`."""
        self._order = order
        self._key_of = key_of
        self._metadata = dict(order.metadata)
        self._object_metadata = dict(order.object_metadata)
        several = order.destinations if len(order.destinations) > 1 else ()
        self.is_more_demanded = False
        self._destinations = list(several)
        self._destination = UNSET if several else next(iter(order.destinations), "default")

    def algorithms(self, size_bytes: int) -> tuple[Algorithm, ...]:
        """Digests to declare. A large file is not read twice for them, unless somebody wants it."""
        is_any = self.is_more_demanded and self._order.checksum == "auto"
        return FOR_ANY_STORE if is_any else chosen(self._order.checksum, size_bytes, copies=len(self._destinations))

    def may_declare_more(self, problem: Problem, checksum: Checksum) -> bool:
        """The destination demands a digest that was not declared: from now on it is."""
        is_demanded = problem.code == "checksum-not-provable" and self._order.checksum == "auto"
        if not is_demanded or checksum.md5:
            return False
        self.is_more_demanded = True
        return True

    def item(self, row: Row, checksum: Checksum) -> BatchItem:
        name = presentable(row.absolute.rpartition(b"/")[2])
        return BatchItem(
            filename=name,
            size_bytes=row.size_bytes,
            content_type=self._order.content_type or guess_type(name),
            destination=self._destination,
            destinations=self._destinations or UNSET,
            checksum=checksum,
            metadata=self._metadata | located(row.root, row.path),
            object_metadata=self._object_metadata | declared(row.mtime_ns, row.mode),
            owner=self._order.owner,
            batch=self._order.batch,
            strategy=self._order.strategy,
            idempotency_key=self._key_of(row),
            is_announced=self._order.wait != "none",
        )


def noted(checksum: Checksum) -> str | None:
    """As the manifest has it."""
    return _encode(checksum).decode() if checksum != _NOTHING else None


_NOTHING = Checksum()
_encode = msgspec.json.Encoder().encode
