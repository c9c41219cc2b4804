"""Logs are events, one line each: JSON for machines, `key=value` on a terminal. Nothing here ever sees a secret."""

import logging
import sys
import traceback
from datetime import UTC, datetime

import msgspec

_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class EventFormatter(logging.Formatter):
    """`{"at", "level", "event", …extra}`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{name: value for name, value in vars(record).items() if name not in _PLAIN},
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return self.render(line)

    def render(self, line: dict[str, object]) -> str:
        return msgspec.json.encode(line, enc_hook=str).decode()


class TerminalFormatter(EventFormatter):
    def render(self, line: dict[str, object]) -> str:
        at, level, event = line.pop("at"), line.pop("level"), line.pop("event")
        assert isinstance(at, datetime)  # noqa: S101 - for the type checker
        rest = " ".join(f"{name}={value}" for name, value in line.items() if value is not None)
        return f"{at:%H:%M:%S.%f} {level!s:<7} {event} {rest}".rstrip()


def configure(level: str) -> None:
    """Everything to stderr: stdout belongs to the answer of a command."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter() if sys.stderr.isatty() else EventFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn's own lines would name paths with session ids and query tokens; ours say what happened.
    for name in ("uvicorn.access", "uvicorn.error", "botocore", "boto3", "urllib3", "asyncio"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
