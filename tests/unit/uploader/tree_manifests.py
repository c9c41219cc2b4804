"""Manifests of small trees, as several tests make them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from uploader.tree.filters import Filters
from uploader.tree.identity import Identity
from uploader.tree.intake import Intake
from uploader.tree.manifest import Manifest
from uploader.tree.merge import Tally
from uploader.tree.reader import Reader
from uploader.tree.rows import Failed, Mark, Minted, Row

BROKER = "http://127.0.0.1:1"


def write(path: Path, size_bytes: int = 1, mtime: int = 1_000) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * size_bytes)
    os.utime(path, (mtime, mtime))
    return path


def identity(*roots: Path, batch: str = "b", destinations: tuple[str, ...] = ()) -> Identity:
    return Identity.of(BROKER, destinations, batch, roots)


@contextmanager
def opened(path: Path, *roots: Path) -> Iterator[Manifest]:
    """With a clock that never says the same twice, so that whatever is written shows."""
    ticks = count(1_700_000_000_000)
    with Manifest.open(path, identity(*roots), clock=lambda: next(ticks)) as manifest:
        yield manifest


def scan(
    manifest: Manifest, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), follow: bool = False
) -> Tally:
    filters = Filters.parse(include, exclude)
    return Intake(manifest=manifest, filters=filters, follows_symlinks=follow).run()


def rows(path: Path) -> dict[str, Row]:
    with Reader.open(path) as reader:
        return {os.fsdecode(row.path): row for row in reader.rows()}


def states(path: Path) -> dict[str, str]:
    return {name: str(row.state) for name, row in rows(path).items()}


def mark(row: Row) -> Mark:
    return Mark(id=row.id, revision=row.revision)


def minted(row: Row, session_id: str | None = None) -> Minted:
    return Minted(id=row.id, revision=row.revision, session_id=session_id or f"session-{row.id}-{row.revision}")


def failed(row: Row, code: str = "store-refused") -> Failed:
    return Failed(id=row.id, revision=row.revision, code=code, message=f"about {code}")


def verify(manifest: Manifest, limit: int = 100) -> list[Row]:
    """Everything that is pending, all the way."""
    taken = manifest.take("size", limit).result()
    manifest.minted([minted(row) for row in taken])
    manifest.sent([mark(row) for row in taken])
    assert manifest.verified([mark(row) for row in taken]).result() == len(taken)
    return taken
