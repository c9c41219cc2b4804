"""What the README tells about pages: short enough to read, and bucket rules that are valid."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec

from broker.storage.s3.policies import CorsRule

ROOT = Path(__file__).parents[2]
MAX_LINES = 60


def rules_of_the_readme() -> list[dict[str, Any]]:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"^## In a browser$.*?^```json\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found is not None
    return list(json.loads(found[1])["CORSRules"])


def test_the_sample_page_is_short_and_loads_nothing_from_elsewhere() -> None:
    page = (ROOT / "docs" / "samples" / "browser-upload.html").read_text()
    assert len(page.splitlines()) <= MAX_LINES
    assert max(map(len, page.splitlines())) <= 150
    assert re.findall(r"\b(?:src|href)\s*=|@import|url\(", page) == []


def test_the_bucket_rules_of_the_readme_are_those_that_check_prints() -> None:
    rule = msgspec.to_builtins(CorsRule(allowed_origins=("https://app.example",)))
    assert rules_of_the_readme() == [{name: _plain(value) for name, value in rule.items()}]


def _plain(value: Any) -> Any:
    """As JSON spells it."""
    return list(value) if isinstance(value, tuple) else value
