"""What the suite runs over, as data: which stores, and which rows of the dialects' tables are proved on them."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest

from tests.contracts.storage.gcs.words import GCS_WORDS
from tests.contracts.storage.s3.words import S3_WORDS
from tests.contracts.storage.words import Words

# Name of the store's fixture (`NAME_store`), and what people call it.
STORES: Final = {
    "emulator": "emulator",
    "lenient": "emulator with `--accept-unsigned-headers`",
    "ceph": "Ceph 16.2",
    "gcs": "emulator of Cloud Storage",
}

S3_STORES: Final = ("emulator", "lenient", "ceph")

WORDS: Final[Mapping[str, Words]] = dict.fromkeys(S3_STORES, S3_WORDS) | {"gcs": GCS_WORDS}

# A row is run on the stores that have its dialect; `generic` claims what all of them must hold.
PROVED_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("emulator",),
    "ceph": ("lenient", "ceph"),
    "r2": (),
    "generic": ("emulator", "ceph"),
    "gcs": ("gcs",),
}

# The same for objects in parts: s3/test_multipart.py and its neighbours run on every store, each in its own dialect.
PROVED_IN_PARTS_ON: Final[Mapping[str, tuple[str, ...]]] = {
    "aws": ("emulator",),
    "ceph": ("lenient", "ceph"),
    "r2": (),
    "generic": (),
}

# And for what comes by a session URI: test_resumable.py and gcs/test_resumable_bytes.py.
PROVED_RESUMABLE_ON: Final[Mapping[str, tuple[str, ...]]] = {"gcs": ("gcs",)}


def over_stores(name: str, cases: Callable[[Words], Mapping[str, Any]]) -> pytest.MarkDecorator:
    """Every store with each of its cases, as its protocol spells them: argument `name` beside the fixture `store`."""
    return pytest.mark.parametrize(
        ("store", name),
        [
            pytest.param(f"{store}_store", case, id=f"{store}-{idea}")
            for store in STORES
            for idea, case in cases(WORDS[store]).items()
        ],
        indirect=["store"],
    )
