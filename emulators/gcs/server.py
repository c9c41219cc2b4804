"""Put the store together, and listen."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import msgspec

from emulators.blobs import Blobs
from emulators.gcs import notifications
from emulators.gcs.access import Authenticator, Grants
from emulators.gcs.app import App
from emulators.gcs.catalogue import Catalogue
from emulators.gcs.context import Store
from emulators.gcs.counters import Counters
from emulators.gcs.events import Messages
from emulators.gcs.faults import Faults, FaultSettings
from emulators.gcs.hashing import Hashers
from emulators.gcs.iam import Iam
from emulators.gcs.intake import Intake
from emulators.gcs.outbox import Outbox
from emulators.gcs.records import Bucket
from emulators.gcs.settings import Settings
from emulators.gcs.turns import Turns
from emulators.listening import Address, Listening, bind, locked


def _ensure_buckets(settings: Settings, catalogue: Catalogue) -> None:
    for spec in settings.buckets:
        now = time.time()
        bucket = catalogue.bucket(spec.name) or Bucket(
            name=spec.name, created=now, updated=now, location=settings.location, is_versioned=spec.is_versioned
        )
        if spec.is_versioned:
            bucket = msgspec.structs.replace(bucket, is_versioned=True)
        wanted = [each for each in settings.notify if each.bucket == spec.name]
        catalogue.put_bucket(notifications.ensure(bucket, wanted))


@asynccontextmanager
async def listening(settings: Settings, faults: FaultSettings, address: Address) -> AsyncIterator[Listening]:
    """A server that answers while the block runs.

    :raises DataInUse: as it says.
    :raises CannotListen: when the address is taken.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(settings.data))
        catalogue = Catalogue(settings.data / "catalogue.sqlite3", is_fsynced=settings.is_fsynced)
        stack.callback(catalogue.close)
        _ensure_buckets(settings, catalogue)
        catalogue.end_sessions_before(time.time())
        blobs = Blobs(settings.data, is_fsynced=settings.is_fsynced)
        blobs.sweep(catalogue.blobs())
        counters = Counters()
        switch = Faults(faults, counters.faults)
        outbox = Outbox(catalogue=catalogue, counters=counters)
        iam = Iam(settings.iam)
        store = Store(
            settings=settings,
            catalogue=catalogue,
            blobs=blobs,
            intake=Intake(
                blobs=blobs, faults=switch, counters=counters, idle_timeout_seconds=settings.idle_timeout_seconds
            ),
            hashers=Hashers(blobs),
            turns=Turns(),
            messages=Messages(faults=switch, counters=counters),
            outbox=outbox,
            grants=Grants(settings.grants),
            faults=switch,
            counters=counters,
        )
        for each in (iam, outbox):
            await each.open()
            stack.push_async_callback(each.close)
        yield await bind(App(store, Authenticator(iam=iam, location=settings.location)).handle, address, stack)
