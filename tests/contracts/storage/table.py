"""The README's table of guarantees: `python -m tests.contracts.storage.table` prints it from what the suite runs.

A row is what a mint answers in its dialect, and the stores on which test_guarantees.py and its neighbours try each of
its claims. test_table.py compares the README with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

from broker.contract import Checksum, Guarantees, Level
from broker.storage.gcs.dialect import put_guarantees, resumable_guarantees
from broker.storage.s3.dialects import CHECKSUM_HEADERS, DIALECTS
from tests.contracts.storage.rows import PROVED_IN_PARTS_ON, PROVED_ON, PROVED_RESUMABLE_ON, STORES

HEAD = (
    "dialect",
    "size",
    "content type",
    "create-only",
    "declared checksum",
    "headers that nobody signed",
    "each claim tried on",
)
REFUSED, OBEYED = "refused", "may be obeyed: guard needed"
ADDED = "add metadata, which proves nothing"

Claims = Callable[[Checksum], Guarantees]


def table(proved_on: Mapping[str, Sequence[str]] = PROVED_ON) -> str:
    """:param proved_on: a run prints what it has proved itself; the README, what CI proves."""
    rows = [HEAD, ("---",) * len(HEAD), *_rows_of_s3(proved_on), *_rows_of_gcs(proved_on)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _rows_of_s3(proved_on: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    unsigned = {name: OBEYED if dialect.accepts_unsigned_headers else REFUSED for name, dialect in DIALECTS.items()}
    for name, dialect in DIALECTS.items():
        yield _row(name, dialect.guarantees, unsigned[name], proved_on[name])
    for name, dialect in DIALECTS.items():
        yield _row(f"{name}, parts", dialect.guarantees_in_parts, unsigned[name], PROVED_IN_PARTS_ON[name])


def _rows_of_gcs(proved_on: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """As a bucket is taken of which `check` has proved nothing yet."""
    yield _row("gcs", put_guarantees, REFUSED, proved_on["gcs"])
    yield _row("gcs, resumable", lambda checksum: resumable_guarantees(checksum, ()), ADDED, PROVED_RESUMABLE_ON["gcs"])


def _row(name: str, claims: Claims, unsigned: str, stores: Sequence[str]) -> tuple[str, ...]:
    plain = claims(Checksum())
    return (
        f"`{name}`",
        plain.size.value,
        plain.content_type.value,
        plain.create_only.value,
        _checksums(claims),
        unsigned,
        ", ".join(STORES[store] for store in stores) or "nothing",
    )


def _checksums(claims: Claims) -> str:
    """Each level, with the algorithms that reach it when they are declared alone."""
    levels = {name: claims(Checksum(**{name: "declared"})).checksum for name in CHECKSUM_HEADERS}
    reached = [(level, [name for name in levels if levels[name] is level]) for level in Level]
    return "; ".join(f"{level.value}: {', '.join(names)}" for level, names in reached if names)


if __name__ == "__main__":
    print(table())
