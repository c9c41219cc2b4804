"""docs/guides/operating.md: its settings load, its alarms are those of deploy/, its numbers are the program's."""

import re
from pathlib import Path

import yaml

from broker.contract import MAX_BODY_BYTES, MAX_WAIT_SECONDS
from broker.domain.errors import BrokerError
from broker.domain.policy import Policy
from broker.ledger.health import NEARLY_FULL
from broker.settings import JobSettings, load
from tests.guides.test_guides import ROOT, blocks

PAGE = ROOT / "docs" / "guides" / "operating.md"
TEXT = PAGE.read_text()


def test_every_alarm_is_explained_and_none_besides() -> None:
    alarms = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yml").read_text())
    table = TEXT.partition("| alarm |")[2].partition("\n## ")[0]
    told = re.findall(r"^\| (\w+) \|", table, re.MULTILINE)
    assert told == [rule["alert"] for group in alarms["groups"] for rule in group["rules"]]


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
