"""`python -m emulators pubsub …`"""

import click
import msgspec

from emulators.google import GoogleError
from emulators.listening import Address, Listening
from emulators.options import faults_option, launch, listen_option, parsed, process_options
from emulators.pubsub.faults import FaultSettings
from emulators.pubsub.server import listening
from emulators.pubsub.settings import Settings, SubscriptionSpec, topic_name


@click.command(name="pubsub")
@listen_option("127.0.0.1:8085")
@click.option(
    "--iam", help="The emulated IAM: whose tokens are good, and who makes those of pushes. Without it all may do all."
)
@click.option(
    "--topic",
    "topics",
    multiple=True,
    type=parsed("projects/PROJECT/topics/NAME", topic_name),
    help="A topic to have from the start.",
)
@click.option(
    "--subscription",
    "subscriptions",
    multiple=True,
    type=parsed(
        "NAME=TOPIC[,push=URL[,audience=A][,email=E]][,dead=TOPIC[,attempts=N]][,consumer=EMAIL]",
        SubscriptionSpec.parse,
    ),
    help="A subscription to have from the start; with push= it calls, with an ID token of the e-mail address.",
)
@click.option(
    "--ack-seconds",
    type=click.FloatRange(0, 600, min_open=True),
    default=10.0,
    show_default=True,
    help="How long a message is lent; Pub/Sub's least is 10.",
)
@click.option(
    "--wait-seconds",
    type=click.FloatRange(0, 600),
    default=90.0,
    show_default=True,
    help="How long a pull waits for a message.",
)
@faults_option(FaultSettings, '{"seed": 7, "events_doubled": 0.2}')
@process_options
def command(
    listen: Address,
    iam: str | None,
    topics: tuple[str, ...],
    subscriptions: tuple[SubscriptionSpec, ...],
    ack_seconds: float,
    wait_seconds: float,
    faults: FaultSettings,
    exit_with_stdin: bool,
    is_json: bool,
    verbose: bool,
) -> None:
    """A Pub/Sub with pull and push over REST, in one process, in memory.

    \b
    Example:
      python -m emulators pubsub --listen 127.0.0.1:8085 --iam http://127.0.0.1:9011 \\
        --topic projects/p/topics/uploads --subscription \\
        projects/p/subscriptions/push=projects/p/topics/uploads,push=http://127.0.0.1:8080/notifications/gcs,email=E
    """
    settings = Settings(
        topics=topics,
        subscriptions=subscriptions,
        iam=iam.rstrip("/") if iam else None,
        ack_seconds=ack_seconds,
        wait_seconds=wait_seconds,
    )
    try:
        launch(
            listening(settings, faults, listen),
            exit_with_stdin=exit_with_stdin,
            verbose=verbose,
            when_ready=lambda where: _announce(where, is_json=is_json),
        )
    except GoogleError as exc:
        raise click.ClickException(exc.message) from exc


def _announce(where: Listening, *, is_json: bool) -> None:
    if is_json:
        click.echo(msgspec.json.encode({"endpoint": where.endpoint}))
    else:
        click.echo(f"Pub/Sub emulator on {where.endpoint}", err=True)
