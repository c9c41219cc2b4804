"""`uploader put` of one file: a bar for its bytes, one line for its outcome."""

import os
import sys
from datetime import timedelta
from pathlib import Path

import click

from uploader import errors
from uploader.commands.options import uploader_of
from uploader.commands.put_options import Declared, ForOne
from uploader.commands.running import run
from uploader.orders import UploadResult
from uploader.progress import choose_view, ticking
from uploader.report import finished_event, missing_lines, outcome_line
from uploader.resume import Notes, state_directory
from uploader.sdk import DEFAULT_JOBS, MAX_JOBS


def put_file(file: Path, broker: str, key_file: Path | None, declared: Declared, one: ForOne, *, is_json: bool) -> None:
    view = choose_view(is_json=is_json)
    uploader = uploader_of(broker, key_file, None if one.no_resume else _notes())

    async def work() -> UploadResult:
        async with uploader, ticking(view):
            result = await uploader.put(
                file,
                filename=one.filename,
                content_type=declared.content_type,
                destinations=declared.destinations,
                checksum=declared.checksum,
                strategy=declared.strategy,
                jobs=min(declared.jobs or DEFAULT_JOBS, MAX_JOBS),
                metadata=declared.metadata,
                owner=declared.owner,
                batch=declared.batch,
                wait=declared.wait,
                timeout=timedelta(seconds=declared.timeout),
                keep_session=one.keep_session,
                observer=view,
            )
        view.on_event(finished_event(file.name, result))
        return result

    result = run(work(), view, file.name)
    if not is_json:
        for line in missing_lines(result):
            click.echo(f"warning: {file.name}: {line}", err=True)
        click.echo(outcome_line(result))
    if result.missing:
        sys.exit(errors.EXIT_COPY_MISSING)


def _notes() -> Notes | None:
    try:
        return Notes(state_directory(os.environ))
    except RuntimeError:  # a user without a home directory
        return None
