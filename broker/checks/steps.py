"""A step of a check, and what runs them: in order, each bounded, none without what it needs, and at last the broom."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import msgspec

from broker.checks.bench import Bench
from broker.checks.findings import CheckReport, Finding, Outcome, StepReport, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.site import Site
from broker.domain.errors import BrokerError, CredentialsUnavailable
from broker.storage.s3 import xml

CLEANUP, INTERRUPTED = "cleanup", "interrupted"
STEP_TIMEOUT = timedelta(seconds=60)  # ours: a step is a handful of calls, each bounded by its client
_CLEANUP_TIMEOUT = timedelta(seconds=120)

Attempt = Callable[[Bench[Any]], Awaitable[Finding]]  # of the site that its table is for
Tell = Callable[[StepReport], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """`after` names steps that must have passed; `need` is what explains an error that `attempt` lets through, and
    `is_vital` makes it fatal."""

    code: str
    tried: str
    attempt: Attempt
    after: tuple[str, ...] = ()
    need: Need | None = None
    is_vital: bool = False
    timeout: timedelta = STEP_TIMEOUT


@dataclass(slots=True, kw_only=True)
class Run:
    """One check of one destination; `tell` hears of each step as it ends."""

    bench: Bench[Site]
    steps: Sequence[Step]
    tell: Tell
    reports: dict[str, StepReport] = field(default_factory=dict)
    _blocked_by: str | None = None
    _is_interrupted: bool = False

    async def __call__(self) -> CheckReport:
        """Whatever interrupts it, what it made is removed, and what could not be is named."""
        left: list[str] = []
        try:
            for step in self.steps:
                await self._take(step)
        except asyncio.CancelledError:
            self._is_interrupted = True
            if (task := asyncio.current_task()) is not None:
                task.uncancel()  # told here; a second one cuts the broom off
            for step in self.steps:
                if step.code not in self.reports:
                    self._note(step, skipped(INTERRUPTED), 0.0)
        finally:
            left = await self._clean()
        return self._report(left)

    async def _take(self, step: Step) -> None:
        begun = time.monotonic()
        missing = self._blocked_by or next((each for each in step.after if not self._has_passed(each)), None)
        finding = skipped(f"needs {missing}") if missing else await self._tried(step)
        self._note(step, finding, time.monotonic() - begun)
        if finding.is_fatal:
            self._blocked_by = step.code

    async def _tried(self, step: Step) -> Finding:
        try:
            async with asyncio.timeout(step.timeout.total_seconds()):
                return await step.attempt(self.bench)
        except CredentialsUnavailable as trouble:
            fix = "correct that credential, or what the provider's chain finds instead; then try again"
            return failed(trouble.detail, fix, is_fatal=step.is_vital)
        except BrokerError as trouble:
            finding = self.bench.site.explained_text(step.need, trouble.detail)
            return msgspec.structs.replace(finding, is_fatal=finding.is_fatal or step.is_vital)
        except xml.NotXml:
            return failed("the answer is none of a store's", f"correct destinations.{self.bench.site.name}.endpoint")
        except TimeoutError:
            return failed(
                f"no answer within {step.timeout.total_seconds():g} s", "the store is too slow or away: try again"
            )

    async def _clean(self) -> list[str]:
        begun, site = time.monotonic(), self.bench.site
        count = len(self.bench.leftovers.keys)
        try:
            async with asyncio.timeout(_CLEANUP_TIMEOUT.total_seconds()):
                left = await self.bench.leftovers.clear(site)
        except TimeoutError:
            left = sorted(self.bench.leftovers.keys)
        step = Step(code=CLEANUP, tried="everything that this check made is removed again", attempt=_nothing)
        finding = passed(f"{count} keys looked at") if not left else _left(left, site.setup)
        self._note(step, finding, time.monotonic() - begun)
        return left

    def _has_passed(self, code: str) -> bool:
        return code in self.reports and self.reports[code].outcome is Outcome.PASSED

    def _note(self, step: Step, finding: Finding, seconds: float) -> None:
        report = StepReport(
            code=step.code,
            outcome=finding.outcome,
            tried=step.tried,
            said=finding.said,
            permission=finding.permission,
            fix=finding.fix,
            seconds=round(seconds, 3),
        )
        self.reports[step.code] = report
        self.tell(report)

    def _report(self, left: list[str]) -> CheckReport:
        place = self.bench.site.bucket.destination
        # What was not tried to the end has not passed.
        is_failed = self._is_interrupted or any(report.outcome is Outcome.FAILED for report in self.reports.values())
        return CheckReport(
            destination=place.name,
            bucket=place.bucket,
            prefix=place.prefix,
            dialect=self.bench.site.dialect_name,
            outcome=Outcome.FAILED if is_failed else Outcome.PASSED,
            steps=tuple(self.reports.values()),
            left_behind=tuple(left),
        )


def _left(left: list[str], setup: str) -> Finding:
    return failed(
        f"still there: {'; '.join(left)}",
        f"remove them by hand, and let `remove` do it: `{setup}`",
    )


async def _nothing(bench: Bench[Site]) -> Finding:  # noqa: ARG001
    return passed()
