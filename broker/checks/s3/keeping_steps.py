"""What a destination asks of its objects – encryption, storage class, tags – and what HEAD then shows of a probe.

Obeys HeadObject of the Amazon S3 API Reference. A signed header reaches the store; whether the store does it, or takes
it and forgets it as Ceph 16.2 does with AES256, only an object can tell. An ACL is not shown by HEAD; nor are tags to
who may not read them.
"""

from collections.abc import Mapping

from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.needs import Need
from broker.checks.s3.site import S3Bench
from broker.checks.s3.troubles import explained
from broker.checks.steps import Step
from broker.storage.s3.keeping import ENCRYPTION_HEADER, Keeping

_HEAD = Need(right="read", actions=("s3:GetObject", "s3:GetObjectVersion"))


async def kept(bench: S3Bench) -> Finding:
    return await _compared(bench, bench.key("object"))


async def kept_in_parts(bench: S3Bench) -> Finding:
    return await _compared(bench, bench.key("parts"))


async def _compared(bench: S3Bench, key: str) -> Finding:
    keeping = bench.site.keeping
    wanted = _wanted(keeping)
    if not wanted and not keeping.tags:
        return skipped("the destination asks for nothing that HEAD shows")
    answer = await bench.site.caller.call("HEAD", key, bench.site.credentials["read"])
    if answer.status != 200:
        return explained(bench.site, _HEAD, answer.status, "")
    missed = _missed(keeping, wanted, answer.headers)
    if missed:
        return failed(
            "; ".join(missed),
            f"the store takes what destinations.{bench.site.name} asks for and does not do it: let the bucket do it, "
            "or do not count on it",
        )
    return passed("as the destination asks")


def _wanted(keeping: Keeping) -> dict[str, str]:
    """By header, where it is shown as it was asked for. A key may be named in other ways than by its ARN."""
    wanted = {ENCRYPTION_HEADER: keeping.encryption, "x-amz-storage-class": keeping.storage_class}
    if keeping.kms_key_id is not None and keeping.kms_key_id.startswith("arn:") and ":key/" in keeping.kms_key_id:
        wanted[f"{ENCRYPTION_HEADER}-aws-kms-key-id"] = keeping.kms_key_id
    if keeping.has_bucket_key:
        wanted[f"{ENCRYPTION_HEADER}-bucket-key-enabled"] = "true"
    return {name: value for name, value in wanted.items() if value is not None}


def _missed(keeping: Keeping, wanted: Mapping[str, str], shown: Mapping[str, str]) -> list[str]:
    # HeadObject: the storage class is shown "for all objects except for S3 Standard".
    defaults = {"x-amz-storage-class": "STANDARD"}
    found = {name: shown.get(name, defaults.get(name, "nothing")) for name in wanted}
    missed = [f"{name}: {wanted[name]} was asked for, HEAD shows {found[name]}"
              for name in wanted if found[name] != wanted[name]]  # fmt: skip
    count = shown.get("x-amz-tagging-count")
    if keeping.tags and count is not None and count != str(len(keeping.tags)):
        missed.append(f"x-amz-tagging: {len(keeping.tags)} tags were asked for, HEAD shows {count}")
    return missed


STEPS = (Step(code="kept", tried="HEAD shows it kept as the destination asks", attempt=kept, after=("head",)),)
STEPS_IN_PARTS = (
    Step(code="multipart-kept", tried="so is an object that came in parts", attempt=kept_in_parts,
         after=("multipart-complete",)),
)  # fmt: skip
