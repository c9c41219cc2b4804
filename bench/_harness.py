"""What every bench shares: turns, medians, a table, and a last line that a machine can read.

Both sides run in turns, so that whatever else the machine does falls on both. A figure is the median of its turns,
its spread the distance between the quartiles: one stolen time slice moves neither.
"""

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The figures of one side, one for each turn, in the unit of the bench."""

    name: str
    values: Sequence[float]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        low, _, high = statistics.quantiles(self.values, n=4)
        return high - low


def seconds_per_call(call: Callable[[], object], *, calls: int) -> float:
    """Time one turn: the mean of `calls` calls without a pause."""
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - start) / calls


def take_turns(sides: Mapping[str, Callable[[], float]], *, turns: int) -> list[Series]:
    """Measure each side once a turn, in alternating order, after one turn to warm up that does not count."""
    values: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for turn in range(turns + 1):
        for name in names if turn % 2 else reversed(names):
            value = sides[name]()
            if turn:
                values[name].append(value)
    return [Series(name=name, values=values[name]) for name in names]


def print_table(title: str, series: Sequence[Series], *, unit: str, scale: float = 1.0) -> None:
    """Print median and spread of each side, in `unit` (figures are multiplied by `scale`)."""
    table = Table("", f"median, {unit}", f"spread (q3 - q1), {unit}", "turns", title=title)
    for one in series:
        table.add_row(one.name, f"{one.median * scale:,.2f}", f"{one.spread * scale:,.2f}", str(len(one.values)))
    Console(width=110).print(table)


def print_conditions(*packages: str, **conditions: str) -> None:
    """Print what the figures depend on: interpreter, cores, package versions, and what the bench adds."""
    named = {"python": platform.python_version(), "cores": str(os.cpu_count())}
    named |= {package: version(package) for package in packages} | conditions
    print(" · ".join(f"{name} {value}" for name, value in named.items()))


def wants_check(description: str) -> bool:
    """Parse the command line that all benches have."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="exit 1 when the ratio is below its bar")
    return bool(parser.parse_args().check)


def report(name: str, *, ratio: float, bar: float, is_check: bool) -> None:
    """Print the result as the last line, and end the process with 1 when it was checked and too low."""
    print(f"RESULT {name} ratio={ratio:.2f} bar={bar:.2f}", flush=True)
    if is_check and ratio < bar:
        sys.exit(1)


def report_at_most(name: str, *, ratio: float, bar: float, is_check: bool) -> None:
    """As `report`, of a ratio that must not be above its bar."""
    print("lower is better: the bar is the most that it may be")
    print(f"RESULT {name} ratio={ratio:.2f} bar={bar:.2f}", flush=True)
    if is_check and ratio > bar:
        sys.exit(1)
