"""docs/guides/s3.md: what can be run is run, what cannot is held to botocore's model of the service."""

import json
import os
import re
import shlex
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from itertools import accumulate, repeat
from pathlib import Path
from typing import Any

import aiohttp
import botocore.session
import pytest
from botocore import xform_name
from botocore.validate import ParamValidator
from msgspec.structs import replace

from broker.clock import SystemClock
from broker.domain.policy import Policy, next_look
from broker.ports import Envelope
from broker.settings import CredentialSettings, Settings, SqsSource, load
from broker.storage.s3.dialects import DIALECTS
from broker.wiring.providers import buckets_of, doors_of
from broker.wiring.s3_keeping import keeping_of
from tests.guides.conftest import need
from tests.guides.test_guides import ROOT, blocks
from tests.still_keyring import still_keyring
from tests.unit.doors.senders import bridged
from tests.unit.doors.sns_world import Sns, enveloped

PAGE = ROOT / "docs" / "guides" / "s3.md"
COMMANDS = [line for _, text in blocks(PAGE, "sh") for line in text.splitlines() if line.startswith("aws ")]
SERVICES = {"s3api": "s3", "iam": "iam", "sns": "sns", "sqs": "sqs", "events": "events"}
ALIASES = {"notification-endpoint": "endpoint"}  # AWS CLI: `--endpoint` would be short for `--endpoint-url`
FLAGS = {"true": True, "false": False}
START = datetime(2026, 11, 20, tzinfo=UTC)


def documents() -> dict[str, Any]:
    return {f"{name}.json": json.loads(text) for name, text in blocks(PAGE, "json")}


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    (_, text), *_ = blocks(PAGE, "toml")
    path = tmp_path / "broker.toml"
    path.write_text(text)
    return path


def test_the_configuration_loads(configuration: Path) -> None:
    settings = load(configuration, {})
    rights = settings.destinations["default"].credentials
    assert [getattr(rights, name).profile for name in ("write", "read", "remove")] == [
        "uploads-write",
        "uploads-read",
        "uploads-remove",
    ]


def test_the_ways_to_keep_objects_are_taken(tmp_path: Path) -> None:
    text = next(text for _, text in blocks(PAGE, "toml") if "storage_class" in text)
    (tmp_path / "broker.toml").write_text(text)
    keeping = keeping_of("default", load(tmp_path / "broker.toml", {}).destinations["default"])
    assert keeping.features == DIALECTS["aws"].keeps - {"sse-s3"}


CREDENTIALS = re.findall(r"`(\{[^`]*\})`", "\n".join(re.findall(r"^\| (`\{.*?\}`) \|", PAGE.read_text(), re.MULTILINE)))
ENCRYPTIONS = re.findall(r"\{mode = [^}]*\}", PAGE.read_text())


def test_the_guide_shows_every_kind_of_credential_and_encryption() -> None:
    shown = {name for text in CREDENTIALS for name in re.findall(r"(\w+) =", text)}
    assert shown >= {"access_key_id", "secret_access_key", "env_json", "file_json", "profile", "role_arn"}
    modes = {text.split('"')[1] for text in ENCRYPTIONS}
    assert modes == {"AES256", "aws:kms", "aws:kms:dsse"}


@pytest.mark.parametrize(
    "line",
    [
        *(f"credentials = {{default = {each}}}" for each in CREDENTIALS),
        *(f"encryption = {each}" for each in ENCRYPTIONS),
    ],
)
def test_what_is_written_as_the_guide_writes_it_loads(tmp_path: Path, line: str) -> None:
    line = line.replace('role_arn = "…"', 'role_arn = "arn:aws:iam::111122223333:role/uploads"').replace("…", "x")
    (tmp_path / "broker.toml").write_text(f'[destinations.default]\ndialect = "aws"\nbucket = "acme-uploads"\n{line}\n')
    keeping_of("default", load(tmp_path / "broker.toml", {}).destinations["default"])


async def test_the_accounts_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = [text for kind, text in blocks(PAGE, "toml") if kind == "accounts"]
    (tmp_path / "broker.toml").write_text(text)
    secret = {"access_key_id": "A", "secret_access_key": "S", "region_name": "us-west-2", "s3_bucket_name": "acme-us"}
    monkeypatch.setenv("ACCOUNT_US", json.dumps(secret))
    monkeypatch.setenv("EXTERNAL_ID_EU", "chosen")
    with still_keyring() as keyring:
        async with aiohttp.ClientSession() as http:
            buckets = buckets_of(load(tmp_path / "broker.toml", {}).destinations, http, SystemClock(), keyring)
    assert {bucket.destination.bucket for bucket in buckets.values()} == {
        "acme-uploads-eu",
        "acme-us",
        "acme-uploads-hub",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the command prints, in the files into which the guide puts it."""
    need("jq")
    (lines,) = [text for name, text in blocks(PAGE, "sh") if name == "policies"]
    path, directory = f"{Path(sys.executable).parent}:{os.environ['PATH']}", tmp_path_factory.mktemp("made")
    (_, text), *_ = blocks(PAGE, "toml")
    (directory / "broker.toml").write_text(text)
    subprocess.run(["sh", "-euc", lines], cwd=directory, env={"PATH": path}, check=True, timeout=60)
    return {each.name: json.loads(each.read_text()) for each in directory.glob("*.json")}


def test_the_policies_come_out_of_the_command(made: dict[str, Any]) -> None:
    assert made["write.json"]["Statement"][0]["Resource"] == "arn:aws:s3:::acme-uploads/uploads/*"
    assert made["read.json"]["Statement"][0]["Action"] == ["s3:GetObject", "s3:GetObjectVersion"]
    assert made["lifecycle.json"] == documents()["lifecycle.json"]


def test_the_other_commands_are_ours(configuration: Path) -> None:
    env = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    lines = {name: text for name, text in blocks(PAGE, "sh") if name in {"terraform", "check"}}
    subprocess.run(["sh", "-euc", lines["terraform"]], cwd=configuration.parent, env=env, check=True, timeout=60)
    assert 'resource "aws_s3_bucket_policy" "default"' in (configuration.parent / "uploads.tf").read_text()
    assert lines["check"].split() == ["upload-broker", "check", "default"]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command.split()[1:3]))
def test_the_commands_are_operations_and_options_of_the_service(command: str, made: dict[str, Any]) -> None:
    _, group, verb, *words = shlex.split(command)
    model = botocore.session.get_session().get_service_model(SERVICES[group])
    operation = {xform_name(name, "-"): name for name in model.operation_names}[verb]
    shape = model.operation_model(operation).input_shape
    assert shape is not None
    members = {xform_name(name, "-"): name for name in shape.members}
    pairs = [(option.removeprefix("--"), text) for option, text in zip(words[::2], words[1::2], strict=True)]
    options = {members[ALIASES.get(option, option)]: text for option, text in pairs if option != "region"}
    shown = made | documents()
    given = {name: value(shape.members[name], text, shown) for name, text in options.items()}
    check(SERVICES[group], operation, given)


def value(shape: Any, text: str, shown: dict[str, Any]) -> Any:
    """A document of the guide, one that a step before it makes, `name=value,…`, `[{name=value}]`, or a text."""
    if text.startswith("file://"):
        name = text.removeprefix("file://")
        return json.dumps(shown[name]) if shape.type_name == "string" else shown[name]
    if text.startswith("Rules=["):
        name, _, one = text.removeprefix("Rules=[{").removesuffix("}]").partition("=")
        return {"Rules": [{name: one}]}
    if shape.type_name in {"structure", "map"}:
        pairs = {name: one for name, _, one in (pair.partition("=") for pair in text.split(","))}
        return pairs if shape.type_name == "map" else {name: FLAGS.get(one, one) for name, one in pairs.items()}
    return text


def check(service: str, operation: str, given: dict[str, Any]) -> None:
    shape = botocore.session.get_session().get_service_model(service).operation_model(operation).input_shape
    report = ParamValidator().validate(given, shape)
    assert not report.has_errors(), report.generate_report()


def test_the_rule_for_forgotten_parts_is_longer_than_a_session() -> None:
    rule = documents()["lifecycle.json"]["Rules"][0]
    days = timedelta(days=rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"])
    policy = Policy()
    assert days > policy.deadline + policy.grace
    assert rule["Filter"]["Prefix"] == "uploads/"


def test_the_looks_come_when_the_guide_says() -> None:
    policy = Policy()
    times = accumulate(
        repeat(None, 7), lambda at, _: next_look(policy, since=START, now=at), initial=START + policy.first_look
    )
    assert [(at - START).total_seconds() for at in times] == [2, 4, 8, 16, 32, 64, 124, 184]
    heads = 6 + (policy.url_ttl.total_seconds() - 64) // 60
    assert 18 <= heads <= 22


def sources(tmp_path: Path, name: str) -> Settings:
    (text,) = [text for kind, text in blocks(PAGE, "toml") if kind == name]
    (tmp_path / "broker.toml").write_text(text + "[destinations.default]\nbucket = 'acme-uploads'\n")
    return load(tmp_path / "broker.toml", {})


async def test_the_source_of_a_queue_is_one_that_the_queues_policy_lets_the_bucket_write_to(tmp_path: Path) -> None:
    source = sources(tmp_path, "sqs").sources["queue"]
    assert isinstance(source, SqsSource)
    (statement,) = json.loads(documents()["queue-policy.json"]["Policy"])["Statement"]
    _, _, _, region, account, name = statement["Resource"].split(":")
    assert source.queue_url == f"https://sqs.{region}.amazonaws.com/{account}/{name}"
    (told,) = documents()["queue-notification.json"]["QueueConfigurations"]
    assert told["QueueArn"] == statement["Resource"]
    assert statement["Condition"]["ArnLike"] == {"aws:SourceArn": "arn:aws:s3:::acme-uploads"}


async def test_the_source_of_a_topic_hears_that_topic(tmp_path: Path) -> None:
    settings = sources(tmp_path, "sns")
    (told,) = documents()["topic-notification.json"]["TopicConfigurations"]
    sns = Sns()
    door = doors_of(settings.sources, sns.pages, sns.clock)["topic"]
    message = sns.signed(TopicArn=told["TopicArn"], SignatureVersion="2")
    assert (await door.open(enveloped(message))).hints


async def test_the_source_of_a_bus_takes_the_key_of_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = documents()["bus-connection.json"]["ApiKeyAuthParameters"]
    monkeypatch.setenv("EVENT_TOKEN", key["ApiKeyValue"])
    sns = Sns()
    door = doors_of(sources(tmp_path, "eventbridge").sources, sns.pages, sns.clock)["bus"]
    event = bridged("uploads/x/a.csv", bucket="acme-uploads")
    body = json.dumps(event).encode()
    headers = {key["ApiKeyName"]: key["ApiKeyValue"]}
    assert (await door.open(Envelope(headers=headers, query={}, body=body))).hints
    pattern = documents()["bus-pattern.json"]
    assert event["source"] in pattern["source"]
    assert event["detail-type"] in pattern["detail-type"]


def test_what_may_be_said_of_a_queue_is_what_it_says_without(tmp_path: Path) -> None:
    said, unsaid = sources(tmp_path, "sqs-more").sources["queue"], sources(tmp_path, "sqs").sources["queue"]
    assert isinstance(said, SqsSource)
    assert said.credentials.profile == "uploads-poll"
    assert replace(said, credentials=CredentialSettings()) == replace(unsaid, queue_url=said.queue_url)


def test_who_polls_may_do_what_the_poller_asks_for_and_no_more() -> None:
    (statement,) = documents()["poller.json"]["Statement"]
    asked = set(re.findall(r'"(sqs:[A-Za-z]+)",', (ROOT / "broker" / "doors" / "sqs.py").read_text()))
    assert set(statement["Action"]) == asked
