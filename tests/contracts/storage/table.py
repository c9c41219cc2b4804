"""The README's table of guarantees: `python -m tests.contracts.storage.table` prints it from what the suite runs.

A row is what a mint answers in its dialect (`Dialect.guarantees`), and the stores on which test_guarantees.py tries
each of its claims. test_table.py compares the README with it.
"""

from collections.abc import Callable, Mapping, Sequence

from broker.contract import Checksum, Guarantees, Level
from broker.storage.s3.dialects import CHECKSUM_HEADERS, DIALECTS, Dialect
from tests.contracts.storage.rows import PROVED_IN_PARTS_ON, PROVED_ON, STORES

HEAD = (
    "dialect",
    "size",
    "content type",
    "create-only",
    "declared checksum",
    "headers that nobody signed",
    "each claim tried on",
)


def table(proved_on: Mapping[str, Sequence[str]] = PROVED_ON) -> str:
    """:param proved_on: a run prints what it has proved itself; the README, what CI proves."""
    singles = (_row(name, DIALECTS[name].guarantees, DIALECTS[name], proved_on[name]) for name in DIALECTS)
    parts = (
        _row(f"{name}, parts", DIALECTS[name].guarantees_in_parts, DIALECTS[name], PROVED_IN_PARTS_ON[name])
        for name in DIALECTS
    )
    rows = [HEAD, ("---",) * len(HEAD), *singles, *parts]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


Claims = Callable[[Checksum], Guarantees]


def _row(name: str, claims: Claims, dialect: Dialect, stores: Sequence[str]) -> tuple[str, ...]:
    plain = claims(Checksum())
    return (
        f"`{name}`",
        plain.size.value,
        plain.content_type.value,
        plain.create_only.value,
        _checksums(claims),
        "may be obeyed: guard needed" if dialect.accepts_unsigned_headers else "refused",
        ", ".join(STORES[store] for store in stores) or "nothing",
    )


def _checksums(claims: Claims) -> str:
    """Each level, with the algorithms that reach it when they are declared alone."""
    levels = {name: claims(Checksum(**{name: "declared"})).checksum for name in CHECKSUM_HEADERS}
    reached = [(level, [name for name in levels if levels[name] is level]) for level in Level]
    return "; ".join(f"{level.value}: {', '.join(names)}" for level, names in reached if names)


if __name__ == "__main__":
    print(table())
