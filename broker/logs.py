"""Logs are events, one line each: JSON for machines, `key=value` on a terminal. Nothing here ever sees a secret."""

import json
import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

# What the present task is about; tasks that it starts inherit it. The standard library wants it at the module's level.
_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default=MappingProxyType({}))
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def note(**fields: str) -> None:
    """Every line that this task writes from now on says so: its request, its session."""
    _ABOUT.set({**_ABOUT.get(), **fields})


def begin(**fields: str) -> None:
    """`note` for a task that is about nothing yet."""
    _ABOUT.set(fields)


@contextmanager
def about(**fields: str) -> Iterator[None]:
    """`note` for a while."""
    token = _ABOUT.set({**_ABOUT.get(), **fields})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class EventFormatter(logging.Formatter):
    """`{"at", "level", "event", …about, …extra}`; of a name that stands in both the line's own value."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **_ABOUT.get(),
            **{name: value for name, value in vars(record).items() if name not in _PLAIN},
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return self.render(line)

    def render(self, line: dict[str, object]) -> str:
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # a lone surrogate: an event that cannot be written must not be lost for it
            return json.dumps(line, default=str)


class TerminalFormatter(EventFormatter):
    def render(self, line: dict[str, object]) -> str:
        at, level, event = line.pop("at"), line.pop("level"), line.pop("event")
        assert isinstance(at, datetime)  # noqa: S101 - for the type checker
        trace = line.pop("traceback", "")
        rest = " ".join(f"{name}={_shown(value)}" for name, value in line.items() if value is not None)
        return f"{at:%H:%M:%S.%f} {level!s:<7} {_shown(event)} {rest}\n{trace}".rstrip()


def _shown(value: object) -> str:
    """As it is where that is one word, else quoted: nobody writes a second line or moves the cursor."""
    text = str(value)
    return text if text.isprintable() and " " not in text else repr(text)


def configure(level: str) -> None:
    """Everything to stderr: stdout belongs to the answer of a command."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(TerminalFormatter() if sys.stderr.isatty() else EventFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    # uvicorn's own lines would name paths with session ids and query tokens; ours say what happened.
    for name in ("uvicorn.access", "uvicorn.error", "botocore", "boto3", "urllib3", "asyncio", "opentelemetry"):
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
