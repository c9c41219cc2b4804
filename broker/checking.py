"""`check` from a shell: destinations one after the other, told a line a step, or as one document at the end."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec
import uvloop
from msgspec import Struct
from rich.console import Console
from rich.text import Text

from broker.checks.bench import Bench
from broker.checks.findings import CheckReport, Outcome, StepReport
from broker.checks.site import Site
from broker.checks.steps import Run
from broker.checks.tables import steps_of
from broker.settings import Settings
from broker.wiring import CheckOptions, Untried, open_benches

PASSED, FAILED, UNTRIED = 0, 1, 2  # exit codes, as --help tells them

_MARKS = {
    Outcome.PASSED: ("✓", "green"),
    Outcome.FAILED: ("✗", "bold red"),
    Outcome.SKIPPED: ("–", "dim"),
}
_CODE_WIDTH = 22


class Verdict(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    UNTRIED = "untried"


class UntriedReport(Struct, frozen=True, kw_only=True):
    """A destination whose configuration would keep `serve` from starting."""

    destination: str
    problem: str
    outcome: Verdict = Verdict.UNTRIED


class Document(Struct, frozen=True, kw_only=True):
    """What `--json` prints."""

    outcome: Verdict
    destinations: tuple[CheckReport | UntriedReport, ...]


_EXIT_CODES = {Verdict.PASSED: PASSED, Verdict.FAILED: FAILED, Verdict.UNTRIED: UNTRIED}


def check(settings: Settings, names: Sequence[str], options: CheckOptions, *, as_json: bool) -> int:
    """The exit code."""
    console = Console(soft_wrap=True, highlight=False, quiet=as_json)
    document = uvloop.run(_Checking(settings=settings, names=names, options=options, console=console).run())
    if as_json:
        sys.stdout.write(msgspec.json.encode(document).decode() + "\n")
    return _EXIT_CODES[document.outcome]


@dataclass(slots=True, kw_only=True)
class _Checking:
    settings: Settings
    names: Sequence[str]
    options: CheckOptions
    console: Console
    is_stopped: bool = False
    reports: list[CheckReport | UntriedReport] = field(default_factory=list)

    async def run(self) -> Document:
        async with open_benches(self.settings, self.names, self.options) as benches:
            for bench in benches:
                if isinstance(bench, Untried):
                    self._untried(bench)
                elif self.is_stopped:
                    self._untried(Untried(destination=bench.site.name, why="interrupted"))
                else:
                    await self._check(bench)
        return Document(outcome=_outcome(self.reports), destinations=tuple(self.reports))

    async def _check(self, bench: Bench[Site]) -> None:
        place = bench.site.bucket.destination
        self.console.print(Text(f"{place.name}: {place.bucket}/{place.prefix}, dialect {bench.site.dialect_name}"))
        work = asyncio.create_task(Run(bench=bench, steps=steps_of(bench.site), tell=self._tell)())
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop, work)
        try:
            report = await work
        except asyncio.CancelledError:
            self._untried(Untried(destination=place.name, why=f"interrupted twice; {bench.folder} may hold leftovers"))
            return
        self.reports.append(report)
        counts = {each: sum(step.outcome is each for step in report.steps) for each in Outcome}
        told = ", ".join(f"{count} {each.value}" for each, count in counts.items())
        self.console.print(Text(f"{place.name}: {told}", "bold red" if counts[Outcome.FAILED] else "green"))

    def _stop(self, work: asyncio.Task[CheckReport]) -> None:
        """What was made is removed first; a second signal leaves it."""
        self.is_stopped = True
        work.cancel()

    def _tell(self, step: StepReport) -> None:
        mark, style = _MARKS[step.outcome]
        line = Text.assemble("  ", (mark, style), f" {step.code:<{_CODE_WIDTH}} {step.tried}")
        if step.said:
            line.append(f" – {step.said}", "" if step.outcome is Outcome.FAILED else "dim")
        with suppress(BrokenPipeError):
            self.console.print(line)
            for word, text in (("missing", step.permission), ("fix", step.fix)):
                if text:
                    self.console.print(Text.assemble(" " * 6, (f"{word:<8}", "bold"), text))

    def _untried(self, place: Untried) -> None:
        self.reports.append(UntriedReport(destination=place.destination, problem=place.why))
        self.console.print(Text.assemble(("✗", "bold red"), f" {place.destination} cannot be tried: {place.why}"))


def _outcome(reports: Sequence[CheckReport | UntriedReport]) -> Verdict:
    if any(isinstance(report, UntriedReport) for report in reports):
        return Verdict.UNTRIED
    is_failed = any(report.outcome == Outcome.FAILED for report in reports)
    return Verdict.FAILED if is_failed else Verdict.PASSED
