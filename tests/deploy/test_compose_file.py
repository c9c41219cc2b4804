"""docker-compose.yml is a Compose file, holds no secret, and gives every container as little as it needs."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

from broker.settings import S3EventSource, load
from tests.deploy import compose_file
from tests.deploy.compose_file import Refused, interpolate

ROOT = Path(__file__).parents[2]
PATH = ROOT / "docker-compose.yml"
ONE_SHOT = "no"  # `restart` of what does its work and ends


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    path: Path = tmp_path_factory.mktemp("env") / ".env"
    subprocess.run([sys.executable, ROOT / "deploy/env.py", path], check=True, timeout=30, capture_output=True)
    return compose_file.read_env(path)


@pytest.fixture(scope="module")
def document(env: dict[str, str]) -> dict[str, Any]:
    return compose_file.read(PATH, env)


@pytest.fixture(scope="module")
def services(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = document["services"]
    return found


def test_it_obeys_the_schema_of_the_compose_specification(document: dict[str, Any]) -> None:
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    assert [error.message for error in validator.iter_errors(yaml.safe_load(PATH.read_text()))] == []
    assert [error.message for error in validator.iter_errors(document)] == []


def test_everything_that_the_issue_asks_for_is_there(services: dict[str, dict[str, Any]]) -> None:
    everywhere = {"broker-1", "broker-2", "looker", "sweeper", "consumer", "valkey"}
    assert compose_file.active({"services": services}, {"emulator"}).keys() >= everywhere | {"emulator"}
    assert services["consumer"]["deploy"]["replicas"] == 2
    assert "emulator" not in compose_file.active({"services": services}, {"versitygw"})


@pytest.mark.parametrize("profile", ["emulator", "versitygw"])
def test_whatever_a_service_refers_to_exists_in_its_profile(document: dict[str, Any], profile: str) -> None:
    running = compose_file.active(document, {profile})
    for name, service in running.items():
        assert set(service.get("depends_on", {})) <= running.keys(), name
        assert compose_file.networks(service).keys() <= document["networks"].keys(), name
        assert {each["source"] for each in service.get("configs", [])} <= document["configs"].keys(), name
        named = {text.partition(":")[0] for text in service.get("volumes", []) if ":" in text}
        assert named <= document["volumes"].keys(), name


def test_every_service_is_locked_down_and_watched(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices"} & service.keys(), name
        assert "docker.sock" not in json.dumps(service), name
        if service["restart"] != ONE_SHOT:
            assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}, name


def test_no_value_is_a_secret_and_a_missing_one_says_what_to_do(env: dict[str, str]) -> None:
    text = PATH.read_text()
    for name in ("VALKEY_PASSWORD", "CAPSULE_KEY", "EVENT_TOKEN", "STORE_SECRET_KEY", "CONSUMER_KEY"):
        without = {key: value for key, value in env.items() if key != name}
        with pytest.raises(Refused, match=rf"required variable {name} is missing a value: run make env"):
            compose_file.read(PATH, without)
        with pytest.raises(Refused, match="run make env"):
            compose_file.read(PATH, without | {name: ""})
        assert f"${{{name}:?run make env}}" in text
    secret = re.compile(r"(?i)(secret|password|token|_key)\w*[\"']?\s*[:=]\s*[\"']?(?!\$)[\w-]{8,}")
    assert [line for line in text.splitlines() if secret.search(line.partition("#")[0])] == []


def test_the_consumer_holds_its_role_key_and_reaches_neither_ledger_nor_world(
    document: dict[str, Any], env: dict[str, str]
) -> None:
    consumer = document["services"]["consumer"]
    assert consumer["environment"].keys() == {"BROKER_URL", "BROKER_CONSUMER_KEY"}
    others = set(env.values()) - {env["CONSUMER_KEY"], env["COMPOSE_PROFILES"]}
    assert not [value for value in others if value in json.dumps(consumer)]
    (network,) = compose_file.networks(consumer)
    assert document["networks"][network]["internal"] is True
    met = {name for name, each in document["services"].items() if network in compose_file.networks(each)}
    assert met == {"consumer", "broker-1", "broker-2", "emulator", "versitygw"}


def test_only_those_who_use_the_ledger_reach_it_and_it_is_published_nowhere(document: dict[str, Any]) -> None:
    met = {name for name, each in document["services"].items() if "ledger" in compose_file.networks(each)}
    assert met == {"valkey", "broker-1", "broker-2", "looker", "sweeper"}
    assert document["networks"]["ledger"]["internal"] is True
    assert "ports" not in document["services"]["valkey"]


def test_whatever_is_published_is_published_on_loopback_unless_somebody_says_otherwise(env: dict[str, str]) -> None:
    def published(variables: dict[str, str]) -> Iterator[str]:
        for service in compose_file.read(PATH, variables)["services"].values():
            yield from service.get("ports", [])

    assert {text.rpartition(":")[0].rpartition(":")[0] for text in published(env)} == {"127.0.0.1"}
    assert all(text.startswith("10.0.0.7:") for text in published(env | {"LISTEN_ON": "10.0.0.7"}))


def test_images_of_others_have_a_fixed_tag(services: dict[str, dict[str, Any]]) -> None:
    foreign = {service["image"] for service in services.values() if "build" not in service}
    foreign = {image for image in foreign if not image.endswith(":local")}
    assert foreign
    for image in foreign:
        assert re.fullmatch(r"[a-z0-9]+/[a-z0-9-]+:v?\d[\w.-]*", image), image


@pytest.mark.parametrize(("name", "profile"), [("broker.toml", "emulator"), ("broker.versitygw.toml", "versitygw")])
def test_every_name_in_the_configuration_leads_somewhere_for_those_who_use_it(
    document: dict[str, Any], name: str, profile: str
) -> None:
    """Also for consumers: the names that they use come to them in jobs, not in their environment."""
    place = tomllib.loads((ROOT / "deploy" / name).read_text())["destinations"]["default"]
    running = compose_file.active(document, {profile})
    published = {text.rsplit(":", 2)[-2] for service in running.values() for text in service.get("ports", [])}
    for who in ("broker-1", "broker-2", "looker", "sweeper"):
        assert urlsplit(place["endpoint"]).hostname in compose_file.names_seen_by(who, running), who
    assert urlsplit(place["consumer_endpoint"]).hostname in compose_file.names_seen_by("consumer", running)
    assert str(urlsplit(place["public_endpoint"]).port) in published


@pytest.mark.parametrize("name", ["broker.toml", "broker.versitygw.toml"])
def test_the_configuration_loads_with_the_environment_of_the_brokers(
    services: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = services["broker-1"]["environment"]
    settings = load(ROOT / "deploy" / name, said)
    assert settings.keys["app"].hash == said["BROKER_KEYS__APP__HASH"]
    for variable, value in said.items():
        monkeypatch.setenv(variable, value)
    store = settings.sources["store"]
    assert isinstance(store, S3EventSource)
    for secret in (*settings.secrets.capsule_keys, *store.tokens):
        assert secret.reveal()
    rights = settings.destinations["default"].credentials
    for right in filter(None, (rights.default, rights.write)):
        assert right.secret_access_key is not None
        assert right.secret_access_key.reveal()


def test_the_example_names_exactly_what_is_read(env: dict[str, str]) -> None:
    example = (ROOT / ".env.example").read_text()
    asked = set(re.findall(r"\$\{(\w+)", PATH.read_text()))
    named = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    assert named == asked | {"APP_KEY", "COMPOSE_PROFILES"}
    assert set(re.findall(r"^([A-Z_]+)=", example, re.MULTILINE)) == env.keys()
    assert set(re.findall(r"^[A-Z_]+=(.*)$", example, re.MULTILINE)) == {"", "emulator"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a $X b", "a 1 b"),
        ("${X}${X}", "11"),
        ("$${X}", "${X}"),
        ("${E:-d}", "d"),
        ("${E-d}", ""),
        ("${N-d}", "d"),
        ("${N:-http://a:9/}", "http://a:9/"),
        ("${N}", ""),
        ("${E?why}", ""),
    ],
)
def test_interpolation_is_that_of_the_specification(text: str, value: str) -> None:
    assert interpolate(text, {"X": "1", "E": ""}) == value


@pytest.mark.parametrize("text", ["${E:?why}", "${N?why}", "${N:?why}", "${X", "${X:+a}", "$ 5", "${N:-${X}}"])
def test_what_interpolation_refuses(text: str) -> None:
    with pytest.raises(Refused):
        interpolate(text, {"X": "1", "E": ""})
