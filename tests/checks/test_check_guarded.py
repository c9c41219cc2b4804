"""Three credentials, each with the very policy that we print and no more; and stores that obey unsigned headers."""

from typing import Any

import msgspec
import pytest

from broker.checks.findings import Outcome
from broker.storage.s3.dialects import DIALECTS, DialectName
from broker.storage.s3.policies import Right, policies_of
from emulators.process import S3Process
from tests.checks.world import Place, account, on, witness_of
from tests.contracts.storage.s3.witness import S3Witness

WHO: dict[Right, str] = {"write": "writer", "read": "reader", "remove": "remover"}


def printed(dialect: DialectName, right: Right) -> list[dict[str, Any]]:
    policies = policies_of(bucket="guarded", prefix="uploads", dialect=DIALECTS[dialect], origins=())
    who = {"Principal": {"AWS": [f"arn:aws:iam:::user/{WHO[right]}"]}}
    return [msgspec.to_builtins(statement) | who for statement in getattr(policies, right).statement]


def guard(
    witness: S3Witness, dialect: DialectName, *, without: tuple[str, ...] = (), also: tuple[str, ...] = ()
) -> None:
    """The printed policies, less the named actions, and more for the writer."""
    statements = [statement for right in WHO for statement in printed(dialect, right)]
    for statement in statements:
        statement["Action"] = [action for action in statement["Action"] if action not in without]
    statements[0]["Action"] += also
    witness.set_policy("guarded", *[each for each in statements if each["Action"]])


def place(s3: S3Process, **given: Any) -> Place:
    return on(s3, bucket="guarded", rights={right: account(s3, name) for right, name in WHO.items()}, **given)


async def test_with_the_printed_policies_everything_passes_that_may_be_looked_at(
    s3: S3Process, witness: S3Witness
) -> None:
    guard(witness, "aws")

    checked = await place(s3).check()

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.step("write-cannot-read").outcome is Outcome.PASSED
    assert checked.skipped_for("no credential here may look") == {
        "versioning",
        "lifecycle",
        "public-access",
        "ownership",
    }
    assert checked.step("lifecycle").permission == "s3:GetLifecycleConfiguration on arn:aws:s3:::guarded"
    assert await witness.keys("guarded") == set()


@pytest.mark.parametrize(
    ("action", "code"),
    [
        ("s3:PutObject", "put"),
        ("s3:ListMultipartUploadParts", "multipart-list"),
        ("s3:AbortMultipartUpload", "multipart-abort"),
        ("s3:ListBucketMultipartUploads", "multipart-find"),
        ("s3:ListBucketVersions", "list"),
        ("s3:DeleteObject", "remove"),
        ("s3:GetObject", "head"),
        ("s3:ListBucket", "bucket"),
    ],
)
async def test_each_printed_action_is_needed_and_named_where_it_lacks(
    s3: S3Process, witness: S3Witness, action: str, code: str
) -> None:
    guard(witness, "aws", without=(action,))

    checked = await place(s3).check()

    assert code in checked.failed
    assert action in str(checked.step(code).permission)
    assert "credentials." in str(checked.step(code).fix)
    for key in await witness.keys("guarded"):
        witness.client.delete_object(Bucket="guarded", Key=key)
    for upload in witness.client.list_multipart_uploads(Bucket="guarded").get("Uploads", []):
        witness.client.abort_multipart_upload(Bucket="guarded", Key=upload["Key"], UploadId=upload["UploadId"])


async def test_what_cannot_be_removed_is_named(s3: S3Process, witness: S3Witness) -> None:
    guard(witness, "aws", without=("s3:DeleteObject",))

    checked = await place(s3).check()

    assert {"remove", "cleanup"} <= checked.failed
    left = await witness.keys("guarded")
    assert left
    assert set(checked.report.left_behind) == left
    for key in left:
        witness.client.delete_object(Bucket="guarded", Key=key)


async def test_a_dialect_that_claims_too_much_fails_at_each_unsigned_header(lenient: S3Process) -> None:
    checked = await on(lenient, dialect="aws").check()

    assert {"unsigned-copy", "unsigned-acl", "unsigned-tagging"} <= checked.failed
    assert checked.failed <= {"unsigned-copy", "unsigned-acl", "unsigned-tagging", "public-access", "ownership"}
    assert "accept_unsigned_headers = true" in str(checked.step("unsigned-tagging").fix)


async def test_behind_the_guard_a_store_that_obeys_unsigned_headers_passes(lenient: S3Process) -> None:
    witness = witness_of(lenient)
    guard(witness, "ceph")
    witness.set_public_access("guarded", {"IgnorePublicAcls": True})

    checked = await place(lenient, dialect="ceph", more={"accept_unsigned_headers": True}).check()

    assert checked.report.outcome is Outcome.PASSED, checked.report
    assert checked.step("unsigned-copy").outcome is Outcome.PASSED
    assert await witness.keys("guarded") == set()
    witness.close()


async def test_a_writer_that_reads_fails_there_and_the_fix_is_the_denial(lenient: S3Process) -> None:
    witness = witness_of(lenient)
    witness.set_public_access("uploads", {"IgnorePublicAcls": True})

    # Two keys of one account: the configuration cannot see that they are the same.
    checked = await on(
        lenient,
        dialect="ceph",
        rights={"write": account(lenient, "owner", 1)},
        more={"accept_unsigned_headers": True},
    ).check()

    assert checked.failed == {"unsigned-copy", "write-cannot-read"}
    assert "deny s3:GetObject" in str(checked.step("unsigned-copy").fix)
    witness.close()


async def test_a_public_acl_that_is_obeyed_fails_and_the_fix_is_the_block(lenient: S3Process) -> None:
    witness = witness_of(lenient)
    guard(witness, "ceph", also=("s3:PutObjectAcl",))
    witness.client.delete_public_access_block(Bucket="guarded")

    checked = await place(lenient, dialect="ceph", more={"accept_unsigned_headers": True}).check()

    assert "unsigned-acl" in checked.failed
    assert checked.failed <= {"unsigned-acl", "public-access"}
    assert "IgnorePublicAcls" in str(checked.step("unsigned-acl").fix)
    witness.close()


async def test_a_destination_that_serve_would_refuse_is_not_tried(lenient: S3Process) -> None:
    refusal = await on(lenient, dialect="ceph").refusal()

    assert "accept_unsigned_headers = true" in refusal.why
