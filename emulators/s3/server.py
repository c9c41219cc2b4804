"""Put the store together, and listen."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from emulators.blobs import Blobs
from emulators.listening import Address, Listening, bind, locked
from emulators.s3 import buckets
from emulators.s3.app import App
from emulators.s3.body import Intake
from emulators.s3.catalogue import Catalogue
from emulators.s3.context import Completed, Store
from emulators.s3.counters import Counters
from emulators.s3.events import Notifier
from emulators.s3.faults import Faults, FaultSettings
from emulators.s3.settings import Settings
from emulators.s3.sigv4 import Verifier


def _ensure_buckets(settings: Settings, catalogue: Catalogue) -> None:
    for spec in settings.buckets:
        buckets.check_name(spec.name)
        if catalogue.bucket(spec.name) is None:
            owner = spec.owner or settings.accounts[0].name
            catalogue.put_bucket(buckets.new_bucket(spec.name, owner, settings))


@asynccontextmanager
async def listening(settings: Settings, faults: FaultSettings, address: Address) -> AsyncIterator[Listening]:
    """A server that answers while the block runs.

    :raises DataInUse: as it says.
    :raises CannotListen: when the address is taken.
    :raises S3Error: when a bucket's name is none.
    """
    async with AsyncExitStack() as stack:
        stack.enter_context(locked(settings.data))
        catalogue = Catalogue(settings.data / "catalogue.sqlite3", is_fsynced=settings.is_fsynced)
        stack.callback(catalogue.close)
        _ensure_buckets(settings, catalogue)
        blobs = Blobs(settings.data, is_fsynced=settings.is_fsynced)
        blobs.sweep(catalogue.blobs())
        counters = Counters()
        switch = Faults(faults, counters.faults)
        notifier = Notifier(
            targets=settings.notify,
            bearer=settings.notify_bearer,
            region=settings.region,
            faults=switch,
            counters=counters,
        )
        await notifier.open()
        stack.push_async_callback(notifier.close)
        intake = Intake(
            blobs=blobs, faults=switch, counters=counters, idle_timeout_seconds=settings.idle_timeout_seconds
        )
        store = Store(
            settings=settings,
            catalogue=catalogue,
            blobs=blobs,
            intake=intake,
            notifier=notifier,
            faults=switch,
            counters=counters,
            completed=Completed(),
        )
        verifier = Verifier(
            accounts={account.access_key: account for account in settings.accounts},
            region=settings.region,
            accepts_unsigned_headers=settings.accepts_unsigned_headers,
        )
        where = await bind(App(store, verifier).handle, address, stack)
        if settings.sends_test_event:
            notifier.announce()
        yield where
