"""From the settings of Google to what signs and what calls: source credentials, and the accounts they impersonate.

Whoever is configured alike shares one token and one refresh; every source is asked for a token of its narrowest scope.
"""

from collections.abc import Sequence
from concurrent.futures import Executor
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

import aiohttp

from broker.ports import Clock, Rates
from broker.settings import GcsDestination
from broker.settings.google import GoogleSourceSettings, project_of
from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.impersonation import Impersonated, ImpersonatedSource
from broker.storage.gcs.quota import SigningQuota
from broker.storage.gcs.source import IAM_SCOPES, GoogleSource, Opened, application_default, config_file, key_file
from broker.storage.gcs.tokens import AccessToken
from broker.storage.held import HeldCredentials
from broker.wiring.renewing import Renewals

Right = Literal["writer", "reader", "janitor"]
Tokens = HeldCredentials[AccessToken]

_WANTED: Final = timedelta(minutes=4)  # and a minute for the renewal: five before the end


class GoogleKeyring:
    """The tokens and signatories of a process. Belongs to one event loop.

    :param rates: where all replicas count what they sign; None where nobody counts.
    """

    def __init__(self, *, renewals: Renewals, clock: Clock, threads: Executor, rates: Rates | None) -> None:
        self._renewals, self._clock, self._threads, self._rates = renewals, clock, threads, rates
        self._tokens: dict[object, Tokens] = {}
        self._quotas: dict[tuple[str, float], SigningQuota] = {}

    def source(self, settings: GoogleSourceSettings, place: str, scopes: Sequence[str] = IAM_SCOPES) -> Tokens:
        """Tokens of the broker's own identity.

        :param place: in the configuration, as errors name it: "destinations.scans.source".
        """
        source = GoogleSource(opened=_opened(settings, scopes), threads=self._threads)
        return self._held((settings, tuple(scopes)), source, place)

    def tokens(
        self, name: str, right: Right, place: GcsDestination, http: aiohttp.ClientSession, scopes: Sequence[str]
    ) -> Tokens:
        """Tokens of the account that has `right` on the destination `name`."""
        account = getattr(place, right)
        source = ImpersonatedSource(
            email=account, iam=self._iam(name, place, http), scopes=scopes, delegates=place.delegates
        )
        key = (place.source, place.iam_endpoint, place.delegates, account, tuple(scopes))
        return self._held(key, source, f"destinations.{name}.{right}")

    def signatory(self, name: str, right: Right, place: GcsDestination, http: aiohttp.ClientSession) -> Impersonated:
        """The account that has `right` on the destination `name`, as whom requests are signed."""
        account = getattr(place, right)
        return Impersonated(
            email=account,
            iam=self._iam(name, place, http),
            quota=self._quota(account, place.signing_rate_per_second),
            delegates=place.delegates,
        )

    def _iam(self, name: str, place: GcsDestination, http: aiohttp.ClientSession) -> IamCredentials:
        source = self.source(place.source, f"destinations.{name}.source")
        return IamCredentials(http=http, source=source, clock=self._clock, endpoint=place.iam_endpoint.rstrip("/"))

    def _quota(self, account: str, per_second: float) -> SigningQuota | None:
        if self._rates is None:
            return None
        name = project_of(account)
        if (name, per_second) not in self._quotas:
            self._quotas[name, per_second] = SigningQuota(rates=self._rates, name=name, per_second=per_second)
        return self._quotas[name, per_second]

    def _held(self, key: object, source: GoogleSource | ImpersonatedSource, place: str) -> Tokens:
        held = self._tokens.get(key)
        if held is None:
            held = self._tokens[key] = self._renewals.hold(source)
        if place not in held.places:
            held.serve(place, _WANTED)
        return held


def _opened(settings: GoogleSourceSettings, scopes: Sequence[str]) -> Opened:
    if settings.key_file is not None:
        return key_file(Path(settings.key_file), scopes)
    if settings.config_file is not None:
        return config_file(Path(settings.config_file), scopes)
    return application_default(scopes)
