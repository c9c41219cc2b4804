"""`check` on the strict emulator: all passes; with one thing broken exactly that line fails, and says what mends it."""

from datetime import timedelta

import pytest

from broker.checks.findings import Outcome
from broker.checks.s3.table import STEPS
from emulators.process import S3Process
from tests.checks.world import SkewedClock, account, on
from tests.contracts.storage.s3.witness import S3Witness

CODES = {step.code for step in STEPS} | {"cleanup"}


async def test_everything_passes_and_nothing_is_left(s3: S3Process, witness: S3Witness) -> None:
    checked = await on(s3).check()

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.of(Outcome.PASSED) | checked.of(Outcome.SKIPPED) == CODES
    assert not checked.report.left_behind
    assert await witness.keys("uploads") == set()
    assert await witness.unfinished("uploads", "") == set()


async def test_no_report_holds_a_signature_or_a_secret(s3: S3Process) -> None:
    told = repr((await on(s3).check()).report)

    assert "X-Amz" not in told
    assert "owner-secret" not in told


async def test_without_cors_rules_the_preflight_fails_and_the_fix_is_the_rules(bare: S3Process) -> None:
    checked = await on(bare).check()

    assert checked.failed == {"cors-preflight"}
    assert checked.skipped_for("needs cors-preflight") == {"cors-exposed"}
    assert "CORS rules" in str(checked.step("cors-preflight").fix)


async def test_without_pages_nobody_asks_for_cors(bare: S3Process) -> None:
    checked = await on(bare, origins=()).check()

    assert checked.report.outcome is Outcome.PASSED
    assert checked.step("cors-preflight").outcome is Outcome.SKIPPED


async def test_another_region_is_named(s3: S3Process) -> None:
    checked = await on(s3, region="eu-west-1").check()

    assert checked.failed == {"bucket"}
    assert 'region = "us-east-1" (now "eu-west-1")' in str(checked.step("bucket").fix)
    assert len(checked.skipped_for("needs bucket")) == len(CODES) - 4  # clock, credentials, bucket, cleanup


@pytest.mark.parametrize(
    ("skew", "words"), [(timedelta(minutes=20), "ahead of"), (-timedelta(minutes=20), "behind")], ids=str
)
async def test_a_clock_that_is_off_is_the_only_line_that_fails(s3: S3Process, skew: timedelta, words: str) -> None:
    checked = await on(s3).check(SkewedClock(skew))

    assert checked.failed == {"clock"}
    assert words in checked.step("clock").said
    assert "NTP" in str(checked.step("clock").fix)


async def test_a_clock_that_is_a_minute_off_fails_alone_and_the_rest_is_tried(s3: S3Process) -> None:
    checked = await on(s3).check(SkewedClock(-timedelta(seconds=60)))

    assert checked.failed == {"clock"}
    assert not checked.skipped_for("needs clock")


async def test_an_unknown_access_key_is_named(s3: S3Process) -> None:
    checked = await on(s3, rights={"write": ("NOBODY", "secret")}).check()

    assert checked.failed == {"put"}
    assert "does not know the access key of credentials.write" in str(checked.step("put").fix)


async def test_a_wrong_secret_is_named(s3: S3Process) -> None:
    checked = await on(s3, rights={"read": ("OWNERKEY", "typo")}).check()

    assert checked.failed == {"bucket"}
    assert "correct the secret key of credentials.read" in str(checked.step("bucket").fix)


async def test_a_bucket_that_is_not_there_is_named(s3: S3Process) -> None:
    checked = await on(s3, bucket="nowhere").check()

    assert checked.failed == {"bucket"}
    assert "make the bucket nowhere" in str(checked.step("bucket").fix)


async def test_a_store_that_is_away_fails_the_first_line_with_no_word_of_a_url(s3: S3Process) -> None:
    place = on(s3)
    place.endpoint = "http://127.0.0.1:9"

    checked = await place.check()

    assert checked.failed == {"clock", "bucket"}
    assert "put" in checked.skipped_for("needs bucket")
    assert "destinations.default.endpoint" in str(checked.step("bucket").fix)


async def test_a_credential_that_only_reads_lacks_put_object(s3: S3Process, witness: S3Witness) -> None:
    grant = {
        "Effect": "Allow",
        "Principal": {"AWS": ["arn:aws:iam:::user/reader"]},
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::plain", "arn:aws:s3:::plain/*"],
    }
    witness.set_policy("plain", grant)

    checked = await on(s3, bucket="plain", rights={"write": account(s3, "reader")}).check()

    assert checked.failed == {"put"}
    assert checked.step("put").permission == "s3:PutObject on arn:aws:s3:::plain/uploads/*"
    assert "credentials.write" in str(checked.step("put").fix)
