"""Where the chaos test's webhooks go: verified by the reference library, refused or left unanswered now and then."""

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web
from standardwebhooks import Webhook

REFUSED, UNANSWERED = 0.10, 0.10  # of all events, when they come first; both come again


@dataclass(slots=True)
class Told:
    """What was taken in, in the order of its coming: (type, webhook-id), by session."""

    url: str = ""
    secret: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    refused: set[str] = field(default_factory=set)  # webhook-ids
    unanswered: set[str] = field(default_factory=set)
    times: Counter[str] = field(default_factory=Counter)
    by_session: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    strange: list[str] = field(default_factory=list)

    @property
    def owed(self) -> set[str]:
        """What its sender must believe to be untold, and has not told again."""
        return {webhook_id for webhook_id in self.refused | self.unanswered if self.times[webhook_id] < 2}

    def in_order(self, session_id: str) -> list[str]:
        """Each event once, where it came first: a repeat is known by its webhook-id."""
        return [kind for kind, _ in dict.fromkeys(self.by_session[session_id])]


@asynccontextmanager
async def receiving(dice: random.Random) -> AsyncIterator[Told]:
    """Listens on loopback until the block ends. Its owner sets the `secret` before anything is told."""
    told = Told()

    async def receive(request: web.Request) -> web.StreamResponse:
        payload = _verified(told, await request.read(), dict(request.headers))
        webhook_id = request.headers.get("webhook-id", "")
        luck = 1.0 if webhook_id in told.times else dice.random()
        told.times[webhook_id] += 1
        told.news.set()
        if luck < REFUSED:
            told.refused.add(webhook_id)
            return web.Response(status=503)
        told.by_session[payload["data"]["id"]].append((payload["type"], webhook_id))
        if luck < REFUSED + UNANSWERED:
            told.unanswered.add(webhook_id)
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        told.url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        yield told
    finally:
        await asyncio.shield(runner.cleanup())


def _verified(told: Told, body: bytes, headers: dict[str, str]) -> dict[str, dict[str, str]]:
    try:
        payload: dict[str, dict[str, str]] = Webhook(told.secret).verify(body, headers)
    except Exception as exc:
        told.strange.append(repr(exc))
        raise
    return payload
