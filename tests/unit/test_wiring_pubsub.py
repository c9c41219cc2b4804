"""A subscription is asked in the source's own name, and a token that was not taken is not shown again."""

from contextlib import AsyncExitStack
from datetime import timedelta

import pytest

from broker.domain.errors import CredentialsUnavailable
from broker.settings import GoogleSourceSettings, PubsubSource
from broker.storage.gcs.tokens import AccessToken
from broker.storage.held import HeldCredentials
from broker.wiring.pubsub import SCOPES, pubsub_mailbox
from tests.answering import answering
from tests.clock import FrozenClock
from tests.still_keyring import still_keyring

SUBSCRIPTION = "projects/acme/subscriptions/uploads"
PULL = ("POST", f"/v1/{SUBSCRIPTION}:pull")


class Source:
    """Gives another token each time."""

    def __init__(self, clock: FrozenClock) -> None:
        self._clock, self.given = clock, 0

    async def fetch(self) -> AccessToken:
        self.given += 1
        return AccessToken(text=f"token-{self.given}", expires_at=self._clock.now() + timedelta(hours=1))


async def test_a_token_that_was_not_taken_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, answers = FrozenClock(), {PULL: (200, b"{}")}
    source, asked = Source(clock), []
    held = HeldCredentials(source, clock=clock, jitter=lambda: 0.0, told=lambda _: None)
    with still_keyring() as keyring, answering(answers) as (url, had):
        monkeypatch.setattr(keyring.google, "source", lambda *told: asked.append(told) or held)
        async with AsyncExitStack() as stack:
            settings = PubsubSource(destinations=("default",), subscription=SUBSCRIPTION, endpoint=url)
            mailbox = await pubsub_mailbox("gcs", settings, keyring.google, clock, stack)
            await mailbox.receive()
            clock.advance(timedelta(minutes=1))
            answers[PULL] = (401, b"{}")
            with pytest.raises(CredentialsUnavailable):
                await mailbox.receive()
            answers[PULL] = (200, b"{}")
            await mailbox.receive()
    assert [each.token for each in had] == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    assert asked == [(GoogleSourceSettings(), "sources.gcs.source", SCOPES)]
