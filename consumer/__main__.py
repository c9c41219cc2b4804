"""`upload-consumer`, also `python -m consumer`: the worker on the command line.

The role key comes from the environment or a file, never from an argument: arguments are public on the machine. It
leaves the environment before anything of the application is imported, so no child process inherits it.
"""

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from broker import __version__
from broker.contract import MAX_WAIT_SECONDS
from consumer.command import Settings, load, work
from consumer.errors import ConfigurationInvalid
from consumer.events import Events, Format

KEY_VARIABLE = "BROKER_CONSUMER_KEY"


@click.group()
@click.version_option(__version__, prog_name="upload-consumer")
def main() -> None:
    """Processes uploads: leases jobs from the broker, reads the objects, reports results."""


@main.command()
@click.argument("module", required=False)
@click.option("--broker", "broker_url", envvar="BROKER_URL", required=True, metavar="URL", help="[env: BROKER_URL]")
@click.option(
    "--key-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help=f"File with the key of role consume; else the environment's {KEY_VARIABLE}.",
)
@click.option("--builtin", "has_builtin", is_flag=True, help="Measure what no processor of MODULE takes.")
@click.option("--concurrency", type=click.IntRange(1, 1000), default=8, show_default=True, help="Jobs at once.")
@click.option("--drain-seconds", type=click.FloatRange(0), default=30.0, show_default=True, help="For running jobs.")
@click.option("--wait-seconds", type=click.FloatRange(0, MAX_WAIT_SECONDS), default=20.0, show_default=True)
@click.option("--idle-seconds", type=click.FloatRange(0.1), default=30.0, show_default=True, help="Silence of a store.")
@click.option("--worker", default=lambda: f"{socket.gethostname()}-{os.getpid()}"[:128], help="Name in the timeline.")
@click.option("--app-dir", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Where MODULE is.")
@click.option("--spool-dir", type=click.Path(file_okay=False, exists=True, path_type=Path), help="For temporary files.")
@click.option("--pass-env", multiple=True, metavar="NAME", help="A variable that plain functions may see; repeatable.")
@click.option(
    "--jobs-per-process",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Plain functions: 1 lets no file reach the next job; more is quicker for many small ones.",
)
@click.option(
    "--alive-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Touched at each good answer of the broker, so that a health check can look at its age.",
)
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
def run(key_file: Path | None, log_format: Format, **options: Any) -> None:
    """Lease and process until SIGTERM. Without MODULE the built-in processor measures every upload.

    \b
    Example:
      BROKER_CONSUMER_KEY=ub_… upload-consumer run myapp.processors --broker https://broker.example --concurrency 16
    """
    events = Events(write=_to_stderr, now=_now, format=log_format)
    try:
        key = _key(key_file)
        if not options["broker_url"].startswith(("http://", "https://")):
            raise ConfigurationInvalid("the broker's URL starts with http:// or https://")
        options["has_builtin"] |= options["module"] is None
        settings = Settings(key=key, **options)
        processors = load(settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(work(settings, processors, events))
    except ConfigurationInvalid as exc:
        raise click.ClickException(exc.detail) from exc


def _key(path: Path | None) -> str:
    told = os.environ.pop(KEY_VARIABLE, "")
    key = (path.read_text() if path else told).strip()
    if not key or not key.isascii() or not key.isprintable():
        raise ConfigurationInvalid(f"the key of role consume is missing: set {KEY_VARIABLE} or give --key-file")
    return key


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 – a bare install has none
    except ImportError:
        return None
    return uvloop.new_event_loop


def _now() -> datetime:
    return datetime.now(UTC)


def _to_stderr(line: str) -> None:
    sys.stderr.write(line)
    sys.stderr.flush()


if __name__ == "__main__":
    main()
