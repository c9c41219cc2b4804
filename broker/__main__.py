"""The command `upload-broker`."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
import msgspec

from broker import __version__, logs
from broker.domain.errors import BrokerError
from broker.domain.principals import ANY_DESTINATION, ApiKey, Role, hash_of
from broker.settings import Settings, load, parse_duration, parse_moment

CONFIG = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="BROKER_CONFIG",
    help="Configuration file [default: broker.toml, if there is one].",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON line on stdout when ready; logs to stderr.")
DESTINATIONS = click.argument("destinations", nargs=-1, metavar="[DESTINATION]...")
REPORT = click.option("--json", "as_json", is_flag=True, help="Print each report as one JSON line; logs to stderr.")

HEALTH_PORT = click.option(
    "--health-port",
    type=click.IntRange(0, 65_535),
    help="Answer /healthz, /readyz and /metrics here [default: nowhere].",
)


def main() -> None:
    """One sentence instead of a traceback for what an operator can mend; exit code 2."""
    try:
        _cli(standalone_mode=True)
    except BrokerError as exc:
        click.echo(f"upload-broker: {exc.detail}", err=True)
        sys.exit(2)
    except ModuleNotFoundError as exc:
        if exc.name is None or exc.name.partition(".")[0] == __package__:
            raise
        click.echo(f"upload-broker: {exc.name} is not installed; the server needs upload-broker[server]", err=True)
        sys.exit(2)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="upload-broker")
def _cli() -> None:
    """Presigned-URL direct-to-bucket upload broker.

    Example: upload-broker serve --config broker.toml
    """


def _with_settings(path: Path | None, **server: object) -> Settings:
    """Flags over environment over file."""
    settings = load(path, os.environ)
    given = {name: value for name, value in server.items() if value is not None}
    settings = msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **given))
    logs.configure(settings.server.log_level)
    return settings


@_cli.command()
@CONFIG
@JSON
@click.option("--host", help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), help="Port to listen on; 0 picks a free one.")
@click.option("--no-look", is_flag=True, help="Serve the API only; `upload-broker look` runs elsewhere.")
@click.option("--no-relay", is_flag=True, help="Tell no webhooks; another process does.")
def serve(
    config: Path | None, host: str | None, port: int | None, no_look: bool, no_relay: bool, as_json: bool
) -> None:
    """Serve the API, look at what arrives, and tell webhooks.

    Example: upload-broker serve --config broker.toml --port 8080
    """
    from broker import serve as running  # noqa: PLC0415 - other commands start faster without the server

    settings = _with_settings(config, host=host, port=port)
    running.serve(settings, is_looking=not no_look, is_relaying=not no_relay, is_announcing=as_json)


@_cli.command()
@CONFIG
@JSON
@click.option("--host", help="Address to listen on, with --health-port.")
@HEALTH_PORT
def look(config: Path | None, host: str | None, health_port: int | None, as_json: bool) -> None:
    """Look at what arrives and tell webhooks, without the API. Any number may run.

    Example: upload-broker look --config broker.toml --health-port 8081
    """
    from broker import serve as running  # noqa: PLC0415

    running.look(_with_settings(config, host=host, health_port=health_port), is_announcing=as_json)


@_cli.command()
@CONFIG
@DESTINATIONS
@click.option("--delete", "is_deleting", is_flag=True, help="Do it; without, nothing is changed anywhere.")
@click.option("--every", help='Sweep again and again, so often: "30m", "1h", "1d".')
@click.option(
    "--max-percent",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    help="More than this of all objects, or of their bytes, is never removed in a pass.",
)
@click.option(
    "--alive-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Touched after each pass that left nothing undone, so that a health check can look at its age.",
)
@REPORT
def sweep(
    config: Path | None,
    destinations: tuple[str, ...],
    is_deleting: bool,
    every: str | None,
    max_percent: float,
    alive_file: Path | None,
    as_json: bool,
) -> None:
    """Compare destinations (default: all) with the ledger, and report in objects and bytes.

    With --delete: adopts uploads that the ledger lost, takes late ones whose event was lost, removes objects of
    sessions that were rejected, aborted or given up, and aborts their unfinished multipart uploads. An object that is
    merely unknown is never removed. Any number may run at once.

    \b
    Exit codes: 0 all was asked; 1 the store or the ledger did not answer for some, sweep again;
    2 refused, for instance because this is not the ledger that knows the store; 3 stopped by --max-percent.

    Example: upload-broker sweep default --delete --every 1h
    """
    from broker import upkeep  # noqa: PLC0415

    sys.exit(
        upkeep.sweep(
            _with_settings(config),
            destinations,
            is_deleting=is_deleting,
            every=None if every is None else parse_duration(every, "--every"),
            at_most=max_percent / 100,
            as_json=as_json,
            alive_file=alive_file,
        )
    )


@_cli.command()
@CONFIG
@DESTINATIONS
@click.option(
    "--created-after",
    metavar="MOMENT",
    help='Do not process again what was minted up to then, such as "2026-11-20T12:00Z" [default: adopt all that may '
    "still have had a record].",
)
@click.option("--take-over", "is_taking_over", is_flag=True, help="This empty Redis becomes the ledger of the store.")
@REPORT
def recover(
    config: Path | None, destinations: tuple[str, ...], created_after: str | None, is_taking_over: bool, as_json: bool
) -> None:
    """After Redis was lost or restored: bring back every session that its object still tells of.

    Lists destinations (default: all) and adopts what the ledger does not know; `serve` or `look` then verifies it, and
    its job is done, perhaps again. Deletes nothing, and may be run as often as you like.

    \b
    Exit codes: 0 all was asked; 1 the store or the ledger did not answer for some, run it again;
    2 refused, for instance because this is not the ledger that knows the store.

    Example: upload-broker recover --take-over --created-after 2026-11-20T12:00Z
    """
    from broker import upkeep  # noqa: PLC0415

    sys.exit(
        upkeep.recover(
            _with_settings(config),
            destinations,
            created_after=None if created_after is None else parse_moment(created_after, "--created-after"),
            is_taking_over=is_taking_over,
            as_json=as_json,
        )
    )


@_cli.command()
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), default=Path(".dev"), show_default=True)
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True)
@click.option("--store-port", type=click.IntRange(0, 65_535), default=9000, show_default=True)
@click.option("--no-consumer", is_flag=True, help="Do not start the built-in consumer.")
@JSON
def dev(data: Path, port: int, store_port: int, no_consumer: bool, as_json: bool) -> None:
    """Everything on this machine, without any cloud: private Redis, strict S3 emulator, broker, consumer.

    Example: upload-broker dev --port 0 --store-port 0 --json
    """
    from broker.dev.run import run_dev  # noqa: PLC0415
    from broker.dev.stack import StackOptions  # noqa: PLC0415

    consumers = 0 if no_consumer else 1
    run_dev(StackOptions(directory=data, port=port, store_port=store_port, consumers=consumers), as_json=as_json)


@_cli.command()
@click.option("--size", default="64MiB", show_default=True, help="Size of the sample file, such as 1GiB.")
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Upload this file instead.")
def demo(size: str, file: Path | None) -> None:
    """Upload a real file through everything, and show what makes the loop trustworthy.

    Example: upload-broker demo --size 1GiB
    """
    from broker.dev.demo import run_demo  # noqa: PLC0415

    sys.exit(run_demo(size=size, file=file))


@_cli.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 when the file is stale.")
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("openapi/openapi.json"))
def openapi(check: bool, output: Path) -> None:
    """Write the OpenAPI document.

    Example: upload-broker openapi --check
    """
    from broker.api.openapi import openapi_document  # noqa: PLC0415

    document = openapi_document()
    if check:
        if not output.exists() or output.read_bytes() != document:
            raise click.ClickException(f"{output} is stale: run `upload-broker openapi`")
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(document)


@_cli.command()
@CONFIG
@click.argument("destination", required=False)
@click.option("--print-policies", is_flag=True, required=True, help="Print what each credential must be allowed.")
def check(config: Path | None, destination: str | None, print_policies: bool) -> None:  # noqa: ARG001
    """Print the minimal policy of each credential of a destination, and the CORS rules of its bucket, as JSON.

    Example: upload-broker check default --print-policies
    """
    from broker import operate  # noqa: PLC0415

    click.echo(operate.policies(_with_settings(config), destination))


@_cli.group()
def keys() -> None:
    """API keys: those kept in the ledger, and the revocation of any."""


@keys.command("add")
@CONFIG
@click.argument("key_id")
@click.option("--role", "roles", multiple=True, required=True, type=click.Choice([role.value for role in Role]))
@click.option("--destination", "destinations", multiple=True, help="May be repeated [default: any].")
@click.option("--max-size-bytes", type=click.IntRange(0), help="Largest object that this key may upload.")
@click.option("--sessions-per-second", type=float, help="How often it may mint.")
@click.option("--burst", type=click.IntRange(1), help="How often at once [default: what a second gives].")
@click.option("--max-pending-sessions", type=click.IntRange(0), help="How many it may have pending at once.")
@click.option("--max-pending-bytes", type=click.IntRange(0), help="How many bytes it may have pending at once.")
def keys_add(
    config: Path | None,
    key_id: str,
    roles: tuple[str, ...],
    destinations: tuple[str, ...],
    max_size_bytes: int | None,
    sessions_per_second: float | None,
    burst: int | None,
    max_pending_sessions: int | None,
    max_pending_bytes: int | None,
) -> None:
    """Make a key and print it, once.

    Example: upload-broker keys add app --role mint --destination default --sessions-per-second 50
    """
    from broker import operate  # noqa: PLC0415

    wish = ApiKey(
        id=key_id,
        hashes=(),
        roles=frozenset(Role(role) for role in roles),
        destinations=destinations or (ANY_DESTINATION,),
        max_size_bytes=max_size_bytes,
        sessions_per_second=sessions_per_second,
        burst=burst,
        max_pending_sessions=max_pending_sessions,
        max_pending_bytes=max_pending_bytes,
    )
    click.echo(operate.add_key(_with_settings(config), wish))


@keys.command("rotate")
@CONFIG
@click.argument("key_id")
def keys_rotate(config: Path | None, key_id: str) -> None:
    """Print a second text for the same key; the newest two work.

    Example: upload-broker keys rotate app
    """
    from broker import operate  # noqa: PLC0415

    click.echo(operate.rotate_key(_with_settings(config), key_id))


@keys.command("list")
@CONFIG
def keys_list(config: Path | None) -> None:
    """List keys with their roles and limits; their texts are known to nobody.

    Example: upload-broker keys list
    """
    from broker import operate  # noqa: PLC0415

    for line in operate.list_keys(_with_settings(config)):
        click.echo(line)


@keys.command("revoke")
@CONFIG
@click.argument("key_id")
def keys_revoke(config: Path | None, key_id: str) -> None:
    """Void a key at once, wherever it is kept, with the tokens of every session that it minted.

    Example: upload-broker keys revoke app
    """
    from broker import operate  # noqa: PLC0415

    until = operate.revoke_key(_with_settings(config), key_id)
    click.echo(f"{key_id} is revoked. Requests that were signed before may work until {until:%Y-%m-%d %H:%M:%S} UTC.")


@keys.command("restore")
@CONFIG
@click.argument("key_id")
def keys_restore(config: Path | None, key_id: str) -> None:
    """Let a revoked key of the configuration work again; what it minted before stays void.

    Example: upload-broker keys restore app
    """
    from broker import operate  # noqa: PLC0415

    operate.restore_key(_with_settings(config), key_id)


@_cli.group()
def jobs() -> None:
    """Failed jobs: list them, give them another chance."""


@jobs.command("dead")
@CONFIG
@click.option("--destination", help="Only of this destination [default: all].")
@click.option("--limit", type=click.IntRange(1), help="Stop after so many.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def jobs_dead(config: Path | None, destination: str | None, limit: int | None, as_json: bool) -> None:
    """List failed jobs, the latest first: id, when, why, how often tried, destination, file name.

    Goes through all sessions, a thousand at a time, so that nobody waits for it.

    Example: upload-broker jobs dead --destination default
    """
    from broker import operate_jobs  # noqa: PLC0415

    for job in operate_jobs.dead_jobs(_with_settings(config), destination, limit):
        click.echo(operate_jobs.as_json(job) if as_json else job.line())


@jobs.command("retry")
@CONFIG
@click.argument("ids", nargs=-1, metavar="[ID]…")
@click.option("--all", "is_all", is_flag=True, help="Every failed job.")
@click.option("--destination", help="With --all: only of this destination.")
@click.option("--reason", help="With --all: only those that failed with this code.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")
def jobs_retry(
    config: Path | None, ids: tuple[str, ...], is_all: bool, destination: str | None, reason: str | None, dry_run: bool
) -> None:
    """Make failed jobs visible to consumers again, their failures forgotten.

    Refused where the object was erased, is gone or is not the one that was verified. Exit code 1 if one of the named
    was refused.

    Example: upload-broker jobs retry --all --reason parse-error --dry-run
    """
    from broker import operate_jobs  # noqa: PLC0415

    if is_all == bool(ids):
        raise click.UsageError("name the jobs, or say --all")
    if not is_all and (destination or reason):
        raise click.UsageError("--destination and --reason choose among --all")
    settings = _with_settings(config)
    if is_all:
        done = operate_jobs.retry_all(settings, destination, reason, is_dry=dry_run)
    else:
        done = operate_jobs.retry_jobs(settings, ids, is_dry=dry_run)
    for job in done:
        happened = "would be retried" if dry_run else "retried"
        click.echo(f"{job.id}  {happened if job.refusal is None else f'not retried: {job.refusal}'}")
    if ids and any(job.refusal for job in done):
        sys.exit(1)


@_cli.group()
def webhooks() -> None:
    """Who is told what becomes of sessions."""


@webhooks.command("list")
@CONFIG
def webhooks_list(config: Path | None) -> None:
    """List webhooks, and of how many sessions each must still be told.

    Example: upload-broker webhooks list
    """
    from broker import operate_webhooks  # noqa: PLC0415

    for line in operate_webhooks.list_webhooks(_with_settings(config)):
        click.echo(line)


@webhooks.command("log")
@CONFIG
@click.argument("name")
@click.option("--session", "session_id", help="Only attempts about this session.")
@click.option("--failed", "is_failed", is_flag=True, help="Only attempts that delivered nothing.")
@click.option("--json", "as_json", is_flag=True, help="One JSON document a line.")
def webhooks_log(config: Path | None, name: str, session_id: str | None, is_failed: bool, as_json: bool) -> None:
    """Print the last ten thousand attempts to tell a webhook, oldest first.

    Example: upload-broker webhooks log crm --failed
    """
    from broker import operate_webhooks  # noqa: PLC0415

    settings = _with_settings(config)
    for line in operate_webhooks.log(settings, name, session_id=session_id, is_failed=is_failed, as_json=as_json):
        click.echo(line)


@webhooks.command("replay")
@CONFIG
@click.argument("name")
@click.option("--session", "session_id", help="All events of this session.")
@click.option("--since", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%d"]), help="All since, a week at most.")
@click.option("--failed", "is_failed", is_flag=True, help="What was given up.")
def webhooks_replay(
    config: Path | None, name: str, session_id: str | None, since: datetime | None, is_failed: bool
) -> None:
    """Have a webhook told again; events keep the id that they had.

    Example: upload-broker webhooks replay crm --since 2026-11-20T12:00:00Z
    """
    from broker import operate_webhooks  # noqa: PLC0415

    moment = since.replace(tzinfo=since.tzinfo or UTC) if since else None
    told = operate_webhooks.replay(
        _with_settings(config), name, session_id=session_id, since=moment, is_failed=is_failed
    )
    click.echo(f"{told.events} events will be told, {told.waiting} of them were waiting")


@webhooks.command("test")
@CONFIG
@click.argument("name")
def webhooks_test(config: Path | None, name: str) -> None:
    """Send a signed `webhook.test` from here, and say what came of it.

    Example: upload-broker webhooks test crm
    """
    from broker import operate_webhooks  # noqa: PLC0415

    click.echo(operate_webhooks.test(_with_settings(config), name))


@webhooks.command("forget")
@CONFIG
@click.argument("name")
def webhooks_forget(config: Path | None, name: str) -> None:
    """Drop what the ledger keeps for a webhook that was removed from the configuration.

    Example: upload-broker webhooks forget crm
    """
    from broker import operate_webhooks  # noqa: PLC0415

    operate_webhooks.forget(_with_settings(config), name)


@_cli.command("hash")
def hash_key() -> None:
    """Read a key's text from stdin and print what `hash` in broker.toml takes.

    Example: printf %s "$KEY" | upload-broker hash
    """
    click.echo(hash_of(sys.stdin.read().strip()))


if __name__ == "__main__":
    main()
