"""What a step found, and the report of a whole check: plain data, so that people and scripts read the same.

Codes are stable. No field holds a signed URL, a secret or a session token.
"""

from enum import StrEnum

from msgspec import Struct


class Outcome(StrEnum):
    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


class Finding(Struct, frozen=True, kw_only=True):
    """`said` is what was seen, `permission` what a credential lacks, `fix` what mends it, in one sentence.

    `is_fatal`: whatever comes after could only fail for the same reason.
    """

    outcome: Outcome
    said: str = ""
    permission: str | None = None
    fix: str | None = None
    is_fatal: bool = False


class StepReport(Struct, frozen=True, kw_only=True):
    code: str
    outcome: Outcome
    tried: str
    said: str
    permission: str | None
    fix: str | None
    seconds: float


class CheckReport(Struct, frozen=True, kw_only=True):
    """One destination. `left_behind` names what was made and could not be removed again."""

    destination: str
    bucket: str
    prefix: str
    dialect: str
    outcome: Outcome
    steps: tuple[StepReport, ...]
    left_behind: tuple[str, ...] = ()


def passed(said: str = "") -> Finding:
    return Finding(outcome=Outcome.PASSED, said=said)


def skipped(said: str, *, permission: str | None = None, fix: str | None = None) -> Finding:
    return Finding(outcome=Outcome.SKIPPED, said=said, permission=permission, fix=fix)


def failed(said: str, fix: str, *, permission: str | None = None, is_fatal: bool = False) -> Finding:
    return Finding(outcome=Outcome.FAILED, said=said, permission=permission, fix=fix, is_fatal=is_fatal)
