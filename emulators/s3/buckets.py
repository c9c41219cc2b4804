"""Operations on buckets: create, head, list, delete, location, versioning, CORS, policy.

Each follows its page under https://docs.aws.amazon.com/AmazonS3/latest/API/ (API_CreateBucket.html and so on).
"""

import re
import time
from typing import Final

import msgspec

from emulators.s3 import body
from emulators.s3.access import parse_policy
from emulators.s3.catalogue import Bucket
from emulators.s3.context import XML, Call, Reply, Store, xml_reply
from emulators.s3.cors import parse_rules
from emulators.s3.errors import S3Error
from emulators.s3.objects import iso
from emulators.s3.settings import Settings
from emulators.s3.xml import Node, parse

# "General purpose bucket naming rules": 3 to 63 of a-z, 0-9, dot and hyphen, letter or digit at both ends
NAME: Final = re.compile(r"(?!.*\.\.)(?!\d+\.\d+\.\d+\.\d+$)(?!xn--)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def check_name(name: str) -> None:
    """:raises S3Error: InvalidBucketName."""
    if not NAME.fullmatch(name):
        raise S3Error("InvalidBucketName", fields={"BucketName": name})


def new_bucket(name: str, owner: str, settings: Settings) -> Bucket:
    """With the safeguards of AWS, or with none, as a store has it that takes unsigned headers (`safeguards.py`)."""
    bucket = Bucket(name=name, owner=owner, created=time.time())
    is_open = settings.accepts_unsigned_headers
    return msgspec.structs.replace(bucket, blocks=None, ownership="") if is_open else bucket


def owned(store: Store, call: Call, action: str) -> Bucket:
    """The bucket of the path, if the caller may do this to it."""
    bucket = store.bucket(call.request.bucket or "")
    call.access(bucket).require(action)
    return bucket


async def document_of(store: Store, call: Call) -> bytes:
    plan = body.plan(call.request, call.signed, max_bytes=body.MAX_DOCUMENT_BYTES)
    return await store.intake.document(call.http, plan)


async def list_buckets(store: Store, call: Call) -> Reply:
    if call.who is None:
        raise S3Error("AccessDenied")
    owned = [bucket for bucket in store.catalogue.buckets() if bucket.owner == call.who]
    nodes: list[Node] = [("Bucket", [("Name", each.name), ("CreationDate", iso(each.created))]) for each in owned]
    owner: Node = ("Owner", [("ID", call.who), ("DisplayName", call.who)])
    return xml_reply("ListAllMyBucketsResult", [("Buckets", nodes), owner])


async def create_bucket(store: Store, call: Call) -> Reply:
    if call.who is None:
        raise S3Error("AccessDenied")
    name = call.request.bucket or ""
    check_name(name)
    if call.request.header("content-length") not in {None, "0"} or call.request.header("transfer-encoding"):
        configuration = parse(await document_of(store, call), "CreateBucketConfiguration")
        if configuration.one("LocationConstraint") not in {None, "", store.settings.region}:
            raise S3Error("InvalidArgument", f"The location of this endpoint is {store.settings.region}.")
    existing = store.catalogue.bucket(name)
    if existing is not None:
        raise S3Error("BucketAlreadyOwnedByYou" if existing.owner == call.who else "BucketAlreadyExists")
    store.catalogue.put_bucket(new_bucket(name, call.who, store.settings))
    return Reply(headers={"Location": f"/{name}"})


async def head_bucket(store: Store, call: Call) -> Reply:
    owned(store, call, "s3:ListBucket")
    return Reply(headers={"x-amz-bucket-region": store.settings.region, "Content-Type": XML})


async def delete_bucket(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:DeleteBucket")
    if not store.catalogue.is_empty(bucket.name):
        raise S3Error("BucketNotEmpty", fields={"BucketName": bucket.name})
    store.catalogue.delete_bucket(bucket.name)
    return Reply(status=204)


async def get_location(store: Store, call: Call) -> Reply:
    owned(store, call, "s3:GetBucketLocation")
    region = store.settings.region
    text = "" if region == "us-east-1" else region  # "Buckets in Region us-east-1 have a LocationConstraint of null"
    return Reply(
        headers={"Content-Type": XML},
        body=(
            '<?xml version="1.0" encoding="UTF-8"?>\n<LocationConstraint '
            f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{text}</LocationConstraint>'
        ).encode(),
    )


async def get_versioning(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:GetBucketVersioning")
    return xml_reply("VersioningConfiguration", [("Status", bucket.versioning)] if bucket.versioning else [])


async def put_versioning(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketVersioning")
    status = parse(await document_of(store, call), "VersioningConfiguration").one("Status")
    if status not in {"Enabled", "Suspended"}:
        raise S3Error("IllegalVersioningConfigurationException")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, versioning=status))
    return Reply()


async def get_cors(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:GetBucketCORS")
    if not bucket.cors:
        raise S3Error("NoSuchCORSConfiguration")
    return Reply(headers={"Content-Type": XML}, body=bucket.cors)


async def put_cors(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketCORS")
    document = await document_of(store, call)
    parse_rules(document)
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, cors=document))
    return Reply()


async def delete_cors(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketCORS")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, cors=b""))
    return Reply(status=204)


async def get_policy(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:GetBucketPolicy")
    if not bucket.policy:
        raise S3Error("NoSuchBucketPolicy")
    return Reply(headers={"Content-Type": "application/json"}, body=bucket.policy)


async def put_policy(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:PutBucketPolicy")
    document = await document_of(store, call)
    policy = parse_policy(document)
    if bucket.has_block("BlockPublicPolicy") and policy.is_public:
        raise S3Error("AccessDenied", "The BlockPublicPolicy setting of this bucket refuses public policies.")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, policy=document))
    return Reply(status=204)


async def delete_policy(store: Store, call: Call) -> Reply:
    bucket = owned(store, call, "s3:DeleteBucketPolicy")
    store.catalogue.put_bucket(msgspec.structs.replace(bucket, policy=b""))
    return Reply(status=204)
