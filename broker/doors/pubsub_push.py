"""Pub/Sub over HTTPS: each call bears an ID token of the service account that the subscription names.

Pub/Sub, "Authenticate push subscriptions". The token proves who calls and for whom, not what is said: whoever took one
could say anything for an hour – to those who believe what they hear. Here it is a hint. Delivery is wrapped; with
payload unwrapping the attributes would be missing, in which everything stands. Any answer but 102, 200, 201, 202 and
204 makes Pub/Sub send again.
"""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from broker.domain.errors import NotAuthentic
from broker.doors.google_tokens import GoogleTokens
from broker.doors.presented import bearer_in
from broker.doors.pubsub import Pushed, open_message, pushed_in
from broker.ports import Envelope, Opened

_log = logging.getLogger("broker.pubsub")


@dataclass(frozen=True, slots=True, kw_only=True)
class PubsubPushDoor:
    """:param subscriptions: those that may speak here, by full name; none means all whose token is good."""

    destinations: Sequence[str]
    tokens: GoogleTokens
    subscriptions: Collection[str]

    async def open(self, envelope: Envelope) -> Opened:
        """:raises SenderUnavailable: what proves it cannot be had."""
        try:
            await self.tokens.prove(bearer_in(envelope))
            pushed = self._read(envelope.body)
        except NotAuthentic as refusal:
            _log.warning("pubsub.refused", extra={"why": refusal.detail})
            raise NotAuthentic from None  # which of the questions it was is nobody else's business
        return Opened(hints=(), malformed=1) if pushed is None else open_message(pushed.message)

    def _read(self, body: bytes) -> Pushed | None:
        pushed = pushed_in(body)
        if pushed is not None and self.subscriptions and pushed.subscription not in self.subscriptions:
            raise NotAuthentic("subscription")
        return pushed
