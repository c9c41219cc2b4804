"""The `uploader` command."""

from pathlib import Path

import click

from uploader.commands.exit_codes import EXIT_CODES
from uploader.commands.group import Commands, configure


class Uploader(Commands):
    places = {  # noqa: RUF012 - a table
        "put": "uploader.commands.put:put",
        "get": "uploader.commands.get:get",
        "ls": "uploader.commands.ls:ls",
        "rm": "uploader.commands.rm:rm",
        "status": "uploader.commands.status:status",
        "failures": "uploader.commands.batch:failures",
        "retry": "uploader.commands.batch:retry",
        "export": "uploader.commands.batch:export",
        "config": "uploader.commands.config:config",
        "sample": "uploader.commands.sample:sample",
    }


@click.group(
    cls=Uploader,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "UPLOADER"},
)
@click.option(
    "--config",
    "path",
    envvar="UPLOADER_CONFIG",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="Instead of upload-broker/uploader.toml under $XDG_CONFIG_HOME (by default ~/.config).",
)
@click.option("--profile", metavar="NAME", help="Whose table [profiles.NAME] of that file counts.")
@click.version_option(package_name="upload-broker")
@click.pass_context
def main(context: click.Context, path: Path | None, profile: str | None) -> None:
    """Upload files straight into a bucket, through an upload broker.

    All it knows is the broker's URL (BROKER_URL) and a key (BROKER_API_KEY, or --key-file); both may stand in a
    configuration file. Every option of a command has an environment variable: UPLOADER_PUT_JOBS is put --jobs.

    \b
    Example:
      export BROKER_URL=http://127.0.0.1:8000 BROKER_API_KEY=ub_…
      uploader put report.csv --wait processed
      uploader put photos --batch 2026-11-20
    """
    is_asked = context.get_parameter_source("profile") is click.core.ParameterSource.COMMANDLINE
    configure(context, path, profile, is_asked=is_asked)


if __name__ == "__main__":
    main()
