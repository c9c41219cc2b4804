"""The command `python -m emulators s3 …`."""

import contextlib
import tempfile
from pathlib import Path

import click
import msgspec

from emulators.listening import Address, Listening
from emulators.options import data_option, faults_option, launch, listen_option, parsed, process_options
from emulators.s3.errors import S3Error
from emulators.s3.faults import FaultSettings
from emulators.s3.server import listening
from emulators.s3.settings import DEFAULT_REGION, DEV_ACCOUNTS, DEV_BUCKETS, Account, BucketSpec, Notify, Settings


@click.command(name="s3")
@listen_option("127.0.0.1:9000")
@data_option
@click.option(
    "--account",
    "accounts",
    multiple=True,
    envvar="EMULATOR_ACCOUNTS",
    show_envvar=True,
    type=parsed("NAME:ACCESS_KEY:SECRET[:SESSION_TOKEN]", Account.parse),
    help="A credential; repeat for more, or separate by spaces in the environment. Default: dev and other, for "
    "development only.",
)
@click.option(
    "--bucket",
    "buckets",
    multiple=True,
    type=parsed("NAME[@ACCOUNT]", BucketSpec.parse),
    help="A bucket to have from the start; belongs to the first account unless said.",
)
@click.option(
    "--notify",
    multiple=True,
    type=parsed("BUCKET=URL", Notify.parse),
    help="Where the events of a bucket are POSTed; the URL may carry a token.",
)
@click.option(
    "--notify-bearer", envvar="EMULATOR_NOTIFY_BEARER", help="Sent as Authorization: Bearer with every event."
)
@click.option(
    "--test-event/--no-test-event", default=True, show_default=True, help="Send s3:TestEvent first, as S3 does."
)
@click.option(
    "--cors-origin",
    "cors_origins",
    multiple=True,
    help="An origin whose pages may use every bucket without CORS rules of its own; * for all.",
)
@click.option(
    "--region",
    default=DEFAULT_REGION,
    show_default=True,
    help="The only region in a signature's scope that is accepted.",
)
@click.option(
    "--domain",
    "domains",
    multiple=True,
    default=("s3.localhost", "localhost"),
    show_default=True,
    help="BUCKET.DOMAIN is virtual-host style.",
)
@click.option(
    "--accept-unsigned-headers",
    is_flag=True,
    help="Accept unsigned x-amz-* headers and ACLs, as Ceph does: to test guards against such stores.",
)
@faults_option(FaultSettings, '{"seed": 7, "events_lost": 0.2}')
@click.option("--fsync", is_flag=True, help="Survive a power cut, not only a killed process.")
@click.option(
    "--idle-timeout", default=60.0, show_default=True, help="Seconds without a byte after which an upload is refused."
)
@process_options
def command(
    listen: Address,
    data: Path | None,
    accounts: tuple[Account, ...],
    buckets: tuple[BucketSpec, ...],
    notify: tuple[Notify, ...],
    notify_bearer: str | None,
    test_event: bool,
    cors_origins: tuple[str, ...],
    region: str,
    domains: tuple[str, ...],
    accept_unsigned_headers: bool,
    faults: FaultSettings,
    fsync: bool,
    idle_timeout: float,
    exit_with_stdin: bool,
    is_json: bool,
    verbose: bool,
) -> None:
    """An S3 that checks what S3 checks, in one process, on one directory.

    \b
    Example:
      python -m emulators s3 --listen 127.0.0.1:9000 --data /tmp/s3 \\
        --account app:APPKEY:app-secret --account reader:READKEY:read-secret \\
        --bucket uploads@app --notify uploads=http://127.0.0.1:8080/notifications/s3?token=T
      AWS_ACCESS_KEY_ID=APPKEY AWS_SECRET_ACCESS_KEY=app-secret AWS_DEFAULT_REGION=us-east-1 \\
        aws --endpoint-url http://127.0.0.1:9000 s3 cp FILE s3://uploads/
    """
    with contextlib.ExitStack() as stack:
        settings = Settings(
            data=data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emulator-s3-"))),
            accounts=accounts or DEV_ACCOUNTS,
            buckets=buckets or DEV_BUCKETS,
            region=region,
            domains=domains,
            notify=notify,
            notify_bearer=notify_bearer,
            sends_test_event=test_event,
            cors_origins=cors_origins,
            accepts_unsigned_headers=accept_unsigned_headers,
            is_fsynced=fsync,
            idle_timeout_seconds=idle_timeout,
        )
        _check(settings)
        try:
            launch(
                listening(settings, faults, listen),
                exit_with_stdin=exit_with_stdin,
                verbose=verbose,
                when_ready=lambda where: _announce(settings, where, is_json=is_json),
            )
        except S3Error as exc:
            raise click.ClickException(exc.message) from exc


def _check(settings: Settings) -> None:
    names = {account.name for account in settings.accounts}
    keys = [account.access_key for account in settings.accounts]
    if len(set(keys)) != len(keys):
        raise click.UsageError("Two accounts have the same access key.")
    for bucket in settings.buckets:
        if bucket.owner is not None and bucket.owner not in names:
            raise click.UsageError(f"Bucket {bucket.name} belongs to {bucket.owner}, which is no --account.")


def _announce(settings: Settings, where: Listening, *, is_json: bool) -> None:
    if not is_json:
        click.echo(f"S3 emulator on {where.endpoint}, access key {settings.accounts[0].access_key}", err=True)
        return
    accounts = [
        {"name": each.name, "access_key": each.access_key, "secret_key": each.secret_key}
        | ({"session_token": each.session_token} if each.session_token else {})
        for each in settings.accounts
    ]
    line = {
        "endpoint": where.endpoint,
        "region": settings.region,
        "accounts": accounts,
        "buckets": [each.name for each in settings.buckets],
    }
    click.echo(msgspec.json.encode(line))
