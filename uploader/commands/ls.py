"""`uploader ls`."""

import os
from pathlib import Path

import click

from broker.contract import State, UploadSession
from uploader.attributes import location
from uploader.commands.options import broker_options, uploader_of
from uploader.commands.running import run
from uploader.progress import choose_view
from uploader.remarks import size_text
from uploader.report import status_json
from uploader.tree.words import shown

EXIT_CODES = """\b
Exit codes:
  0    listed, be it nothing
  2    wrong usage
  3    the broker refuses the key
  4    the broker is unreachable
"""


@click.command(epilog=EXIT_CODES)
@broker_options
@click.option("--batch", help="Only what was minted with this label.")
@click.option("--owner", help="Only what was minted with this label.")
@click.option("--state", type=click.Choice([each.value for each in State]), help="Only sessions in this state.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N. All by default.")
@click.option("--json", "is_json", is_flag=True, help="One JSON object a session and line.")
def ls(
    broker: str,
    key_file: Path | None,
    batch: str | None,
    owner: str | None,
    state: str | None,
    limit: int | None,
    is_json: bool,
) -> None:
    """List this key's sessions, newest first: id, state, moment, size, path. Lines come as the broker's pages do.

    \b
    Example:
      uploader ls --batch 2026-11-20 --state rejected
    """
    uploader = uploader_of(broker, key_file)
    show = status_json if is_json else session_line

    async def work() -> None:
        async with uploader:
            wanted = None if state is None else State(state)
            async for session in uploader.sessions(batch=batch, owner=owner, state=wanted, limit=limit):
                click.echo(show(session))

    run(work(), choose_view(is_json=is_json), "ls")


def session_line(session: UploadSession) -> str:
    """For a person; a name holds no letter that a terminal would obey."""
    state = "erased" if session.erased_at else session.state.value
    size = size_text(session.size_bytes)
    return f"{session.id} {state:<10} {session.created_at:%Y-%m-%d %H:%M:%S} {size:>11} {name_of(session)}"


def name_of(session: UploadSession) -> str:
    """Where the file of a tree was, or its declared name."""
    path = location(session.metadata or {})
    return shown(os.fsencode(session.filename) if path is None else path)
