"""The dashboard and the alarms: no panel is dead, no alarm asks for what nobody tells."""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.samples import Sample

from broker.contract import NotificationReceipt
from broker.ports import Collected, Message
from broker.telemetry.mailboxes import CountedCollect, CountedMailbox, MailboxMetrics
from tests.api.test_api_metrics import a_day_of_work, scraped
from tests.api.world import World
from tests.clock import FrozenClock
from tests.memory_mailbox import MemoryMailbox

DEPLOY = Path(__file__).parents[2] / "deploy"
DASHBOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "upload-broker.json").read_text())
ALERTS: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
RULES: list[dict[str, Any]] = [rule for group in ALERTS["groups"] for rule in group["rules"]]
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]

METRIC = re.compile(r"\b((?:broker|process|python)_[a-z0-9_]+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'([a-z_]+)(=~|!~|!=|=)"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|ignoring|on) \(([^)]*)\)")
SCRAPER_S = {"instance", "job"}  # Prometheus adds these to whatever it scrapes


def expressions() -> Iterator[tuple[str, str]]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]


EXPRESSIONS = list(expressions())
each = pytest.mark.parametrize("expr", [pytest.param(expr, id=title) for title, expr in EXPRESSIONS])


@pytest.fixture
async def told(world: World, clock: FrozenClock) -> list[Sample]:
    """All samples after a bit of everything."""
    await a_day_of_work(world, clock)
    await a_queue_emptied(world, clock)
    await scraped(world)
    return [sample for family in parse_text(await scraped(world)) for sample in family.samples]


async def a_queue_emptied(world: World, clock: FrozenClock) -> None:
    """What `poll` would tell, in the same answer."""
    metrics, mailbox = MailboxMetrics(world.use_cases.scrape.metrics, ["queue"]), MemoryMailbox()
    counted = CountedMailbox(source="queue", mailbox=mailbox, metrics=metrics)
    mailbox.send("{}")

    async def collect(messages: Sequence[Message]) -> Collected:
        return Collected(receipt=NotificationReceipt(accepted=0, ignored=1, malformed=0), done=messages)

    collected = await CountedCollect(source="queue", collect=collect, metrics=metrics, clock=clock)(
        await counted.receive()
    )
    await counted.delete(collected.done)


@each
async def test_what_it_asks_for_is_told(expr: str, told: list[Sample]) -> None:
    names = {sample.name for sample in told}
    asked = METRIC.findall(expr)
    assert asked
    assert {name for name, _ in asked} <= names


@each
async def test_it_selects_by_labels_and_words_that_there_are(expr: str, told: list[Sample]) -> None:
    for name, selector in METRIC.findall(expr):
        here = [sample.labels for sample in told if sample.name == name]
        for label, operator, word in MATCHER.findall(selector):
            values = {labels.get(label) for labels in here}
            assert label in SCRAPER_S or values != {None}, (name, label)
            if operator == "=":
                assert word in values, (name, label, word)
            elif "$" not in word:
                assert any(re.fullmatch(word, value or "") for value in values), (name, label, word)


@each
async def test_it_groups_by_labels_that_there_are(expr: str, told: list[Sample]) -> None:
    asked = {name for name, _ in METRIC.findall(expr)}
    known = {label for sample in told if sample.name in asked for label in sample.labels} | SCRAPER_S
    for names in GROUPING.findall(expr):
        assert {name.strip() for name in names.split(",")} <= known


@each
def test_its_brackets_are_closed(expr: str) -> None:
    for opening, closing in ("()", "[]", "{}"):
        assert expr.count(opening) == expr.count(closing)


async def test_every_metric_of_ours_is_on_the_dashboard(told: list[Sample]) -> None:
    """Who counts what nobody looks at should stop counting."""
    asked = {name for _, expr in EXPRESSIONS for name, _ in METRIC.findall(expr)}
    families = {re.sub(r"_(total|bucket|count|sum|created|info)$", "", name) for name in asked}
    ours = {
        re.sub(r"_(total|bucket|count|sum|created|info)$", "", s.name) for s in told if s.name.startswith("broker_")
    }
    assert ours - families == set()


def test_grafana_can_load_it() -> None:
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["templating"]["list"][0]["type"] == "datasource"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert [target["refId"] for target in panel["targets"]] == list("ABCDEF"[: len(panel["targets"])])


def test_no_panel_covers_another() -> None:
    cells: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        for cell in itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])):
            assert cell not in cells, (panel["title"], cells.get(cell))
            cells[cell] = panel["title"]


@pytest.mark.parametrize("rule", RULES, ids=[rule["alert"] for rule in RULES])
def test_an_alarm_says_whom_it_wakes_and_why(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"]
    grouped = {name.strip() for names in GROUPING.findall(rule["expr"]) for name in names.split(",")}
    spoken = set(re.findall(r"\$labels\.([a-z_]+)", str(rule["annotations"])))
    assert spoken <= grouped
