"""The bucket's own settings: with one of them wrong exactly that line fails, and the fix is what `setup` prints."""

import asyncio
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from broker.checks.findings import Outcome
from emulators.process import S3Process
from tests.checks.world import LIFECYCLE, on
from tests.contracts.storage.s3.witness import S3Witness


@pytest.fixture
def bucket(witness: S3Witness) -> Iterator[str]:
    """A new one, which has what AWS gives a new one, and the rule for forgotten parts."""
    name = f"settings-{uuid.uuid4().hex[:12]}"
    witness.make_bucket(name)
    witness.client.put_bucket_lifecycle_configuration(Bucket=name, LifecycleConfiguration=LIFECYCLE)
    yield name
    assert asyncio.run(witness.keys(name)) == set()


def rules(**change: Any) -> dict[str, Any]:
    return {"Rules": [LIFECYCLE["Rules"][0] | change]}


def test_a_versioned_bucket_passes_and_keeps_neither_version_nor_marker(
    s3: S3Process, witness: S3Witness, bucket: str
) -> None:
    witness.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.step("versioning").said.startswith("on")
    assert checked.step("remove").said == "by version"
    left = witness.client.list_object_versions(Bucket=bucket)
    assert not {"Versions", "DeleteMarkers"} & left.keys()


def test_without_a_lifecycle_rule_forgotten_parts_stay(s3: S3Process, witness: S3Witness, bucket: str) -> None:
    witness.client.delete_bucket_lifecycle(Bucket=bucket)

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.failed == {"lifecycle"}
    assert "setup s3 --print default" in str(checked.step("lifecycle").fix)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (rules(Status="Disabled"), "no rule"),
        (rules(Filter={"Prefix": "elsewhere/"}), "no rule"),
        (rules(Filter={"ObjectSizeGreaterThan": 1}), "no rule"),
        (rules(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}), "takes uploads that still run"),
    ],
    ids=["disabled", "another prefix", "narrowed", "too soon"],
)
def test_a_rule_that_does_not_hold_for_all_uploads_or_for_running_ones_fails(
    s3: S3Process, witness: S3Witness, bucket: str, given: dict[str, Any], said: str
) -> None:
    witness.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=given)

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.failed == {"lifecycle"}
    assert said in checked.step("lifecycle").said


@pytest.mark.parametrize("of", [{"Filter": {"Prefix": ""}}, {"Filter": {"Prefix": "up"}}], ids=["all", "shorter"])
def test_a_rule_of_more_than_the_prefix_passes(
    s3: S3Process, witness: S3Witness, bucket: str, of: dict[str, Any]
) -> None:
    witness.client.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=rules(**of))

    assert asyncio.run(on(s3, bucket=bucket).check()).failed == set()


def test_public_access_that_is_not_blocked_fails_and_names_what_is_off(
    s3: S3Process, witness: S3Witness, bucket: str
) -> None:
    witness.set_public_access(bucket, {"BlockPublicAcls": True, "IgnorePublicAcls": True})

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.failed == {"public-access"}
    assert checked.step("public-access").said == "off: BlockPublicPolicy, RestrictPublicBuckets"


def test_acls_that_are_in_force_fail(s3: S3Process, witness: S3Witness, bucket: str) -> None:
    witness.client.put_bucket_ownership_controls(
        Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]}
    )

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.failed == {"ownership"}
    assert "BucketOwnerEnforced" in str(checked.step("ownership").fix)


def test_cors_rules_without_the_etag_fail_where_a_page_would_miss_it(
    s3: S3Process, witness: S3Witness, bucket: str
) -> None:
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["*"]}
    witness.client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.failed == {"cors-exposed"}
    assert "ETag" in checked.step("cors-exposed").said


def test_cors_rules_that_miss_a_signed_header_fail(s3: S3Process, witness: S3Witness, bucket: str) -> None:
    rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["PUT"], "AllowedHeaders": ["content-type"]}
    witness.client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})

    checked = asyncio.run(on(s3, bucket=bucket).check())

    assert checked.failed == {"cors-preflight"}
