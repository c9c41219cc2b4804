"""Which upload a manifest is of, and where it lies."""

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """The same command has the same one, whatever the order of its arguments.

    :ivar roots: real absolute paths, none of them inside another.
    """

    broker: str
    destinations: tuple[str, ...]
    batch: str
    roots: tuple[bytes, ...]

    @classmethod
    def of(cls, broker: str, destinations: Iterable[str], batch: str, paths: Iterable[bytes | str | Path]) -> Self:
        """:raises ValueError: no path, or one lies in another and would be sent twice."""
        roots = sorted({os.path.realpath(os.fsencode(path)) for path in paths})
        if not roots:
            raise ValueError("nothing to upload: no path")
        for root, other in _neighbours(roots):
            raise ValueError(f"{os.fsdecode(other)} lies in {os.fsdecode(root)} and would be sent twice")
        return cls(
            broker=broker.rstrip("/"), destinations=tuple(sorted(set(destinations))), batch=batch, roots=tuple(roots)
        )

    def manifest(self, directory: Path) -> Path:
        """Its file in the directory of all manifests of one user."""
        words = msgspec.json.encode([self.broker, self.destinations, self.batch])
        name = hashlib.sha256(b"\0".join((words, *self.roots))).hexdigest()[:32]
        return directory / "manifests" / f"{name}.sqlite"


def _neighbours(roots: list[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Pairs of which the first holds the second."""
    known = set(roots)
    for root in roots:
        above = os.path.dirname(root)  # noqa: PTH120 - bytes
        while above not in known and above != os.path.dirname(above):  # noqa: PTH120
            above = os.path.dirname(above)  # noqa: PTH120
        if above in known and above != root:
            yield above, root
