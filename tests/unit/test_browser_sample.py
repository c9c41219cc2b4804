"""What the README tells about pages: short enough to read, and bucket rules that are valid."""

import json
import re
from pathlib import Path
from typing import Any

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


def test_the_bucket_rules_of_the_readme_permit_what_a_signed_put_sends() -> None:
    (rule,) = rules_of_the_readme()
    assert rule["AllowedOrigins"] == ["https://app.example"]
    assert rule["AllowedMethods"] == ["PUT", "GET"]
    assert rule["AllowedHeaders"] == ["content-type", "if-none-match", "x-amz-*"]
    assert rule["ExposeHeaders"] == ["ETag"]
    assert rule["MaxAgeSeconds"] > 0
