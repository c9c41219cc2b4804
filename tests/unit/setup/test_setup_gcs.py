"""What is printed for a destination in Google Cloud Storage: least rights, and the same in three languages."""

import json
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.operate_setup_gcs import Form, print_setup
from tests.unit.setup.places import settings_of
from tests.unit.setup.test_setup_terraform import of_kind

SCANS = """
[cors]
allow_origins = ["https://app.example"]

[destinations.scans]
provider = "gcs"
bucket = "acme-uploads"
prefix = "incoming"
writer = "uploads-writer@acme.iam.gserviceaccount.com"
reader = "uploads-reader@acme.iam.gserviceaccount.com"
janitor = "uploads-janitor@acme.iam.gserviceaccount.com"
"""
CHAIN = SCANS + 'delegates = ["hub@hub.iam.gserviceaccount.com", "spoke@acme.iam.gserviceaccount.com"]\n'
TWO = SCANS + SCANS.partition("[destinations.scans]")[2].join(["\n[destinations.forms]", ""]).replace(
    '"incoming"', '"forms"'
)  # fmt: skip
TOLD = (
    SCANS
    + """
[sources.push]
kind = "pubsub_push"
audience = "https://broker.example"
service_accounts = ["pusher@acme.iam.gserviceaccount.com"]
destinations = ["scans"]

[sources.pull]
kind = "pubsub"
subscription = "projects/acme/subscriptions/uploads"
ack_deadline = "90s"
destinations = ["scans"]
"""
)
ALL = {"told": TOLD, "plain": SCANS, "chain": CHAIN, "two": TWO}


def printed(text: str, *, form: Form = "json", destination: str | None = None, **given: str) -> str:
    return print_setup(settings_of(text), destination, form=form, given=given)


def documents(text: str, name: str = "scans", **given: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed(text, **given))[name]
    return found


def permissions(found: dict[str, Any]) -> dict[str, list[str]]:
    return {
        f"projects/{role['project']}/roles/{role['roleId']}": role["includedPermissions"] for role in found["roles"]
    }


def test_each_account_may_one_thing_under_the_prefix_and_nothing_else() -> None:
    found = documents(SCANS)
    may = permissions(found)
    granted = [(each["member"], may[each["role"]], each["condition"]["expression"]) for each in found["bindings"]]
    under = 'resource.name.startsWith("projects/_/buckets/acme-uploads/objects/incoming/")'
    listed = 'api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("incoming/")'
    account = "serviceAccount:uploads-{}@acme.iam.gserviceaccount.com"
    assert granted == [
        (account.format("writer"), ["storage.objects.create"], under),
        (account.format("reader"), ["storage.objects.get"], under),
        (account.format("janitor"), ["storage.objects.delete"], under),
        (account.format("janitor"), ["storage.objects.list"], listed),
    ]


def test_the_broker_itself_may_only_impersonate_and_the_janitor_signs_nothing() -> None:
    found = documents(SCANS, BROKER_SERVICE_ACCOUNT="broker@acme.iam.gserviceaccount.com")
    may = permissions(found)
    uses = {each["serviceAccount"].partition("@")[0]: may[each["role"]] for each in found["account_bindings"]}
    assert {each["member"] for each in found["account_bindings"]} == {
        "serviceAccount:broker@acme.iam.gserviceaccount.com"
    }
    token, sign = "iam.serviceAccounts.getAccessToken", "iam.serviceAccounts.signBlob"
    assert uses == {"uploads-writer": [token, sign], "uploads-reader": [token, sign], "uploads-janitor": [token]}


def test_a_chain_is_granted_link_by_link() -> None:
    found = documents(CHAIN)
    may = permissions(found)
    links = [(each["member"], each["serviceAccount"]) for each in found["account_bindings"]
             if may[each["role"]] == ["iam.serviceAccounts.implicitDelegation"]]  # fmt: skip
    hub, spoke = "hub@hub.iam.gserviceaccount.com", "spoke@acme.iam.gserviceaccount.com"
    assert links == [("serviceAccount:BROKER_SERVICE_ACCOUNT", hub), (f"serviceAccount:{hub}", spoke)]
    ends = {each["member"] for each in found["account_bindings"] if each["serviceAccount"] not in {hub, spoke}}
    assert ends == {f"serviceAccount:{spoke}"}
    assert all(each["role"].startswith("projects/hub/") for each in found["account_bindings"]
               if each["serviceAccount"] == hub)  # fmt: skip


def test_the_bucket_becomes_private_and_forgets_old_versions_under_the_prefix_only() -> None:
    bucket = documents(SCANS)["bucket"]
    assert bucket["iamConfiguration"] == {
        "uniformBucketLevelAccess": {"enabled": True},
        "publicAccessPrevention": "enforced",
    }
    (rule,) = bucket["lifecycle"]["rule"]
    assert rule["condition"]["matchesPrefix"] == ["incoming/"]
    (cors,) = bucket["cors"]
    assert cors["origin"] == ["https://app.example"]
    assert "x-goog-meta-upload-session" in cors["responseHeader"]


def test_without_pages_there_are_no_cors_rules() -> None:
    assert documents(SCANS.replace('["https://app.example"]', "[]"))["bucket"]["cors"] == []


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_the_terraform_grants_what_the_json_grants(text: str) -> None:
    found, hcl = json.loads(printed(text)), printed(text, form="terraform")
    roles = of_kind(hcl, "google_project_iam_custom_role")
    made = {f"projects/{each['project']}/roles/{each['role_id']}": each["permissions"] for each in roles.values()}
    assert made == {name: each for one in found.values() for name, each in permissions(one).items()}
    names = {f"${{google_project_iam_custom_role.{label}.name}}": f"projects/{each['project']}/roles/{each['role_id']}"
             for label, each in roles.items()}  # fmt: skip
    members = of_kind(hcl, "google_storage_bucket_iam_member").values()
    granted = {(each["bucket"], names[each["role"]], each["member"], each["condition"][0]["expression"])
               for each in members}  # fmt: skip
    wanted = {("acme-uploads", each["role"], each["member"], each["condition"]["expression"])
              for one in found.values() for each in one["bindings"]}  # fmt: skip
    assert granted == wanted
    accounts = of_kind(hcl, "google_service_account_iam_member").values()
    used = {(each["service_account_id"].rpartition("/")[2], names[each["role"]], each["member"]) for each in accounts}
    assert used == {(each["serviceAccount"], each["role"], each["member"])
                    for one in found.values() for each in one["account_bindings"]}  # fmt: skip


@pytest.mark.parametrize("text", ALL.values(), ids=ALL)
def test_each_line_for_a_shell_is_one_command_and_grants_the_same(text: str) -> None:
    found = json.loads(printed(text))
    commands = list(lines(printed(text, form="gcloud")))
    assert {command[0] for command in commands} == {"gcloud", "printf"}
    grants = {(flag(each, "role"), flag(each, "member")) for each in commands
              if each[1:5] == ["storage", "buckets", "add-iam-policy-binding", "gs://acme-uploads"]}  # fmt: skip
    assert grants == {(each["role"], each["member"]) for one in found.values() for each in one["bindings"]}


def lines(text: str) -> Iterator[list[str]]:
    yield from (shlex.split(line) for line in text.splitlines() if not line.startswith("#"))


def flag(command: list[str], name: str) -> str:
    (found,) = [each.partition("=")[2] for each in command if each.startswith(f"--{name}=")]
    return found


def test_the_bucket_tells_one_topic_and_both_subscriptions_hear_it() -> None:
    found = documents(TOLD, BROKER_URL="https://broker.example")
    topic = found["topic"]["name"]
    assert found["notification"] == {
        "topic": f"//pubsub.googleapis.com/{topic}",
        "event_types": ["OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE"],
        "object_name_prefix": "incoming/",
        "payload_format": "JSON_API_V1",
    }
    (publisher,) = found["topic"]["bindings"]
    assert publisher["role"] == "roles/pubsub.publisher"
    push, pull = found["subscriptions"]
    assert {push["topic"], pull["topic"]} == {topic}
    assert push["pushConfig"] == {
        "pushEndpoint": "https://broker.example/notifications/push",
        "oidcToken": {
            "serviceAccountEmail": "pusher@acme.iam.gserviceaccount.com",
            "audience": "https://broker.example",
        },
    }
    assert (pull["name"], pull["ackDeadlineSeconds"]) == ("projects/acme/subscriptions/uploads", 90)
    assert [each["role"] for each in pull["bindings"]] == ["roles/pubsub.subscriber", "roles/pubsub.viewer"]


def test_the_terraform_tells_the_same() -> None:
    found, hcl = documents(TOLD), printed(TOLD, form="terraform")
    (told,) = of_kind(hcl, "google_storage_notification").values()
    assert told["event_types"] == found["notification"]["event_types"]
    assert told["object_name_prefix"] == "incoming/"
    subscriptions = {each["name"]: each for each in of_kind(hcl, "google_pubsub_subscription").values()}
    push, pull = found["subscriptions"]
    (config,) = subscriptions["upload-broker-push"]["push_config"]
    assert config["push_endpoint"] == push["pushConfig"]["pushEndpoint"]
    assert config["oidc_token"][0]["audience"] == push["pushConfig"]["oidcToken"]["audience"]
    assert subscriptions["uploads"]["ack_deadline_seconds"] == pull["ackDeadlineSeconds"]
    (receives,) = of_kind(hcl, "google_pubsub_subscription_iam_member").values()
    assert receives["member"] == pull["bindings"][0]["member"]


@pytest.mark.parametrize("form", ["json", "terraform", "gcloud"])
def test_it_says_that_nobody_has_run_it(form: Form) -> None:
    assert "Never run against Google by the makers of this" in printed(SCANS, form=form)


def test_a_destination_elsewhere_and_a_word_of_nothing_are_one_sentence_each() -> None:
    elsewhere = SCANS + '\n[destinations.default]\nbucket = "acme"\n'
    with pytest.raises(ConfigurationInvalid, match=re.escape("`setup s3` prints it")):
        printed(elsewhere, destination="default")
    with pytest.raises(ConfigurationInvalid, match="no destination 'nowhere'"):
        printed(SCANS, destination="nowhere")
    with pytest.raises(ConfigurationInvalid, match="--set WORD"):
        printed(SCANS, WORD="text")
