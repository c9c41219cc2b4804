"""A keyring that renews nothing by itself: what google-auth or botocore would look for may lie beyond this machine."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from broker.clock import SystemClock
from broker.wiring.credentials import Keyring
from broker.wiring.google import GoogleKeyring
from broker.wiring.renewing import Renewals


@contextmanager
def still_keyring() -> Iterator[Keyring]:
    clock = SystemClock()
    renewals = Renewals(clock=clock)
    with ThreadPoolExecutor(1) as threads:
        google = GoogleKeyring(renewals=renewals, clock=clock, threads=threads, rates=None)
        yield Keyring(renewals=renewals, clock=clock, threads=threads, google=google)
