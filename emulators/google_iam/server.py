"""Put the parts together, and listen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from emulators.google_iam import files
from emulators.google_iam.app import App
from emulators.google_iam.context import Iam
from emulators.google_iam.counters import Counters
from emulators.google_iam.faults import FaultSettings, IamFaults
from emulators.google_iam.grants import Grants
from emulators.google_iam.keys import KeyRing
from emulators.google_iam.ready import Ready
from emulators.google_iam.settings import Settings
from emulators.google_iam.tokens import AccessTokens
from emulators.listening import Address, bind, locked


@asynccontextmanager
async def listening(settings: Settings, faults: FaultSettings, address: Address) -> AsyncIterator[Ready]:
    """A server that answers while the block runs.

    :raises DataInUse: and :raises CannotListen: as they say.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(settings.data))
        there: asyncio.Future[Iam] = asyncio.get_running_loop().create_future()
        where = await bind(App(there).handle, address, stack)
        counters = Counters()
        iam = Iam(
            settings=settings,
            keys=KeyRing(settings.data / "keys"),
            tokens=AccessTokens(settings.data / "token.key"),
            grants=Grants(settings.creators, settings.delegators),
            faults=IamFaults(faults, counters.faults),
            counters=counters,
            endpoint=where.endpoint,
        )
        there.set_result(iam)
        in_file, at_url = await files.workload_identity_files(iam)
        yield Ready(
            endpoint=where.endpoint,
            key_files=await files.key_files(iam),
            workload_identity_file=in_file,
            workload_identity_url_file=at_url,
        )
