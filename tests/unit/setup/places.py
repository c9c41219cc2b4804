"""Destinations as operators configure them, and what is printed for them."""

import tomllib
from typing import Any

import msgspec

from broker.operate_setup import print_setup
from broker.settings import Settings
from tests.checks.world import load_from

KEY = "arn:aws:kms:eu-central-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"
HEAD = """
[cors]
allow_origins = ["https://app.example", "https://admin.example"]

[destinations.default]
bucket = "acme-uploads"
region = "eu-central-1"
"""
PLAIN = HEAD + 'dialect = "aws"\n'
ROLES = (
    PLAIN
    + f"""
encryption = {{mode = "aws:kms", kms_key_id = "{KEY}"}}
tags = {{project = "uploads"}}

[destinations.default.credentials]
write = {{role_arn = "arn:aws:iam::111122223333:role/uploads-write", external_id = {{env = "EXTERNAL"}}}}
read = {{role_arn = "arn:aws:iam::111122223333:role/uploads-read", external_id = "shown"}}
remove = {{role_arn = "arn:aws:iam::111122223333:role/uploads-remove", web_identity_token_file = "/token"}}

[sources.queue]
kind = "sqs"
queue_url = "https://sqs.eu-central-1.amazonaws.com/111122223333/uploads"
destinations = ["default"]
"""
)
TOPIC = (
    PLAIN
    + """
expected_bucket_owner = "444455556666"

[sources.topic]
kind = "sns"
topic_arns = ["arn:aws:sns:us-east-1:111122223333:far", "arn:aws:sns:eu-central-1:111122223333:uploads"]
destinations = ["default"]
"""
)
BUS = (
    PLAIN
    + """
[sources.bus]
kind = "eventbridge"
tokens = [{env = "EVENT_TOKEN"}]
key_header = "x-bucket-key"
destinations = ["default"]
"""
)
CEPH = (
    HEAD
    + """
dialect = "ceph"
endpoint = "https://ceph.example"
accept_unsigned_headers = true

[sources.ceph]
kind = "s3_event"
tokens = [{env = "EVENT_TOKEN"}]
destinations = ["default"]
"""
)
R2 = HEAD + 'dialect = "r2"\nendpoint = "https://account.r2.example"\n'
TWO = (
    ROLES
    + """
[destinations.second]
dialect = "aws"
bucket = "acme-uploads"
region = "eu-central-1"
prefix = "second"
credentials = {write = {role_arn = "arn:aws:iam::111122223333:role/uploads-write", external_id = {env = "EXTERNAL"}}}
"""
).replace('destinations = ["default"]', 'destinations = ["default", "second"]')
# Each account calls its role alike, and one queue hears of both buckets.
ACCOUNTS = """
[destinations.eu]
dialect = "aws"
bucket = "acme-eu"
region = "eu-central-1"
credentials = {default = {role_arn = "arn:aws:iam::111122223333:role/uploads", external_id = "for-eu"}}

[destinations.hub]
dialect = "aws"
bucket = "acme-hub"
region = "eu-central-1"
credentials = {default = {role_arn = "arn:aws:iam::777788889999:role/uploads"}}

[sources.queue]
kind = "sqs"
queue_url = "https://sqs.eu-central-1.amazonaws.com/111122223333/uploads"
destinations = ["eu", "hub"]
"""
ALL = {"plain": PLAIN, "roles": ROLES, "topic": TOPIC, "bus": BUS, "ceph": CEPH, "r2": R2, "two": TWO}


def settings_of(text: str) -> Settings:
    return load_from(tomllib.loads(text))


def printed(text: str, destination: str = "default", **given: str) -> dict[str, Any]:
    documents: dict[str, Any] = msgspec.json.decode(print_setup(settings_of(text), None, form="json", given=given))
    found: dict[str, Any] = documents[destination]
    return found


def terraformed(text: str, **given: str) -> str:
    return print_setup(settings_of(text), None, form="terraform", given=given)
