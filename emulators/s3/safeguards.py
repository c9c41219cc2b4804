"""A bucket's safeguards: who may publish, whose ACLs count, and what is cleared away after days.

Each operation follows its page under https://docs.aws.amazon.com/AmazonS3/latest/API/ (PutPublicAccessBlock,
PutBucketOwnershipControls, PutBucketLifecycleConfiguration and their kin). A new bucket has what AWS gives a new one
since April 2023: all public access blocked, ACLs disabled – unless the emulator behaves like Ceph, which has neither.
Blocks and ownership are enforced (`access.py`, `attributes.py`). Lifecycle rules are checked, kept and answered, and
never carried out: S3 does that within days, and no emulator lives so long.
"""

from typing import Final

import msgspec

from emulators.s3.buckets import document_of, owned
from emulators.s3.catalogue import ALL_BLOCKS, ENFORCED
from emulators.s3.context import XML, Call, Reply, Store, xml_reply
from emulators.s3.errors import S3Error
from emulators.s3.xml import Element, Node, parse

OWNERSHIPS: Final = frozenset({ENFORCED, "BucketOwnerPreferred", "ObjectWriter"})
MAX_RULES: Final = 1_000  # PutBucketLifecycleConfiguration: "up to 1,000 rules"
MAX_ID: Final = 255  # LifecycleRule: "The value cannot be longer than 255 characters."
ACTIONS: Final = frozenset({"AbortIncompleteMultipartUpload", "Expiration", "NoncurrentVersionExpiration"})
UNKNOWN_ACTIONS: Final = ("Transition", "NoncurrentVersionTransition")  # there are no storage classes here


async def get_public_access(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:GetBucketPublicAccessBlock")
    if bucket.blocks is None:
        raise S3Error("NoSuchPublicAccessBlockConfiguration", fields={"BucketName": bucket.name})
    nodes: list[Node] = [(name, "true" if name in bucket.blocks else "false") for name in ALL_BLOCKS]
    return xml_reply("PublicAccessBlockConfiguration", nodes)


async def put_public_access(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketPublicAccessBlock")
    given = parse(await document_of(store, call), "PublicAccessBlockConfiguration")
    said = {name: (given.one(name) or "false").lower() for name in ALL_BLOCKS}
    if not set(said.values()) <= {"true", "false"}:
        raise S3Error("MalformedXML")
    blocks = tuple(name for name in ALL_BLOCKS if said[name] == "true")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, blocks=blocks))
    return Reply()


async def delete_public_access(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketPublicAccessBlock")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, blocks=None))
    return Reply(status=204)


async def get_ownership(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:GetBucketOwnershipControls")
    if not bucket.ownership:
        raise S3Error("OwnershipControlsNotFoundError", fields={"BucketName": bucket.name})
    return xml_reply("OwnershipControls", [("Rule", [("ObjectOwnership", bucket.ownership)])])


async def put_ownership(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketOwnershipControls")
    rules = parse(await document_of(store, call), "OwnershipControls").all("Rule")
    ownership = rules[0].one("ObjectOwnership") if len(rules) == 1 else None
    if ownership not in OWNERSHIPS:
        raise S3Error("MalformedXML")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, ownership=ownership))
    return Reply()


async def delete_ownership(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketOwnershipControls")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, ownership=""))
    return Reply(status=204)


async def get_lifecycle(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:GetLifecycleConfiguration")
    if not bucket.lifecycle:
        raise S3Error("NoSuchLifecycleConfiguration", fields={"BucketName": bucket.name})
    return Reply(headers={"Content-Type": XML}, body=bucket.lifecycle)


async def put_lifecycle(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutLifecycleConfiguration")
    document = await document_of(store, call)
    check_lifecycle(document)
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, lifecycle=document))
    return Reply()


async def delete_lifecycle(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutLifecycleConfiguration")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, lifecycle=b""))
    return Reply(status=204)


def check_lifecycle(document: bytes) -> None:
    """:raises S3Error: MalformedXML, InvalidRequest, InvalidArgument, NotImplemented."""
    rules = parse(document, "LifecycleConfiguration").all("Rule")
    if not 1 <= len(rules) <= MAX_RULES:
        raise S3Error("MalformedXML")
    ids = [given for rule in rules if (given := rule.one("ID"))]
    if len(ids) != len(set(ids)) or any(len(each) > MAX_ID for each in ids):
        raise S3Error("InvalidArgument", "Rule ID must be unique, and not longer than 255 characters.")
    for rule in rules:
        _check_rule(rule)


def _check_rule(rule: Element) -> None:
    if rule.one("Status") not in {"Enabled", "Disabled"}:
        raise S3Error("MalformedXML")
    if len(rule.all("Filter")) + len(rule.all("Prefix")) != 1:  # "Filter is required if … no Prefix element"
        raise S3Error("MalformedXML")
    if any(rule.all(name) for name in UNKNOWN_ACTIONS):
        raise S3Error("NotImplemented", fields={"Header": "Transition"})
    if not any(rule.all(name) for name in ACTIONS):
        raise S3Error("InvalidRequest", "At least one action needs to be specified in a rule.")
    for action in rule.all("AbortIncompleteMultipartUpload"):
        if not _is_positive(action.one("DaysAfterInitiation")):
            raise S3Error("InvalidArgument", "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be "
                          "a positive integer")  # fmt: skip
        if any(each.all("Tag") or each.all("And") for each in rule.all("Filter")):
            raise S3Error("InvalidRequest", "AbortIncompleteMultipartUpload cannot be specified with Tags.")


def _is_positive(text: str | None) -> bool:
    return text is not None and text.isascii() and text.isdecimal() and int(text) > 0
