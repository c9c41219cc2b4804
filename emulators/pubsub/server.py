"""Put topics, subscriptions and pushers together, and listen."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp

from emulators.faults import Faults
from emulators.listening import Address, Listening, bind
from emulators.pubsub.app import App
from emulators.pubsub.faults import FaultSettings
from emulators.pubsub.iam import TIMEOUT_SECONDS, Iam
from emulators.pubsub.messages import Subscription, Topics
from emulators.pubsub.push import Pusher
from emulators.pubsub.settings import Settings


class Pushers:
    """Those of all subscriptions that push."""

    def __init__(self, iam: Iam, http: aiohttp.ClientSession) -> None:
        self._iam, self._http = iam, http
        self._running: set[asyncio.Task[None]] = set()

    def start(self, subscription: Subscription) -> None:
        if subscription.spec.push is not None:
            pusher = Pusher(subscription, subscription.spec.push, self._iam, self._http)
            self._running.add(asyncio.create_task(pusher.run()))

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@asynccontextmanager
async def listening(settings: Settings, faults: FaultSettings, address: Address) -> AsyncIterator[Listening]:
    """A server that answers while the block runs.

    :raises CannotListen: when the address is taken.
    :raises GoogleError: a subscription is to a topic that there is not.
    """
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))
        )
        switch = Faults(faults, Counter())
        topics, iam = Topics(switch, Counter()), Iam(settings.iam, http)
        topics.names.update(settings.topics)
        pushers = Pushers(iam, http)
        stack.push_async_callback(pushers.close)
        for spec in settings.subscriptions:
            pushers.start(topics.subscribe(spec, settings.ack_seconds))
        yield await bind(App(settings, topics, iam, switch, pushers.start).handle, address, stack)
