"""`keys`: who may ask."""

from pathlib import Path

import click

from broker.commands.options import CONFIG, with_settings
from broker.domain.principals import ANY_DESTINATION, ApiKey, Role


@click.group()
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
    from broker import operate

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
    click.echo(operate.add_key(with_settings(config), wish))


@keys.command("rotate")
@CONFIG
@click.argument("key_id")
def keys_rotate(config: Path | None, key_id: str) -> None:
    """Print a second text for the same key; the newest two work.

    Example: upload-broker keys rotate app
    """
    from broker import operate

    click.echo(operate.rotate_key(with_settings(config), key_id))


@keys.command("list")
@CONFIG
def keys_list(config: Path | None) -> None:
    """List keys with their roles and limits; their texts are known to nobody.

    Example: upload-broker keys list
    """
    from broker import operate

    for line in operate.list_keys(with_settings(config)):
        click.echo(line)


@keys.command("revoke")
@CONFIG
@click.argument("key_id")
def keys_revoke(config: Path | None, key_id: str) -> None:
    """Void a key at once, wherever it is kept, with the tokens of every session that it minted.

    Example: upload-broker keys revoke app
    """
    from broker import operate

    until = operate.revoke_key(with_settings(config), key_id)
    click.echo(f"{key_id} is revoked. Requests that were signed before may work until {until:%Y-%m-%d %H:%M:%S} UTC.")


@keys.command("restore")
@CONFIG
@click.argument("key_id")
def keys_restore(config: Path | None, key_id: str) -> None:
    """Let a revoked key of the configuration work again; what it minted before stays void.

    Example: upload-broker keys restore app
    """
    from broker import operate

    operate.restore_key(with_settings(config), key_id)
