"""The worker against the stand-in: leases, processes, reports."""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from consumer import builtin
from consumer.processors import arrange, collect


async def test_the_builtin_processor_counts_bytes_and_lines_and_says_so(
    standin: Any, start: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    body = b"one\ntwo\nthree"
    standin.add(body, filename="evil\x1b[31m\u202e.txt")
    start(arrange(collect(builtin)))
    (report,) = await standin.until_heard("result")
    assert report.outcome == "processed"
    expected = {"size_bytes": len(body), "lines": 3, "sha256": hashlib.sha256(body).hexdigest()}
    assert msgspec.json.decode(report.result) == expected
    assert capsys.readouterr().out == "File: evil\\x1b[31m\\u202e.txt\nFile size: 0.00 MiB\n"
