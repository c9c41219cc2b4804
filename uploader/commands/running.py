"""How a command runs: the loop, the signals, and the one table from errors to exit codes."""

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NoReturn, TypeVar

import click

from uploader import errors, events
from uploader.progress import JsonView, View

T = TypeVar("T")

SHOW_CURSOR = b"\x1b[?25h\n"  # a bar has hidden it (DECTCEM)


def run(work: Coroutine[Any, Any, T], view: View, name: str, *, going_on: str | Callable[[], str] = "") -> T:
    """Do the work to its end.

    :param going_on: what to do after an interrupt, or who says it then.
    :raises SystemExit: it failed; said to the view.
    """
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_interruptible(work))
    except errors.UploaderError as exc:
        view.on_event(
            events.Failed(
                file=name, code=exc.code, message=exc.message, exit_code=exc.exit_code, session_id=exc.session_id
            )
        )
        if not isinstance(view, JsonView):
            click.echo(f"error: {name}: {exc.message}", err=True)
        sys.exit(exc.exit_code)
    except asyncio.CancelledError:
        view.on_event(
            events.Failed(file=name, code="interrupted", message="interrupted", exit_code=errors.EXIT_INTERRUPTED)
        )
        if not isinstance(view, JsonView):
            hint = going_on if isinstance(going_on, str) else going_on()
            click.echo("; ".join(filter(None, ("interrupted", hint))), err=True)
        sys.exit(errors.EXIT_INTERRUPTED)


async def _interruptible(work: Awaitable[T]) -> T:
    """SIGINT and SIGTERM cancel the work once, which aborts or keeps its session; the second one ends it at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work)

    def interrupt() -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, _end_at_once)
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    return await task


def _end_at_once(_: int, __: object) -> NoReturn:
    """Somebody has had enough: threads are not waited for. What was kept on the disk survives that."""
    if sys.stderr.isatty():
        os.write(2, SHOW_CURSOR)
    os._exit(errors.EXIT_INTERRUPTED)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if find_spec("uvloop") is None:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = import_module("uvloop").new_event_loop
    return factory
