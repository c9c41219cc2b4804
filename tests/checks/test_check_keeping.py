"""`check` says whether objects are kept as the destination asks."""

from typing import Any

import pytest

from broker.checks.findings import Outcome
from emulators.process import S3Process
from tests.checks.world import on

ARN = "arn:aws:kms:us-east-1:111122223333:key/1234"


@pytest.mark.parametrize(
    "more",
    [
        {"encryption": {"mode": "AES256"}},
        {"encryption": {"mode": "aws:kms", "kms_key_id": ARN, "bucket_key": True}},
        {"encryption": {"mode": "aws:kms:dsse", "kms_key_id": "alias/uploads"}},
        {"storage_class": "STANDARD_IA"},
        {"storage_class": "STANDARD"},
        {"tags": {"project": "a b", "cost": "1/2"}},
        {"acl": "bucket-owner-full-control", "tags": {"a": "b"}, "encryption": {"mode": "aws:kms"}},
    ],
    ids=str,
)
async def test_what_the_store_does_passes(s3: S3Process, more: dict[str, Any]) -> None:
    checked = await on(s3, more=more).check()

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert {"kept", "multipart-kept"} <= checked.of(Outcome.PASSED)


async def test_where_nothing_is_asked_for_nothing_is_compared(s3: S3Process) -> None:
    assert {"kept", "multipart-kept"} <= (await on(s3).check()).of(Outcome.SKIPPED)


async def test_a_bucket_of_somebody_else_is_found_out(s3: S3Process) -> None:
    checked = await on(s3, more={"expected_bucket_owner": "111122223333"}).check()

    assert checked.report.outcome is not Outcome.PASSED
    assert "put" not in checked.of(Outcome.PASSED)
