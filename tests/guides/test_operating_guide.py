"""docs/guides/operating.md: its settings load, its metrics are exposed, its numbers are the program's."""

import re
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.contract import MAX_BODY_BYTES, MAX_WAIT_SECONDS
from broker.dev.stack import Stack
from broker.domain.errors import BrokerError
from broker.domain.policy import Policy
from broker.ledger.health import NEARLY_FULL
from broker.settings import JobSettings, load
from tests.guides.test_guides import ROOT, blocks
from uploader import upload_file

PAGE = ROOT / "docs" / "guides" / "operating.md"
TEXT = PAGE.read_text()


def rules() -> list[dict[str, Any]]:
    ((_, text),) = blocks(PAGE, "yaml")
    return list(yaml.safe_load(text)["groups"][0]["rules"])


@pytest.fixture
def exposed(stack: Stack) -> str:
    """What Prometheus scrapes after an upload, by a key that the command has made."""
    config = str(stack.options.directory / "broker.toml")
    argv = [sys.executable, "-m", "broker", "keys", "add", "prometheus", "--role", "observe", "--config", config]
    made = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=True, timeout=30)
    key = made.stdout.strip()
    upload_file(stack.about.broker, stack.about.api_key, PAGE)
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{stack.about.broker}/metrics", headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return str(answer.read().decode())


def test_every_metric_of_an_alarm_is_exposed(exposed: str) -> None:
    known = set(re.findall(r"^# TYPE (\w+) ", exposed, re.MULTILINE))
    named = set(re.findall(r"broker_\w+", " ".join(rule["expr"] for rule in rules())))
    assert {re.sub(r"_(count|sum|bucket)$", "", name) for name in named} <= known | {n + "_total" for n in known}
    for label, value in re.findall(r'(\w+)="(\w+)"', " ".join(rule["expr"] for rule in rules())):
        assert f'{label}="{value}"' in exposed, (label, value)


def test_every_alarm_is_explained() -> None:
    told = re.findall(r"^\| (\w+) \|", TEXT.partition("| alarm |")[2].partition("\n## ")[0], re.MULTILINE)
    assert told == [rule["alert"] for rule in rules()]
    assert f"These {['five', 'six', 'seven', 'eight', 'nine'][len(rules()) - 5]} wake" in TEXT


def test_the_settings_load(tmp_path: Path) -> None:
    ((_, text),) = blocks(PAGE, "toml")
    (tmp_path / "broker.toml").write_text(text)
    assert load(tmp_path / "broker.toml", {}).ledger.durability == "strict"


def test_the_numbers_are_the_program_s() -> None:
    assert Policy().retention.days == 30
    assert Policy().url_ttl.total_seconds() == 15 * 60
    assert JobSettings().lease.total_seconds() == 60
    assert (MAX_BODY_BYTES, MAX_WAIT_SECONDS) == (5_500_000, 30)
    assert NEARLY_FULL == 0.9


def test_every_error_that_is_named_is_one() -> None:
    def family(kind: type[BrokerError]) -> set[str]:
        return {kind.code}.union(*map(family, kind.__subclasses__()))

    assert {"store-refused", "store-unavailable"} <= family(BrokerError)
