"""The guide to Google Cloud Storage shows a configuration that loads, and lines that `check` prints."""

import re
import tomllib
from pathlib import Path

import pytest

from broker.checks.gcs.table import STEPS
from broker.settings import GcsDestination, PubsubPushSource, PubsubSource
from tests.checks.world import load_from
from tests.guides.test_guides import blocks

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "gcs.md"


def test_the_configuration_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CAPSULE_KEY", "ENCRYPTION_KEY"):
        monkeypatch.setenv(name, "k" * 48)
    ((_, text),) = [each for each in blocks(GUIDE, "toml") if not each[0]]
    place = load_from(tomllib.loads(text)).destinations["scans"]
    assert isinstance(place, GcsDestination)
    assert place.writer == "uploads-writer@acme.iam.gserviceaccount.com"


@pytest.mark.parametrize(("label", "kind"), [("push", PubsubPushSource), ("pull", PubsubSource)])
def test_a_source_loads_and_what_is_said_to_be_its_default_is_one(label: str, kind: type) -> None:
    ((_, text),) = [each for each in blocks(GUIDE, "toml") if each[0] == label]
    ((_, place),) = [each for each in blocks(GUIDE, "toml") if not each[0]]
    source = load_from(tomllib.loads(place + text)).sources["gcs"]
    assert isinstance(source, kind)
    if isinstance(source, PubsubSource):
        for line in (
            f"receivers = {source.receivers} ",
            f'ack_deadline = "{source.ack_deadline.total_seconds():g}s"',
            f'on_poison = "{source.on_poison}"',
        ):
            assert line in text


def test_what_is_said_to_be_a_default_is_one() -> None:
    text = GUIDE.read_text()
    place = GcsDestination(bucket="acme", writer="w@p.io", reader="r@p.io", janitor="j@p.io")
    assert f"threshold_bytes = {place.resumable.threshold_bytes:_}" in text
    assert f"signing_rate_per_second = {place.signing_rate_per_second:g}" in text


def test_each_line_of_the_open_facts_is_one_of_the_check() -> None:
    told = re.findall(r"^\| `([a-z-]+)` \|", GUIDE.read_text(), re.MULTILINE)
    codes = {step.code for step in STEPS}
    assert set(told) & {"put", "resumable"} == {"put", "resumable"}  # the table of strategies, which are also codes
    assert set(told) <= codes
    opened = {code for code in codes if code.startswith("resumable-")} - {"resumable-cancel", "resumable-digest"}
    assert opened <= set(told)


def test_each_line_of_the_log_that_is_named_is_written_somewhere() -> None:
    section = GUIDE.read_text().partition("## 6. ")[2]
    told = {word for word in re.findall(r"`([a-z-]+\.[a-z-]+)`", section) if not word.startswith("secrets.")}
    code = "".join(path.read_text() for path in (GUIDE.parents[2] / "broker").rglob("*.py"))
    assert len(told) >= 5
    assert [event for event in told if f'"{event}"' not in code] == []
