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
        self._proved_best: Algorithm = "sha256"
        self._is_known = False
        self._destinations = list(several)
        self._destination = UNSET if several else next(iter(order.destinations), "default")

    def algorithms(self, size_bytes: int) -> tuple[Algorithm, ...]:
        """Digests to declare. A large file is not read twice for them, unless somebody wants it."""
        if self._order.checksum == "auto" and self.is_more_demanded:
            return FOR_ANY_STORE
        wanted = chosen(self._order.checksum, size_bytes, copies=len(self._destinations))
        is_ours_to_choose = self._order.checksum == "auto" and wanted == ("sha256",)
        return (self._proved_best,) if is_ours_to_choose else wanted

    def learn(self, checksum: Checksum, *, is_proved: bool) -> None:
        """What the store makes of a digest: it refuses other bytes, or does not look at it.

        `auto` begins with sha256. A store that does not compute that one (Ceph, Cloud Storage) may compute MD5; where
        it proves neither, sha256 is of more use to whoever reads.
        """
        if self._is_known:
            return
        if checksum.sha256 and not is_proved and self._proved_best == "sha256":
            self._proved_best = "md5"
        elif (checksum.md5 and not checksum.sha256) or is_proved:
            self._is_known = True
            self._proved_best = "md5" if is_proved and checksum.md5 else "sha256"

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
