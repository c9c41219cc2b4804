"""The README promises what is proved, and says where."""

from pathlib import Path

from broker.storage.s3.dialects import DIALECTS
from tests.contracts.storage.rows import PROVED_IN_PARTS_ON, PROVED_ON, PROVED_RESUMABLE_ON, STORES
from tests.contracts.storage.table import table

README = Path(__file__).parents[3] / "README.md"


def test_the_table_in_the_readme_is_the_one_that_the_suite_prints() -> None:
    assert table() in README.read_text(), "print it: python -m tests.contracts.storage.table"


def test_every_row_says_where_it_is_proved() -> None:
    assert PROVED_IN_PARTS_ON.keys() == DIALECTS.keys()
    assert PROVED_ON.keys() == {*DIALECTS, "gcs"}
    assert PROVED_RESUMABLE_ON.keys() == {"gcs"}
    assert {store for stores in PROVED_ON.values() for store in stores} == STORES.keys()
