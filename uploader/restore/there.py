"""Whether a file of a tree is there already: by its size and modification time, or by the digest that is known."""

import os
from collections.abc import Callable
from dataclasses import dataclass

from uploader.attributes import Attributes
from uploader.landing import Landing
from uploader.restore.folder import Folder
from uploader.restore.paths import parts_of
from uploader.restore.wanted import Wanted
from uploader.verified import Proof

_GRAINS = (1, 100, 1_000, 1_000_000_000, 2_000_000_000)  # ns in which file systems count: ext4, NTFS, some, HFS+, FAT


class Unlike(Exception):
    """By its modification time it is another file than the one that is there."""


def is_of(attributes: Attributes, seen: os.stat_result) -> bool:
    """Whether a file has this modification time, as precisely as its file system keeps such."""
    mtime_ns = attributes.mtime_ns
    return mtime_ns is not None and any(seen.st_mtime_ns == mtime_ns // grain * grain for grain in _GRAINS)


def unless_there(seen: os.stat_result) -> Callable[[Attributes], bool]:
    """The question to an object's own attributes, where a file of its size is already."""

    def is_needed(found: Attributes) -> bool:
        if not is_of(found, seen):
            raise Unlike
        return False

    return is_needed


@dataclass(frozen=True, slots=True)
class Arrival:
    landing: Landing
    seen: os.stat_result | None

    def close(self) -> None:
        self.landing.close()


def arrive(folder: Folder, wanted: Wanted) -> Arrival:
    landing = folder.landing(parts_of(wanted.path))
    try:
        return Arrival(landing, landing.seen())
    except OSError as exc:
        landing.close()
        raise landing.unusable(exc) from exc


def has_digest(wanted: Wanted, landing: Landing) -> bool:
    """Whether the file that is there has the digest that is known. Blocks while it is read."""
    proof = Proof.of(wanted.verified)
    if proof.algorithm is None:
        return False
    try:
        with landing.open() as there:
            proof.prime(there)
    except OSError:
        return False
    return proof.proved is not None
