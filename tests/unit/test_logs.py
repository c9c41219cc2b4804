"""Logs: one line per event, whatever stands in it."""

import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from broker.contract import State
from broker.logs import EventFormatter, TerminalFormatter, configure


def record(event: str = "upload.verified", /, **extra: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "broker.look", "levelno": logging.INFO, "levelname": "INFO", "msg": event})
    made.__dict__.update(extra)
    return made


def as_json(made: logging.LogRecord) -> dict[str, object]:
    line = EventFormatter().format(made)
    assert "\n" not in line
    decoded = json.loads(line)
    assert isinstance(decoded, dict)
    return decoded


def test_an_event_is_one_json_line_with_its_moment_and_fields() -> None:
    made = record(session_id="00a", epoch=3, state=State.VERIFIED)
    line = as_json(made)
    assert line.pop("at") == datetime.fromtimestamp(made.created, UTC).isoformat().replace("+00:00", "Z")
    assert line == {"level": "info", "event": "upload.verified", "session_id": "00a", "epoch": 3, "state": "verified"}


@pytest.mark.parametrize(
    "value", ["a\nb", "\x1b[31m", "\u2028", "\ud800", b"\xff", object, {1: object()}, ValueError("x"), 10**30]
)
def test_no_value_breaks_a_line(value: object) -> None:
    line = EventFormatter().format(record(value=value))
    assert len(line.splitlines()) == 1 or value == "\u2028"
    assert json.loads(line)["event"] == "upload.verified"
    assert TerminalFormatter().format(record(value=value)).isprintable()


def test_an_event_that_no_encoding_takes_is_still_logged() -> None:
    assert json.loads(EventFormatter().format(record("odd \ud800")))["level"] == "info"


def test_an_error_keeps_its_traceback_in_the_same_json_line() -> None:
    try:
        raise ValueError("broken")
    except ValueError:
        made = record()
        made.exc_info = sys.exc_info()
    line = as_json(made)
    assert "ValueError: broken" in str(line["traceback"])
    assert "ValueError: broken\n" in TerminalFormatter().format(made) + "\n"


def test_a_terminal_shows_one_readable_line_without_empty_fields() -> None:
    line = TerminalFormatter().format(record(session_id="00a", reason=None, text="two words"))
    assert line.endswith("info    upload.verified session_id=00a text='two words'")


@pytest.fixture
def _quiet_after() -> Iterator[None]:
    root, level = logging.getLogger(), logging.getLogger().level
    handlers = [*root.handlers]
    names = ("uvicorn.access", "uvicorn.error", "botocore", "boto3", "urllib3", "asyncio")
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for name, before in levels.items():
        logging.getLogger(name).setLevel(before)


@pytest.mark.usefixtures("_quiet_after")
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_everything_goes_to_stderr_and_libraries_never_below_warning(
    level: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(level)
    logging.getLogger("broker.look").error("look.failed", extra={"session_id": "00a"})
    for name in ("uvicorn.access", "uvicorn.error", "botocore", "urllib3", "asyncio"):
        logging.getLogger(name).info("GET /upload-sessions/00a?token=secret")
    out, err = capsys.readouterr()
    assert out == ""
    assert "secret" not in err
    assert json.loads(err)["session_id"] == "00a"
