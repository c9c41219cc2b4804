"""What is printed: each document has the shape that its service takes, and allows no more than a right needs."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import moto.iam
import pytest
from botocore.validate import ParamValidator
from moto import mock_aws

from broker.domain.errors import ConfigurationInvalid
from broker.operate_setup import print_setup
from broker.setup.terms import BLANKS
from tests.unit.setup.places import ACCOUNTS, ALL, BUS, CEPH, KEY, PLAIN, R2, ROLES, TOPIC, TWO, printed, settings_of

FILLED = {word: f"arn:aws:iam::111122223333:role/{word.lower()}" for word in BLANKS if word.endswith("_ARN")} | {
    "BUCKET_ACCOUNT_ID": "111122223333",
    "EXTERNAL_ID": "external",
    "OIDC_PROVIDER": "oidc.example",
    "OIDC_SUBJECT": "system:serviceaccount:broker",
    "BROKER_URL": "https://broker.example",
    "EVENT_TOKEN": "token",
}
# EventBridge User Guide, "API destinations as targets": of no API, so that no list of operations has it.
DOCUMENTED = {"events:InvokeApiDestination"}


def shape_accepts(service: str, operation: str, given: dict[str, Any]) -> None:
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_each_document_has_the_shape_that_its_operation_takes(text: str) -> None:
    found = printed(text, **FILLED)
    bucket = {"Bucket": "acme-uploads"}
    shape_accepts("s3", "PutBucketCors", {**bucket, "CORSConfiguration": {"CORSRules": found["cors"]}})
    shape_accepts("s3", "PutBucketLifecycleConfiguration", {**bucket, "LifecycleConfiguration": found["lifecycle"]})
    shape_accepts(
        "s3",
        "PutBucketNotificationConfiguration",
        {**bucket, "NotificationConfiguration": found["notification"]},
    )
    if found["public_access_block"]:
        block = {"PublicAccessBlockConfiguration": found["public_access_block"]}
        shape_accepts("s3", "PutPublicAccessBlock", {**bucket, **block})
    if found["ownership_controls"]:
        shape_accepts("s3", "PutBucketOwnershipControls", {**bucket, "OwnershipControls": found["ownership_controls"]})
    for queue in found["queues"]:
        shape_accepts("sqs", "CreateQueue", {"QueueName": queue["name"], "Attributes": queue["attributes"]})
    for topic in found["topics"]:
        shape_accepts("sns", "CreateTopic", {"Name": topic["name"], "Attributes": topic["attributes"]})


def policies_in(found: Any) -> Iterator[dict[str, Any]]:
    if isinstance(found, dict):
        if "Statement" in found:
            yield found
        for each in found.values():
            yield from policies_in(each)
    elif isinstance(found, list):
        for each in found:
            yield from policies_in(each)


def actions_in(text: str) -> set[str]:
    return {
        action
        for policy in policies_in(printed(text))
        for statement in policy["Statement"]
        for action in statement["Action"]
        if action != "s3:*"  # of a denial
    }


def test_every_action_is_one_of_aws() -> None:
    """Its own managed policies, as moto carries them, name it; or it is an operation of the service."""
    known = (Path(moto.iam.__file__).parent / "aws_managed_policies.py").read_text()
    sts = botocore.session.get_session().get_service_model("sts").operation_names
    actions = {action for text in ALL.values() for action in actions_in(text)}
    assert len(actions) > 15
    unknown = {action for action in actions if f'"{action}"' not in known} - {f"sts:{name}" for name in sts}
    assert unknown == DOCUMENTED


@mock_aws
@pytest.mark.parametrize("text", [PLAIN, ROLES, TOPIC, BUS, TWO], ids=["plain", "roles", "topic", "bus", "two"])
def test_moto_takes_every_document(text: str) -> None:
    keys: dict[str, Any] = {
        "region_name": "eu-central-1",
        "aws_access_key_id": "a",
        "aws_secret_access_key": "b",
    }
    iam, s3, sqs, sns, events = (boto3.client(name, **keys) for name in ("iam", "s3", "sqs", "sns", "events"))
    found, bucket = printed(text, **FILLED), {"Bucket": "acme-uploads"}
    s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": "eu-central-1"})
    for right in ("write", "read", "remove"):
        iam.create_policy(PolicyName=right, PolicyDocument=json.dumps(found[right]))
    for name, trust in found["trust"].items():
        iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    s3.put_bucket_policy(**bucket, Policy=json.dumps(found["bucket_policy"]))
    s3.put_bucket_cors(**bucket, CORSConfiguration={"CORSRules": found["cors"]})
    s3.put_bucket_lifecycle_configuration(**bucket, LifecycleConfiguration=found["lifecycle"])
    s3.put_public_access_block(**bucket, PublicAccessBlockConfiguration=found["public_access_block"])
    s3.put_bucket_ownership_controls(**bucket, OwnershipControls=found["ownership_controls"])
    for queue in found["queues"]:
        policy = {"Policy": json.dumps(queue["policy"])}
        sqs.create_queue(QueueName=queue["name"], Attributes=queue["attributes"] | policy)
    for topic in found["topics"]:
        made = sns.create_topic(Name=topic["name"], Attributes=topic["attributes"])["TopicArn"]
        sns.set_topic_attributes(TopicArn=made, AttributeName="Policy", AttributeValue=json.dumps(topic["policy"]))
    for bus in found["buses"]:
        events.put_rule(Name=bus["name"], EventPattern=json.dumps(bus["pattern"]))
        key = {"ApiKeyName": bus["key_header"], "ApiKeyValue": bus["key"]}
        connection = events.create_connection(
            Name=bus["name"], AuthorizationType="API_KEY", AuthParameters={"ApiKeyAuthParameters": key}
        )["ConnectionArn"]
        events.create_api_destination(
            Name=bus["name"], ConnectionArn=connection, InvocationEndpoint=bus["endpoint"], HttpMethod="POST"
        )
        iam.create_role(RoleName=bus["name"], AssumeRolePolicyDocument=json.dumps(bus["trust"]))
        iam.put_role_policy(RoleName=bus["name"], PolicyName="call", PolicyDocument=json.dumps(bus["policy"]))


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_nothing_is_allowed_outside_the_prefix_but_listing(text: str) -> None:
    found = printed(text)
    for right in ("write", "read", "remove"):
        for statement in found[right]["Statement"]:
            if statement["Effect"] == "Deny" or statement["Sid"] == "KeysThroughS3":
                continue
            is_listing = all(action.startswith("s3:List") for action in statement["Action"])
            expected = "arn:aws:s3:::acme-uploads" + ("" if is_listing else "/uploads/*")
            assert statement["Resource"] == expected


def test_only_remove_deletes_and_write_never_reads() -> None:
    found = printed(ROLES)
    assert "s3:GetObject" not in json.dumps(found["write"])
    assert "Delete" not in json.dumps([found["write"], found["read"]])


def test_settings_of_a_destination_add_what_they_need() -> None:
    write, read = printed(ROLES)["write"]["Statement"], printed(ROLES)["read"]["Statement"]
    assert "s3:PutObjectTagging" in write[0]["Action"]
    assert (write[-1]["Resource"], write[-1]["Action"]) == (KEY, ["kms:GenerateDataKey", "kms:Decrypt"])
    assert read[-1]["Action"] == ["kms:Decrypt"]
    assert "kms" not in json.dumps(printed(PLAIN)["write"])


def test_a_role_is_trusted_with_its_external_id_and_a_secret_one_is_not_shown() -> None:
    trust = printed(ROLES)["trust"]
    assert trust["uploads-read"]["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": "shown"}}
    assert trust["uploads-write"]["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": "EXTERNAL_ID"}}
    web = trust["uploads-remove"]["Statement"][0]
    assert web["Action"] == ["sts:AssumeRoleWithWebIdentity"]
    assert web["Condition"]["StringEquals"]["OIDC_PROVIDER:sub"] == "OIDC_SUBJECT"


def test_a_bucket_of_aws_lets_its_roles_in_and_nobody_without_tls() -> None:
    deny, *allow = printed(ROLES)["bucket_policy"]["Statement"]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    assert {each["Principal"]["AWS"].rpartition("/")[2] for each in allow} == {
        "uploads-write",
        "uploads-read",
        "uploads-remove",
    }
    assert len(printed(PLAIN)["bucket_policy"]["Statement"]) == 1


def test_where_unsigned_headers_are_obeyed_the_writer_is_denied_reading_by_the_bucket() -> None:
    found = printed(CEPH)
    denial = [each for each in found["bucket_policy"]["Statement"] if each["Effect"] == "Deny"]
    assert [each["Principal"] for each in denial] == [{"AWS": "WRITE_PRINCIPAL_ARN"}]
    assert denial[0]["Resource"] == "arn:aws:s3:::acme-uploads/*"
    assert found["public_access_block"]["IgnorePublicAcls"] is True
    assert found["public_access_block"]["BlockPublicAcls"] is False
    assert found["ownership_controls"] is None
    assert printed(R2)["bucket_policy"] is None


def test_pages_may_set_exactly_the_headers_that_we_sign() -> None:
    (rule,) = printed(ROLES)["cors"]
    assert rule["AllowedOrigins"] == ["https://app.example", "https://admin.example"]
    assert rule["AllowedMethods"] == ["PUT", "GET"]
    assert rule["ExposeHeaders"] == ["ETag"]
    assert set(rule["AllowedHeaders"]) == {
        "content-type",
        "if-none-match",
        "if-match",
        "x-amz-meta-*",
        "x-amz-checksum-sha256",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-crc32c",
        "content-md5",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-tagging",
    }


def test_the_rule_for_forgotten_parts_outlives_every_upload() -> None:
    rules = printed(PLAIN + 'policy = {deadline = "9d"}\n')["lifecycle"]["Rules"]
    assert rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 11
    assert printed(PLAIN)["lifecycle"]["Rules"][0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == 3


def test_a_queue_takes_events_of_our_buckets_and_accounts_only() -> None:
    found = printed(ROLES)
    (queue,) = found["queues"]
    assert queue["arn"] == "arn:aws:sqs:eu-central-1:111122223333:uploads"
    assert queue["policy"]["Statement"][0]["Condition"] == {
        "ArnLike": {"aws:SourceArn": ["arn:aws:s3:::acme-uploads"]},
        "StringEquals": {"aws:SourceAccount": "111122223333"},
    }
    (configuration,) = found["notification"]["QueueConfigurations"]
    assert configuration["QueueArn"] == queue["arn"]
    assert configuration["Filter"]["Key"]["FilterRules"] == [{"Name": "prefix", "Value": "uploads/"}]


@pytest.mark.parametrize("destination", ["eu", "hub"])
def test_a_queue_of_buckets_in_two_accounts_takes_the_events_of_both(destination: str) -> None:
    """A queue has one policy: that of the destination that was printed last must not shut out the other's events."""
    (queue,) = printed(ACCOUNTS, destination)["queues"]
    assert queue["policy"]["Statement"][0]["Condition"] == {
        "ArnLike": {"aws:SourceArn": ["arn:aws:s3:::acme-eu", "arn:aws:s3:::acme-hub"]},
        "StringEquals": {"aws:SourceAccount": ["111122223333", "777788889999"]},
    }


def test_who_assumes_a_role_is_told_what_that_takes() -> None:
    """Across accounts a role's trust is half of it (IAM User Guide, "Cross-account policy evaluation logic")."""
    notes = " ".join(printed(ACCOUNTS, "hub")["notes"])
    assert "sts:AssumeRole on arn:aws:iam::777788889999:role/uploads" in notes
    assert "eu is in another account" in notes
    notes = " ".join(printed(ROLES)["notes"])
    assert "arn:aws:iam::111122223333:role/uploads-write" in notes
    assert "uploads-remove" not in notes  # by its token, which needs no permission


def test_a_topic_is_the_one_of_the_buckets_region_and_of_the_expected_owner() -> None:
    (topic,) = printed(TOPIC)["topics"]
    assert topic["arn"] == "arn:aws:sns:eu-central-1:111122223333:uploads"
    assert topic["policy"]["Statement"][0]["Condition"]["StringEquals"]["aws:SourceAccount"] == "444455556666"
    assert topic["endpoint"] == "BROKER_URL/notifications/topic"
    assert topic["attributes"] == {"SignatureVersion": "2"}


def test_a_bus_calls_us_by_its_own_rule_only() -> None:
    (bus,) = printed(BUS)["buses"]
    rule = "arn:aws:events:eu-central-1:BUCKET_ACCOUNT_ID:rule/upload-broker-default"
    assert bus["trust"]["Statement"][0]["Condition"]["ArnEquals"] == {"aws:SourceArn": rule}
    assert bus["pattern"]["detail"]["object"]["key"] == [{"prefix": "uploads/"}]
    assert (bus["endpoint"], bus["key_header"], bus["key"]) == (
        "BROKER_URL/notifications/bus",
        "x-bucket-key",
        "EVENT_TOKEN",
    )


def test_a_topic_of_ceph_calls_by_itself_and_never_hears_of_removals() -> None:
    found = printed(CEPH)
    (topic,) = found["topics"]
    assert topic["attributes"]["push-endpoint"] == "BROKER_URL/notifications/ceph?token=EVENT_TOKEN"
    (configuration,) = found["notification"]["TopicConfigurations"]
    assert configuration["TopicArn"] == "arn:aws:sns:eu-central-1::ceph"
    assert configuration["Events"] == ["s3:ObjectCreated:*"]


def test_two_who_want_the_same_events_are_one_and_a_note() -> None:
    both = ROLES + TOPIC[TOPIC.index("[sources.topic]") :]
    found = printed(both)
    assert set(found["notification"]) == {"QueueConfigurations"}
    assert any("topic is left out" in note for note in found["notes"])


def test_two_prefixes_of_one_bucket_are_told_to_be_joined() -> None:
    assert any("second is in the same bucket" in note for note in printed(TWO)["notes"])
    assert not any("same bucket" in note for note in printed(ROLES)["notes"])


def test_other_partitions_have_their_own_arns() -> None:
    found = printed(PLAIN.replace("eu-central-1", "us-gov-west-1"))
    assert found["write"]["Statement"][0]["Resource"] == "arn:aws-us-gov:s3:::acme-uploads/uploads/*"
    assert found["bucket_policy"]["Statement"][0]["Resource"][0] == "arn:aws-us-gov:s3:::acme-uploads"


def test_what_is_filled_in_stands_everywhere_and_what_is_unknown_is_refused() -> None:
    assert "BROKER_PRINCIPAL_ARN" not in json.dumps(printed(ROLES, **FILLED))
    assert 'a"b' in printed(BUS, BROKER_URL='a"b')["buses"][0]["endpoint"]
    with pytest.raises(ConfigurationInvalid, match="--set BROKER: only"):
        print_setup(settings_of(PLAIN), None, form="json", given={"BROKER": "x"})
