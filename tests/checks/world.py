"""A check as `upload-broker check` runs it, on a store that a test has set up: settings in, reports by code out."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec

from broker.checks.bench import Bench
from broker.checks.findings import CheckReport, Outcome, StepReport
from broker.checks.site import Site
from broker.checks.steps import Run
from broker.checks.tables import steps_of
from broker.clock import SystemClock
from broker.ports import Clock
from broker.settings import Settings, load
from broker.storage.s3.sigv4 import Credential
from broker.wiring import CheckOptions, Untried, open_benches
from emulators.process import S3Process
from tests.contracts.storage.s3.witness import S3Witness

ORIGIN = "https://app.example"
Keys = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SkewedClock:
    by: timedelta

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    report: CheckReport
    told: list[StepReport]

    def of(self, outcome: Outcome) -> set[str]:
        return {step.code for step in self.report.steps if step.outcome is outcome}

    @property
    def failed(self) -> set[str]:
        return self.of(Outcome.FAILED)

    def step(self, code: str) -> StepReport:
        (step,) = [each for each in self.report.steps if each.code == code]
        return step

    def skipped_for(self, reason: str) -> set[str]:
        return {step.code for step in self.report.steps if step.outcome is Outcome.SKIPPED and step.said == reason}


@dataclass(slots=True, kw_only=True)
class Place:
    """A destination in the words of broker.toml; `rights` are key pairs by right."""

    endpoint: str
    keys: Keys
    bucket: str = "uploads"
    dialect: str = "aws"
    region: str = "us-east-1"
    rights: Mapping[str, Keys] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    origins: tuple[str, ...] = (ORIGIN,)

    def settings(self) -> Settings:
        credentials = {"default": _credential(self.keys)}
        credentials |= {name: _credential(keys) for name, keys in self.rights.items()}
        place = {"dialect": self.dialect, "bucket": self.bucket, "region": self.region, "endpoint": self.endpoint}
        return load_from(
            {
                "cors": {"allow_origins": list(self.origins)},
                "destinations": {"default": {**place, "credentials": credentials, **self.more}},
            }
        )

    async def check(self, clock: Clock | None = None) -> Checked:
        async with open_benches(self.settings(), (), CheckOptions(clock=clock or SystemClock())) as benches:
            (bench,) = benches
            assert isinstance(bench, Bench), bench
            return await run(bench)

    async def refusal(self) -> Untried:
        async with open_benches(self.settings(), (), CheckOptions()) as benches:
            (bench,) = benches
            assert isinstance(bench, Untried)
            return bench


async def run(bench: Bench[Site]) -> Checked:
    told: list[StepReport] = []
    report = await Run(bench=bench, steps=steps_of(bench.site), tell=told.append)()
    assert told == list(report.steps)
    return Checked(report=report, told=told)


def load_from(raw: Mapping[str, Any]) -> Settings:
    """Through the environment, which spells everything that a file can."""
    environ = {f"BROKER_{name.upper()}": msgspec.json.encode(value).decode() for name, value in raw.items()}
    return load(None, environ, default_path=Path("/nonexistent"))


def _credential(keys: Keys) -> dict[str, Any]:
    """A secret stands in the environment, under a name that is told by its access key."""
    return {"access_key_id": keys[0], "secret_access_key": {"env": secret_name(keys)}}


def secret_name(keys: Keys) -> str:
    name = f"SECRET_OF_{keys[0]}_{len(keys[1])}"
    os.environ[name] = keys[1]
    return name


LIFECYCLE = {
    "Rules": [
        {
            "ID": "parts",
            "Status": "Enabled",
            "Filter": {"Prefix": "uploads/"},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 3},
        }
    ]
}


def prepare(s3: S3Process, *buckets: str) -> None:
    """What a bucket needs beyond what a new one has."""
    witness = witness_of(s3)
    for bucket in buckets:
        witness.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=LIFECYCLE)
    witness.close()


def on(s3: S3Process, **given: Any) -> Place:
    return Place(endpoint=s3.endpoint, keys=(s3.access_key, s3.secret_key), **given)


def account(s3: S3Process, name: str, number: int = 0) -> Keys:
    found = [each for each in s3.accounts if each.name == name][number]
    return found.access_key, found.secret_key


def witness_of(s3: S3Process) -> S3Witness:
    return S3Witness.of(s3.endpoint, s3.region, Credential(access_key=s3.access_key, secret_key=s3.secret_key))
