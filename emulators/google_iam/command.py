"""The command `python -m emulators google-iam …`."""

import contextlib
import tempfile
from pathlib import Path

import click
import msgspec

from emulators.google_iam.faults import FaultSettings
from emulators.google_iam.ready import Ready
from emulators.google_iam.settings import Grant, Settings, email
from emulators.listening import Address
from emulators.options import data_option, faults_option, launch, listen_option, parsed, process_options

DEV_ACCOUNT = "dev@emulated.iam.gserviceaccount.com"


@click.command(name="google-iam")
@listen_option("127.0.0.1:9010")
@data_option
@click.option(
    "--account",
    "accounts",
    multiple=True,
    type=parsed("a service account's address", email),
    help=f"A service account with a key file; the first is the metadata server's. Default: {DEV_ACCOUNT}. "
    "Accounts that grants name exist as well, without a key file.",
)
@click.option(
    "--impersonate",
    multiple=True,
    type=parsed("SOURCE=TARGET", Grant.parse),
    help="Let SOURCE (a service account, or `workload`) make tokens and signatures of TARGET, and delegate to it: "
    "roles/iam.serviceAccountTokenCreator.",
)
@click.option(
    "--delegate",
    multiple=True,
    type=parsed("SOURCE=TARGET", Grant.parse),
    help="Let TARGET follow SOURCE in a chain of delegates, and no more: iam.serviceAccounts.implicitDelegation.",
)
@click.option(
    "--metadata-account",
    type=parsed("a service account's address", email),
    help="Whom the metadata server speaks for. Default: the first --account.",
)
@click.option(
    "--latency-ms", type=click.IntRange(0), default=0, show_default=True, help="What every token and signature takes."
)
@click.option(
    "--token-seconds",
    type=click.IntRange(1, 3600),
    default=3600,
    show_default=True,
    help="No access token lives longer.",
)
@click.option(
    "--certificates-max-age",
    type=click.IntRange(0),
    default=3600,
    show_default=True,
    help="Seconds that Cache-Control promises for certificates.",
)
@faults_option(FaultSettings, '{"seed": 7, "exhausted": 0.2}')
@process_options
def command(
    listen: Address,
    data: Path | None,
    accounts: tuple[str, ...],
    impersonate: tuple[Grant, ...],
    delegate: tuple[Grant, ...],
    metadata_account: str | None,
    latency_ms: int,
    token_seconds: int,
    certificates_max_age: int,
    faults: FaultSettings,
    exit_with_stdin: bool,
    is_json: bool,
    verbose: bool,
) -> None:
    """Google's OAuth, IAM Credentials, STS and metadata server, checking what they check.

    \b
    Example:
      python -m emulators google-iam --listen 127.0.0.1:9010 --data /tmp/iam \\
        --account broker@p.iam.gserviceaccount.com \\
        --impersonate broker@p.iam.gserviceaccount.com=writer@p.iam.gserviceaccount.com
      GOOGLE_APPLICATION_CREDENTIALS=/tmp/iam/files/broker@p.iam.gserviceaccount.com.json …
    """
    from emulators.google_iam.server import listening

    with contextlib.ExitStack() as stack:
        settings = Settings(
            data=data or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="emulator-google-iam-"))),
            accounts=accounts or (DEV_ACCOUNT,),
            creators=frozenset(impersonate),
            delegators=frozenset(delegate),
            metadata_account=metadata_account or (accounts or (DEV_ACCOUNT,))[0],
            latency_seconds=latency_ms / 1000,
            token_seconds=token_seconds,
            certificates_max_age_seconds=certificates_max_age,
        )
        launch(
            listening(settings, faults, listen),
            exit_with_stdin=exit_with_stdin,
            verbose=verbose,
            when_ready=lambda ready: _announce(ready, is_json=is_json),
        )


def _announce(ready: Ready, *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode(ready))
    else:
        files = ", ".join(ready.key_files.values())
        click.echo(f"Google IAM emulator on {ready.endpoint}, key files {files}", err=True)
