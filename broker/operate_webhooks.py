"""What an operator asks and tells webhooks from a shell."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from broker.clock import SystemClock
from broker.contract import WebhookTest, WebhookTestTarget
from broker.domain.errors import ConfigurationInvalid
from broker.domain.keys import is_session_id
from broker.domain.webhooks import Attempt, Webhook, headers_of, is_delivered
from broker.ledger.redis import RedisLedger
from broker.ports import Answer
from broker.services.retell import Retell, Retold
from broker.services.tell import FanOut
from broker.settings import Settings, WebhookSettings
from broker.wiring import ConfiguredWebhook, open_ledger, webhooks_of

T = TypeVar("T")


def list_webhooks(settings: Settings) -> Iterator[str]:
    """One line a webhook: name, where it leads, what it hears of, how many sessions wait."""
    waiting = _run(settings, lambda ledger: ledger.webhooks.waiting())
    for name, given in sorted(settings.webhooks.items()):
        types = ",".join(sorted(kind.removeprefix("session.") for kind in given.events))
        yield f"{name:<24} {_place(given):<32} {types:<44} {waiting.pop(name, 0)} waiting"
    for name, count in sorted(waiting.items()):
        yield f"{name:<24} not configured: `upload-broker webhooks forget {name}` frees what is kept; {count} waiting"


def log(settings: Settings, name: str, *, session_id: str | None, is_failed: bool, as_json: bool) -> Iterator[str]:
    """One line an attempt, oldest first."""
    for attempt in _run(settings, lambda ledger: ledger.webhooks.attempts(name)):
        if session_id not in {None, attempt.session_id} or (is_failed and attempt.outcome == "delivered"):
            continue
        yield msgspec.json.encode(attempt).decode() if as_json else _line(attempt)


def replay(settings: Settings, name: str, *, session_id: str | None, since: datetime | None, is_failed: bool) -> Retold:
    """:raises ConfigurationInvalid: there is no such webhook, or not one of the three was asked for."""
    if [session_id is not None, since is not None, is_failed].count(True) != 1:
        raise ConfigurationInvalid("say one of --session ID, --since MOMENT and --failed")
    if session_id is not None and not is_session_id(session_id):
        raise ConfigurationInvalid(f"{session_id!r} is no session id")
    webhook = _named(settings, name).webhook

    async def retell(ledger: RedisLedger) -> Retold:
        again = _retell(ledger)
        if session_id is not None:
            return await again.session(webhook, session_id)
        return await again.since(webhook, since) if since is not None else await again.given_up(webhook)

    return _run(settings, retell)


def forget(settings: Settings, name: str) -> None:
    """:raises ConfigurationInvalid: it stands in the configuration still, or nobody ever heard of it."""
    if name in settings.webhooks:
        raise ConfigurationInvalid(f"webhooks.{name} stands in the configuration: it would be heard of again at once")
    if not _run(settings, lambda ledger: ledger.webhooks.forget(name)):
        raise _no_webhook(name)


def test(settings: Settings, name: str) -> str:
    """Sends `webhook.test`, signed as all others, and says what came of it.

    :raises ConfigurationInvalid: there is no such webhook, or it did not answer with a 2xx.
    """
    hook = _named(settings, name)
    answer = asyncio.run(_sent(hook, hook.webhook))
    what = str(answer.status or answer.error)
    if not is_delivered(answer.status):
        raise ConfigurationInvalid(f"webhooks.{name} was not told: {what}")
    return f"{name} answered {what}"


async def _sent(hook: ConfiguredWebhook, webhook: Webhook) -> Answer:
    clock = SystemClock()
    now = clock.now()
    event = WebhookTest(type="webhook.test", timestamp=now, data=WebhookTestTarget(webhook=webhook.name))
    body = msgspec.json.encode(event)
    async with hook.sender(clock) as sender:
        return await sender.post(body, headers_of(webhook.keys, f"test_{secrets.token_hex(12)}", body, now))


def _retell(ledger: RedisLedger) -> Retell:
    clock = SystemClock()
    fan_out = FanOut(events=ledger, sessions=ledger, outbox=ledger.webhooks, clock=clock)
    return Retell(events=ledger, log=ledger.webhooks, fan_out=fan_out, clock=clock, shards=ledger.shards)


def _named(settings: Settings, name: str) -> ConfiguredWebhook:
    found = next((hook for hook in webhooks_of(settings) if hook.webhook.name == name), None)
    if found is None:
        raise _no_webhook(name)
    return found


def _no_webhook(name: str) -> ConfigurationInvalid:
    return ConfigurationInvalid(f"there is no webhook {name!r}")


def _place(given: WebhookSettings) -> str:
    """Without path and query, which may be secret."""
    if not isinstance(given.url, str):
        return "(a secret)"
    parts = urlsplit(given.url)
    return f"{parts.scheme}://{parts.hostname}" + (f":{parts.port}" if parts.port else "")


def _line(attempt: Attempt) -> str:
    at = attempt.at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    answer = attempt.status if attempt.status is not None else attempt.error
    what = f"{attempt.type:<18} {attempt.session_id} {attempt.attempt:>3} {attempt.outcome:<10}"
    return f"{at}Z {what} {answer} {attempt.duration_ms} ms"


def _run(settings: Settings, action: Callable[[RedisLedger], Awaitable[T]]) -> T:
    async def run() -> T:
        async with AsyncExitStack() as stack:
            return await action(await open_ledger(settings.ledger, stack))

    return asyncio.run(run())
