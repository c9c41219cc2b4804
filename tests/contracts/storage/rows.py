"""Which rows of the dialects' table are proved on which stores: what the suite runs over, as data."""

from typing import Final

from broker.storage.s3.dialects import DialectName

# Name of the store's fixture (`NAME_store`), and what people call it.
STORES: Final = {
    "emulator": "emulator",
    "lenient": "emulator with `--accept-unsigned-headers`",
    "ceph": "Ceph 16.2",
}

# A row is run on the stores that have its dialect; `generic` claims what all of them must hold.
PROVED_ON: Final[dict[DialectName, tuple[str, ...]]] = {
    "aws": ("emulator",),
    "ceph": ("lenient", "ceph"),
    "r2": (),
    "generic": ("emulator", "ceph"),
}

# The same for objects in parts: test_multipart.py and its neighbours run on every store, each in its own dialect.
PROVED_IN_PARTS_ON: Final[dict[DialectName, tuple[str, ...]]] = {
    "aws": ("emulator",),
    "ceph": ("lenient", "ceph"),
    "r2": (),
    "generic": (),
}
