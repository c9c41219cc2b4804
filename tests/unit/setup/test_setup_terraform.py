"""The Terraform says what the JSON says: parsed by somebody else's parser, and compared as data."""

import re
from typing import Any

import hcl2
import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.operate_setup import print_setup
from broker.setup.hcl import Block, Encoded, Expression, hcl
from broker.setup.terms import BLANKS
from tests.unit.setup.places import (
    ACCOUNTS,
    ALL,
    BUS,
    CEPH,
    PLAIN,
    ROLES,
    TOPIC,
    TWO,
    printed,
    settings_of,
    terraformed,
)

WORDS = {blank.variable: word for word, blank in BLANKS.items()}


def value(parsed: Any) -> Any:
    """As Terraform would see it, with variables as the words that they stand for."""
    if isinstance(parsed, dict):
        return {value(name): value(each) for name, each in parsed.items() if name != "__is_block__"}
    if isinstance(parsed, list):
        return [value(each) for each in parsed]
    if not isinstance(parsed, str):
        return parsed
    if parsed.startswith("${jsonencode("):
        inner = parsed.removeprefix("${jsonencode(").removesuffix(")}")
        return value(hcl2.loads(f"x = {inner}\n")["x"])
    text = re.sub(r"\$\{var\.(\w+)\}", lambda found: WORDS[found[1]], parsed)
    if text.startswith('"') and text.endswith('"'):
        text = text[1:-1].replace('\\"', '"').replace("\\\\", "\\").replace("$${", "${").replace("%%{", "%{")
    return text


def resources(text: str) -> dict[tuple[str, str], dict[str, Any]]:
    found = {}
    for resource in hcl2.loads(text)["resource"]:
        ((kind, named),) = resource.items()
        ((label, body),) = named.items()
        key = (value(kind), value(label))
        assert key not in found, f"{key} stands there twice"
        found[key] = value(body)
    return found


def of_kind(text: str, kind: str) -> dict[str, dict[str, Any]]:
    return {label: body for (each, label), body in resources(text).items() if each == kind}


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_it_is_terraform_of_the_providers_that_we_mean(text: str) -> None:
    parsed = hcl2.loads(terraformed(text))
    (provider,) = value(parsed["terraform"])[0]["required_providers"]
    assert provider["aws"] == {"source": "hashicorp/aws", "version": ">= 5.0, < 7.0"}
    variables = {value(name) for each in parsed.get("variable", []) for name in each}
    assert variables == set(re.findall(r"\bvar\.(\w+)", terraformed(text)))


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_the_bucket_is_told_the_same(text: str) -> None:
    hcl_text, found = terraformed(text), printed(text)
    policies = of_kind(hcl_text, "aws_s3_bucket_policy")
    assert (policies["default"]["policy"] if policies else None) == found["bucket_policy"]
    (rule,) = of_kind(hcl_text, "aws_s3_bucket_cors_configuration")["default"]["cors_rule"]
    assert [rule] == [{snake(name): each for name, each in given.items()} for given in found["cors"]]
    rules = of_kind(hcl_text, "aws_s3_bucket_lifecycle_configuration")["default"]["rule"]
    assert rules == [lifecycle_rule(each) for each in found["lifecycle"]["Rules"]]
    blocks = of_kind(hcl_text, "aws_s3_bucket_public_access_block")
    given = found["public_access_block"]
    expected = given and {"bucket": "acme-uploads", **{snake(name): each for name, each in given.items()}}
    assert blocks.get("default") == expected
    owned = of_kind(hcl_text, "aws_s3_bucket_ownership_controls")
    assert bool(owned) == bool(found["ownership_controls"])
    for each in owned.values():
        assert each["rule"] == [{"object_ownership": "BucketOwnerEnforced"}]


def snake(name: str) -> str:
    return "id" if name == "ID" else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def lifecycle_rule(rule: dict[str, Any]) -> dict[str, Any]:
    return {
        snake(name): [{snake(one): each for one, each in given.items()}] if isinstance(given, dict) else given
        for name, given in rule.items()
    }


def test_roles_trust_and_may_the_same() -> None:
    found, hcl_text = printed(ROLES), terraformed(ROLES)
    roles = of_kind(hcl_text, "aws_iam_role")
    assert {each["name"]: each["assume_role_policy"] for each in roles.values()} == found["trust"]
    policies = of_kind(hcl_text, "aws_iam_role_policy")
    for right in ("write", "read", "remove"):
        assert policies[f"default_{right}"]["policy"] == found[right]
        assert policies[f"default_{right}"]["role"] == f"${{aws_iam_role.uploads_{right}.id}}"


def test_without_roles_there_are_policies_to_attach() -> None:
    found, policies = printed(PLAIN), of_kind(terraformed(PLAIN), "aws_iam_policy")
    assert {label: each["policy"] for label, each in policies.items()} == {
        f"default_{right}": found[right] for right in ("write", "read", "remove")
    }


def test_a_queue_and_its_notification_are_the_same() -> None:
    hcl_text, found = terraformed(ROLES), printed(ROLES)
    (queue,) = found["queues"]
    (made,) = of_kind(hcl_text, "aws_sqs_queue").values()
    assert made["name"] == queue["name"]
    assert str(made["visibility_timeout_seconds"]) == queue["attributes"]["VisibilityTimeout"]
    (policy,) = of_kind(hcl_text, "aws_sqs_queue_policy").values()
    assert policy["policy"] == queue["policy"]
    assert of_kind(hcl_text, "aws_iam_policy")["uploads_receive"]["policy"] == queue["receiver"]
    notification = of_kind(hcl_text, "aws_s3_bucket_notification")["default"]
    (told,) = found["notification"]["QueueConfigurations"]
    assert notification["queue"] == [
        {"id": told["Id"], "queue_arn": told["QueueArn"], "events": told["Events"], "filter_prefix": "uploads/"}
    ]
    assert notification["depends_on"] == ["${aws_sqs_queue_policy.uploads}"]


def test_a_topic_and_its_subscription_are_the_same() -> None:
    hcl_text, (topic,) = terraformed(TOPIC), printed(TOPIC)["topics"]
    assert of_kind(hcl_text, "aws_sns_topic")["uploads"] == {"name": "uploads", "signature_version": 2}
    assert of_kind(hcl_text, "aws_sns_topic_policy")["uploads"]["policy"] == topic["policy"]
    subscription = of_kind(hcl_text, "aws_sns_topic_subscription")["uploads"]
    assert (subscription["protocol"], subscription["endpoint"]) == ("https", topic["endpoint"])


def test_a_bus_is_the_same() -> None:
    hcl_text, (bus,) = terraformed(BUS), printed(BUS)["buses"]
    assert of_kind(hcl_text, "aws_cloudwatch_event_rule")["default"]["event_pattern"] == bus["pattern"]
    (auth,) = of_kind(hcl_text, "aws_cloudwatch_event_connection")["default"]["auth_parameters"]
    assert auth["api_key"] == [{"key": bus["key_header"], "value": bus["key"]}]
    destination = of_kind(hcl_text, "aws_cloudwatch_event_api_destination")["default"]
    assert (destination["invocation_endpoint"], destination["http_method"]) == (bus["endpoint"], "POST")
    assert of_kind(hcl_text, "aws_iam_role")["default_events"]["assume_role_policy"] == bus["trust"]
    assert of_kind(hcl_text, "aws_iam_role_policy")["default_events"]["policy"] == bus["policy"]
    assert of_kind(hcl_text, "aws_s3_bucket_notification")["default"]["eventbridge"] is True


def test_ceph_gets_no_identities_of_aws() -> None:
    kinds = {kind for kind, _ in resources(terraformed(CEPH))}
    assert not any(kind.startswith(("aws_iam", "aws_sns", "aws_sqs")) for kind in kinds)
    assert "aws_s3_bucket_policy" in kinds


def test_what_two_destinations_share_stands_there_once() -> None:
    found = resources(terraformed(TWO))  # refuses what stands there twice
    assert ("aws_sqs_queue", "uploads") in found
    assert ("aws_iam_role", "uploads_write") in found
    assert found["aws_iam_role_policy", "second_write"]["role"] == "${aws_iam_role.uploads_write.id}"
    (statement,) = found["aws_sqs_queue_policy", "uploads"]["policy"]["Statement"]
    assert statement["Condition"]["ArnLike"]["aws:SourceArn"] == ["arn:aws:s3:::acme-uploads"]


def test_one_file_never_holds_one_thing_of_two_accounts() -> None:
    """The later one would take the place of the other, and eu's role would let in whoever knows no external id."""
    with pytest.raises(ConfigurationInvalid, match=r"aws_iam_role\.uploads .* print one at a time"):
        terraformed(ACCOUNTS)
    text = print_setup(settings_of(ACCOUNTS), "eu", form="terraform", given={})
    trust = resources(text)["aws_iam_role", "uploads"]["assume_role_policy"]
    assert trust["Statement"][0]["Condition"] == {"StringEquals": {"sts:ExternalId": "for-eu"}}


def test_names_that_terraform_cannot_tell_apart_are_refused() -> None:
    other = PLAIN.partition("[destinations.default]")[2].replace("acme-uploads", "acme-other")
    text = f"{PLAIN}[destinations.a-b]{other}[destinations.a_b]{other.replace('other', 'third')}"
    with pytest.raises(ConfigurationInvalid, match="a_b"):
        terraformed(text)


def test_what_is_filled_in_is_no_variable() -> None:
    given = {"BROKER_PRINCIPAL_ARN": "arn:aws:iam::1:role/b", "EXTERNAL_ID": "e", "OIDC_PROVIDER": "o"}
    text = terraformed(ROLES, **given, OIDC_SUBJECT="s")
    assert "variable" not in hcl2.loads(text)


@pytest.mark.parametrize("text", ['a"b', "a\\b", "${aws:username}", "%{if x}", "ü–", "a\nb"])
def test_texts_stand_as_they_are(text: str) -> None:
    block = Block(
        "resource", ("kind", "label"), {"plain": text, "document": Encoded({"k": text}), "n": Expression("1")}
    )
    body = value(hcl2.loads(hcl([block]))["resource"][0])["kind"]["label"]
    assert body["plain"].replace("\\n", "\n") == text
    assert body["document"]["k"].replace("\\n", "\n") == text
