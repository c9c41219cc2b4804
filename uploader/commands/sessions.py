"""`uploader get`."""

from pathlib import Path

import click

from uploader.commands.options import EXIT_CODES, broker_options, checked_id, uploader_of
from uploader.commands.running import run
from uploader.download import DownloadResult
from uploader.progress import choose_view, ticking
from uploader.report import download_line, downloaded_event


@click.command(epilog=EXIT_CODES)
@click.argument("session_id", callback=checked_id)
@broker_options
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="A file, or a directory that is there. The declared file name by default.",
)
@click.option(
    "--destination", metavar="NAME", help="The copy to read. Without it: any that is verified and can be read."
)
@click.option("--replace", is_flag=True, help="Replace a file that is there.")
@click.option("--no-attributes", is_flag=True, help="Leave modification time and permissions as they come here.")
@click.option("--json", "is_json", is_flag=True, help="One JSON event a line on stdout.")
def get(
    session_id: str,
    broker: str,
    key_file: Path | None,
    output: Path | None,
    destination: str | None,
    replace: bool,
    no_attributes: bool,
    is_json: bool,
) -> None:
    """Download what was verified of a session. A broken download is continued.

    \b
    Example:
      uploader get SESSION_ID -o report.csv
    """
    view = choose_view(is_json=is_json)
    uploader = uploader_of(broker, key_file)

    async def work() -> DownloadResult:
        async with uploader, ticking(view):
            return await uploader.get(
                session_id,
                output,
                destination=destination,
                replace=replace,
                attributes=not no_attributes,
                observer=view,
            )

    result = run(work(), view, session_id)
    view.on_event(downloaded_event(result))
    if not is_json:
        click.echo(download_line(result))
