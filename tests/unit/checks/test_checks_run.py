"""What runs the steps: order, needs, time, interruption, and the broom at the end."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from broker.checks.bench import Bench
from broker.checks.findings import Finding, Outcome, failed, passed
from broker.checks.leftovers import Leftovers
from broker.checks.needs import Need
from broker.checks.s3.site import S3Site
from broker.checks.s3.troubles import explained_text
from broker.checks.steps import Run, Step
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable
from broker.domain.policy import Destination
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping
from broker.storage.s3.xml import NotXml


class Broom:
    """Says what it is told to say, once it was asked."""

    def __init__(self, *left: str) -> None:
        self.keys: set[str] = set()
        self.left, self.is_asked = list(left), False

    async def clear(self, site: S3Site) -> list[str]:  # noqa: ARG002
        self.is_asked = True
        return self.left


class Place:
    """The site of no store."""

    def __init__(self, keeping: Keeping = AS_THE_BUCKET_SAYS) -> None:
        self.destination = Destination(name="eu", bucket="acme", prefix="uploads")
        self.bucket = self
        self.name = "eu"
        self.region = "eu-west-1"
        self.dialect_name = "aws"
        self.bucket_arn, self.objects_arn = "arn:b", "arn:b/*"
        self.keeping = keeping
        self.setup = "upload-broker setup s3 --print eu"

    def explained_text(self, need: Need | None, detail: str) -> Finding:
        return explained_text(cast("S3Site", self), need, detail)


def bench(broom: Broom | None = None) -> Bench:
    nobody = cast("Any", None)
    return Bench(
        site=cast("S3Site", Place()),
        stranger=nobody,
        clock=nobody,
        events="",
        leftovers=cast("Leftovers", broom or Broom()),
    )


def step(code: str, finding: Finding | Exception, **given: Any) -> Step:
    async def attempt(bench: Bench) -> Finding:  # noqa: ARG001
        if isinstance(finding, Exception):
            raise finding
        return finding

    return Step(code=code, tried=code, attempt=attempt, **given)


async def outcomes(*steps: Step) -> dict[str, str]:
    report = await Run(bench=bench(), steps=steps, tell=lambda _: None)()
    return {each.code: each.outcome.value for each in report.steps}


async def test_a_step_that_needs_another_is_skipped_when_that_did_not_pass() -> None:
    found = await outcomes(
        step("a", failed("no", "mend")), step("b", passed(), after=("a",)), step("c", passed(), after=("b",))
    )
    assert found == {"a": "failed", "b": "skipped", "c": "skipped", "cleanup": "passed"}


async def test_nothing_is_tried_after_what_is_fatal_but_everything_is_removed() -> None:
    broom = Broom()
    steps = (step("a", failed("no", "mend", is_fatal=True)), step("b", passed()))

    report = await Run(bench=bench(broom), steps=steps, tell=lambda _: None)()

    assert [each.said for each in report.steps] == ["no", "needs a", "0 keys looked at"]
    assert broom.is_asked


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (
            StoreRefused("the store answers 403 AccessDenied: the credential lacks"),
            "the store answers 403 AccessDenied",
        ),
        (StoreUnavailable("the store does not answer (TimeoutError)"), "the store does not answer (TimeoutError)"),
        (NotXml(), "the answer is none of a store's"),
    ],
)
async def test_what_an_adapter_raises_is_a_failure_with_a_fix(trouble: Exception, said: str) -> None:
    report = await Run(bench=bench(), steps=(step("a", trouble),), tell=lambda _: None)()

    assert report.outcome is Outcome.FAILED
    assert report.steps[0].said == said
    assert report.steps[0].fix


async def test_a_credential_that_cannot_be_had_is_not_taken_for_a_wrong_endpoint() -> None:
    """`--profile` with a typing error, or a role that is gone half-way."""
    trouble = CredentialsUnavailable("--profile: botocore's default chain fails (ProfileNotFound)")
    report = await Run(bench=bench(), steps=(step("a", trouble),), tell=lambda _: None)()

    assert report.steps[0].said == trouble.detail
    assert report.steps[0].fix == "correct that credential, or what the provider's chain finds instead; then try again"


async def test_a_step_that_hangs_fails_in_time() -> None:
    async def hang(bench: Bench) -> Finding:  # noqa: ARG001
        await asyncio.Event().wait()
        return passed()

    hanging = replace(step("a", passed()), attempt=hang, timeout=timedelta(milliseconds=10))

    assert (await outcomes(hanging, step("b", passed()))) == {"a": "failed", "b": "passed", "cleanup": "passed"}


async def test_interrupted_it_says_so_of_the_rest_removes_and_has_not_passed() -> None:
    begun = asyncio.Event()

    async def hang(bench: Bench) -> Finding:  # noqa: ARG001
        begun.set()
        await asyncio.Event().wait()
        return passed()

    broom, steps = Broom(), (step("a", passed()), replace(step("b", passed()), attempt=hang), step("c", passed()))
    work = asyncio.create_task(Run(bench=bench(broom), steps=steps, tell=lambda _: None)())
    await begun.wait()
    work.cancel()

    report = await work

    assert [each.said for each in report.steps] == ["", "interrupted", "interrupted", "0 keys looked at"]
    assert report.outcome is Outcome.FAILED
    assert broom.is_asked


async def test_interrupted_twice_it_ends_at_once() -> None:
    begun = asyncio.Event()

    class Slow(Broom):
        async def clear(self, site: S3Site) -> list[str]:  # noqa: ARG002
            begun.set()
            await asyncio.Event().wait()
            return []

    work = asyncio.create_task(Run(bench=bench(Slow()), steps=(step("a", passed()),), tell=lambda _: None)())
    await begun.wait()
    work.cancel()

    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(work, 5)


async def test_what_is_left_is_named_and_a_failure() -> None:
    report = await Run(bench=bench(Broom("uploads/a", "uploads/b")), steps=(), tell=lambda _: None)()

    assert report.left_behind == ("uploads/a", "uploads/b")
    assert report.outcome is Outcome.FAILED
    assert report.steps[-1].said == "still there: uploads/a; uploads/b"
