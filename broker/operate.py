"""What an operator does to the ledger from a shell."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import ANY_DESTINATION, MAX_SESSIONS_PER_SECOND, ApiKey, hash_of, new_key_text
from broker.ledger.redis import RedisLedger
from broker.ports import Usage
from broker.settings import DestinationSettings, GcsDestination, Settings
from broker.wiring import api_keys_of, open_ledger

T = TypeVar("T")


def add_key(settings: Settings, wish: ApiKey) -> str:
    """The new key's text, which nobody can show again.

    :param wish: all of the key but its hash.
    :raises ConfigurationInvalid: the id is unusable or taken, a limit is no limit, or there is no such destination.
    """
    rate = wish.sessions_per_second
    if rate is not None and not 0 < rate <= MAX_SESSIONS_PER_SECOND:
        raise ConfigurationInvalid(f"sessions per second: more than 0 and at most {MAX_SESSIONS_PER_SECOND:,}")
    unknown = set(wish.destinations) - settings.destinations.keys() - {ANY_DESTINATION}
    if unknown:
        raise ConfigurationInvalid(f"there is no destination {min(unknown)!r}")
    if wish.id in settings.keys:
        raise ConfigurationInvalid(f"the key {wish.id!r} stands in the configuration")
    text = new_key_text(wish.id)
    api_key = msgspec.structs.replace(wish, hashes=(hash_of(text),), created_at=datetime.now(UTC))

    async def add(ledger: RedisLedger) -> bool:
        return await ledger.api_keys.add(api_key)

    if not _run(settings, add):
        raise ConfigurationInvalid(f"there is a key {wish.id!r} already: rotate or revoke it")
    return text


def rotate_key(settings: Settings, key_id: str) -> str:
    """:raises ConfigurationInvalid: there is no such key in the ledger."""
    text = new_key_text(key_id)

    async def rotate(ledger: RedisLedger) -> bool:
        api_key = await ledger.api_keys.find(key_id)
        if api_key is not None:
            hashes = (hash_of(text), *api_key.hashes[:1])
            await ledger.api_keys.replace(msgspec.structs.replace(api_key, hashes=hashes))
        return api_key is not None

    if not _run(settings, rotate):
        raise _no_key(key_id)
    return text


def list_keys(settings: Settings) -> Iterator[str]:
    """One line a key: id, roles, destinations, limit, where it stands and how, and what it has pending."""
    configured = api_keys_of(settings.keys)

    async def described(ledger: RedisLedger) -> list[str]:
        lines = []
        for api_key in configured.values():
            standing = await ledger.api_keys.standing(api_key.id)
            place = "configuration, revoked" if standing.is_revoked else "configuration"
            lines.append(_line(api_key, place, await ledger.usage(api_key.id)))
        return lines + [_line(key, "ledger", await ledger.usage(key.id)) for key in await ledger.api_keys.list()]

    yield from _run(settings, described)


def revoke_key(settings: Settings, key_id: str) -> datetime:
    """Until when requests may still work that were signed for this key before: nobody can call them back.

    :raises ConfigurationInvalid: there is no such key, or it is revoked.
    """

    async def revoke(ledger: RedisLedger) -> bool:
        if key_id not in settings.keys and await ledger.api_keys.find(key_id) is None:
            raise ConfigurationInvalid(f"there is no key {key_id!r}, neither in the configuration nor in the ledger")
        return await ledger.api_keys.revoke(key_id)

    if not _run(settings, revoke):
        raise ConfigurationInvalid(f"the key {key_id!r} is revoked already")
    longest = [_works_for(place) for place in settings.destinations.values()]
    return datetime.now(UTC) + max([settings.jobs.read_ttl, *longest])


def _works_for(place: DestinationSettings) -> timedelta:
    """How long what a client was given to send by works at most. A resumable upload is cancelled at its deadline."""
    return place.policy.deadline if isinstance(place, GcsDestination) else place.policy.url_ttl


def restore_key(settings: Settings, key_id: str) -> None:
    """:raises ConfigurationInvalid: the configuration has no such key, or it is not revoked."""
    if key_id not in settings.keys:
        raise ConfigurationInvalid(f"the configuration has no key {key_id!r}; one of the ledger is added anew")
    if not _run(settings, lambda ledger: ledger.api_keys.restore(key_id)):
        raise ConfigurationInvalid(f"the key {key_id!r} is not revoked")


def _line(api_key: ApiKey, place: str, usage: Usage) -> str:
    roles, destinations = ",".join(sorted(api_key.roles)), ",".join(api_key.destinations)
    pending = f"{usage.sessions} pending, {usage.size_bytes} bytes"
    return f"{api_key.id:<24} {roles:<16} {destinations:<24} {_limits(api_key):<20} {place:<24} {pending}"


def _limits(api_key: ApiKey) -> str:
    said = {
        "≤ {} bytes": api_key.max_size_bytes,
        "{:g}/s": api_key.sessions_per_second,
        "≤ {} pending": api_key.max_pending_sessions,
        "≤ {} bytes pending": api_key.max_pending_bytes,
    }
    limits = [text.format(value) for text, value in said.items() if value is not None]
    return ", ".join(limits if api_key.max_size_bytes is not None else ["any size", *limits])


def _no_key(key_id: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(f"there is no key {key_id!r} in the ledger")


def _run(settings: Settings, action: Callable[[RedisLedger], Awaitable[T]]) -> T:
    async def run() -> T:
        async with AsyncExitStack() as stack:
            return await action(await open_ledger(settings.ledger, stack))

    return asyncio.run(run())
