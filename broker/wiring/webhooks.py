"""Webhooks: what the configuration says of each, and who tells it."""

from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from broker.domain.errors import ConfigurationInvalid
from broker.domain.webhooks import Webhook, key_in
from broker.ledger.redis import RedisLedger
from broker.outbound.http import HttpSender, check_url, open_sender
from broker.ports import Clock, Deliveries
from broker.services.tell import FanOut, Tell
from broker.settings import Settings, WebhookSettings
from broker.workers.bells import Chime, LocalBell
from broker.workers.relay import Teller


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfiguredWebhook:
    webhook: Webhook
    settings: WebhookSettings
    url: str

    def __repr__(self) -> str:
        return f"ConfiguredWebhook(webhook={self.webhook!r})"

    def sender(self, clock: Clock) -> AbstractAsyncContextManager[HttpSender]:
        given = self.settings
        return open_sender(
            self.url,
            allow_private=given.allow_private,
            timeout=given.timeout,
            connections=given.max_in_flight,
            clock=clock,
        )


def webhooks_of(settings: Settings) -> list[ConfiguredWebhook]:
    """:raises ConfigurationInvalid: a secret that is none, or a URL that must not be called."""
    return [_webhook(name, given) for name, given in settings.webhooks.items()]


def _webhook(name: str, given: WebhookSettings) -> ConfiguredWebhook:
    try:
        keys = tuple(key_in(secret.reveal()) for secret in given.secrets)
        url = given.url if isinstance(given.url, str) else given.url.reveal()
        check_url(url, allow_private=given.allow_private)
    except ConfigurationInvalid as exc:
        raise ConfigurationInvalid(f"webhooks.{name}: {exc.detail}") from None
    webhook = Webhook(
        name=name,
        keys=keys,
        types=given.events,
        destinations=given.destinations,
        principals=given.keys,
    )
    return ConfiguredWebhook(webhook=webhook, settings=given, url=url)


async def open_teller(
    hook: ConfiguredWebhook,
    ledger: RedisLedger,
    deliveries: Deliveries,
    clock: Clock,
    news: Chime,
    stack: AsyncExitStack,
) -> Teller:
    sender = await stack.enter_async_context(hook.sender(clock))
    timeout = hook.settings.timeout
    return Teller(
        fan_out=FanOut(events=ledger, sessions=ledger, outbox=ledger.webhooks, clock=clock),
        tell=Tell(webhook=hook.webhook, sender=sender, deliveries=deliveries, clock=clock, timeout=timeout),
        deliveries=deliveries,
        clock=clock,
        shards=ledger.shards,
        news=news.bell(),
        bell=LocalBell(),
        places=hook.settings.max_in_flight,
    )
