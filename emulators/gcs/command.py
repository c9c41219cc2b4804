"""The command `python -m emulators gcs …`."""

import contextlib
import tempfile
from pathlib import Path

import click
import msgspec

from emulators.gcs.faults import FaultSettings
from emulators.gcs.settings import WEEK_SECONDS, BucketSpec, Grant, Notify, Settings
from emulators.listening import Address, Listening
from emulators.options import data_option, faults_option, launch, listen_option, parsed, process_options


@click.command(name="gcs")
@listen_option("127.0.0.1:9020")
@data_option
@click.option("--iam", required=True, help="The emulator google-iam: whose a token is, which certificates sign.")
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    required=True,
    type=parsed("NAME[@versioned]", BucketSpec.parse),
    help="A bucket to have from the start; @versioned keeps noncurrent generations.",
)
@click.option(
    "--grant",
    "grants",
    multiple=True,
    type=parsed("BUCKET:EMAIL=PERMISSION[,PERMISSION…]", Grant.parse),
    help="What an account may do; whatever is not granted is refused.",
)
@click.option(
    "--notify",
    multiple=True,
    type=parsed("BUCKET=http://HOST/v1/projects/P/topics/T", Notify.parse),
    help="Publish what happens in a bucket to a topic of the emulator pubsub.",
)
@click.option("--pubsub", help="Where topics are reached that a client names in a notification configuration.")
@click.option(
    "--origin",
    "origins",
    multiple=True,
    help="An origin whose pages may use every bucket without CORS configuration of its own.",
)
@click.option("--location", default="US", show_default=True, help="Of every bucket; a signature may name it, or auto.")
@click.option(
    "--lax-resumable-size",
    is_flag=True,
    help="Take bytes beyond X-Upload-Content-Length, and ignore a length range of a signed POST.",
)
@click.option(
    "--hide-missing",
    is_flag=True,
    help="Answer 403 instead of 404 about objects that do not exist to accounts that may not list.",
)
@click.option(
    "--session-seconds", default=WEEK_SECONDS, show_default=True, help="How long a resumable session lives: a week."
)
@faults_option(FaultSettings, '{"seed": 7, "unavailable_after_commit": 0.2}')
@click.option("--fsync", is_flag=True, help="Survive a power cut, not only a killed process.")
@click.option(
    "--idle-timeout", default=60.0, show_default=True, help="Seconds without a byte after which an upload is refused."
)
@process_options
def command(
    listen: Address,
    data: Path | None,
    iam: str,
    buckets: tuple[BucketSpec, ...],
    grants: tuple[Grant, ...],
    notify: tuple[Notify, ...],
    pubsub: str | None,
    origins: tuple[str, ...],
    location: str,
    lax_resumable_size: bool,
    hide_missing: bool,
    session_seconds: int,
    faults: FaultSettings,
    fsync: bool,
    idle_timeout: float,
    exit_with_stdin: bool,
    is_json: bool,
    verbose: bool,
) -> None:
    """A Google Cloud Storage that checks what Google checks, in one process, on one directory.

    \b
    Example:
      python -m emulators gcs --listen 127.0.0.1:9020 --data /tmp/gcs --iam http://127.0.0.1:9010 \\
        --bucket uploads --grant uploads:writer@p.iam.gserviceaccount.com=storage.objects.create \\
        --notify uploads=http://127.0.0.1:8085/v1/projects/p/topics/uploads
      curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:9020/storage/v1/b/uploads/o
    """
    from emulators.gcs.server import listening

    _check(buckets, grants, notify)
    with contextlib.ExitStack() as stack:
        settings = Settings(
            data=data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emulator-gcs-"))),
            iam=iam,
            buckets=buckets,
            grants=grants,
            notify=notify,
            pubsub=pubsub and pubsub.rstrip("/"),
            origins=origins,
            location=location,
            holds_to_declared_size=not lax_resumable_size,
            hides_missing=hide_missing,
            session_seconds=session_seconds,
            is_fsynced=fsync,
            idle_timeout_seconds=idle_timeout,
        )
        launch(
            listening(settings, faults, listen),
            exit_with_stdin=exit_with_stdin,
            verbose=verbose,
            when_ready=lambda where: _announce(where, is_json=is_json),
        )


def _check(buckets: tuple[BucketSpec, ...], grants: tuple[Grant, ...], notify: tuple[Notify, ...]) -> None:
    names = {each.name for each in buckets}
    for named in (*(each.bucket for each in grants), *(each.bucket for each in notify)):
        if named not in names:
            raise click.UsageError(f"{named} is no --bucket.")


def _announce(where: Listening, *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode({"endpoint": where.endpoint}))
    else:
        click.echo(f"Cloud Storage emulator on {where.endpoint}", err=True)
