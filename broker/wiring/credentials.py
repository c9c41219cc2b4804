"""From the settings of a credential to what signs with it. Whoever is configured alike shares one, and one refresh.

Everybody who needs a credential of a store's provider asks here: destinations for `Credentials` (`Keyring.of`), clients
of other services – a queue's – for a session of botocore (`Keyring.session`); what belongs to Google for
`Keyring.google`.
"""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from botocore.session import Session

from broker.domain.errors import ConfigurationInvalid
from broker.doors.threads import DaemonThreads
from broker.ports import Clock, Rates
from broker.settings import CredentialSettings, Secret
from broker.storage.held import CredentialSource, HeldCredentials, Told
from broker.storage.s3.credentials import Credentials, FixedCredentials
from broker.storage.s3.credentials_chain import ChainSource, chain_session
from broker.storage.s3.credentials_lent import CurrentCredentials, session_with
from broker.storage.s3.credentials_sts import MAX_POLICY_CHARACTERS, Role, RoleSource, Sts, WebIdentitySource
from broker.storage.s3.sigv4 import Credential
from broker.telemetry.credentials import CredentialMetrics
from broker.wiring.accounts import account_of
from broker.wiring.google import GoogleKeyring
from broker.wiring.renewing import Renewals

THREADS: Final = 8  # that ask sources at the same time
_ROLE_NAME: Final = 64  # AssumeRole, RoleSessionName: 2 to 64 characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What a credential is for.

    :param place: in the configuration, as errors name it: "destinations.eu.credentials.write".
    :param region: whose STS is asked; empty where nobody knows better than botocore.
    :param wanted: how long what it signs should live.
    :param policy: the least that it must be allowed, if that is known: what a role is narrowed to.
    :param has_sts: the region is one of AWS, which has an STS; elsewhere it must be named.
    """

    place: str
    region: str = ""
    wanted: timedelta = timedelta(minutes=5)
    policy: str | None = None
    has_sts: bool = True


class Keyring:
    """The credentials of a process. Belongs to one event loop."""

    def __init__(self, *, renewals: Renewals, clock: Clock, threads: Executor, google: GoogleKeyring) -> None:
        self.google = google
        self._renewals, self._clock, self._threads = renewals, clock, threads
        self._held: dict[object, HeldCredentials[Credential]] = {}
        self._sts: dict[tuple[str, str | None], Sts] = {}

    def of(self, settings: CredentialSettings, use: Use) -> Credentials:
        """:raises ConfigurationInvalid: a secret is missing, or no such credential is possible."""
        fixed = _fixed(settings, use.place)
        if fixed is not None:
            return FixedCredentials(credential=fixed)
        role = None if settings.role_arn is None else _role(settings, use)
        # Chains of different regions are one: the region is a last resort of theirs.
        key = (role, settings.source, settings.sts_endpoint, settings.web_identity_token_file, settings.profile)
        held = self._held.get(key)
        if held is None:
            source = self._chain(settings, use) if role is None else self._role_source(role, settings, use)
            held = self._held[key] = self._renewals.hold(source)
        held.serve(use.place, use.wanted)
        return held

    def session(self, settings: CredentialSettings, use: Use) -> Session:
        """A session of botocore whose clients sign with it and never refresh anything themselves.

        Call it on the loop, and the clients in threads: they ask the loop for what is current.
        """
        lent = CurrentCredentials(self.of(settings, use), self._clock, asyncio.get_running_loop())
        session = session_with(lent)
        session.set_config_variable("region", use.region)
        return session

    def _chain(self, settings: CredentialSettings, use: Use) -> CredentialSource[Credential]:
        opened = partial(chain_session, settings.profile, use.region or None)
        return ChainSource(open_session=opened, threads=self._threads)

    def _role_source(self, role: Role, settings: CredentialSettings, use: Use) -> CredentialSource[Credential]:
        sts = self._sts_of(settings, use)
        if settings.web_identity_token_file is not None:
            token_file = Path(settings.web_identity_token_file)
            return WebIdentitySource(role=role, token_file=token_file, sts=sts, threads=self._threads)
        source = self.of(
            settings.source or CredentialSettings(),
            Use(place=f"{use.place}.source", region=use.region, has_sts=use.has_sts),
        )
        return RoleSource(role=role, source=source, sts=sts, clock=self._clock, threads=self._threads)

    def _sts_of(self, settings: CredentialSettings, use: Use) -> Sts:
        if settings.sts_endpoint is None and not use.has_sts:
            raise ConfigurationInvalid(f"{use.place}: sts_endpoint is missing: where is the STS of this store?")
        key = (use.region, settings.sts_endpoint)
        if key not in self._sts:
            self._sts[key] = Sts(region=use.region, url=settings.sts_endpoint)
        return self._sts[key]


@asynccontextmanager
async def open_keyring(clock: Clock, told: Told = lambda _: None, rates: Rates | None = None) -> AsyncIterator[Keyring]:
    """A keyring that renews in the background, once it is used.

    :param rates: where all replicas count what they sign; None where nobody counts.
    """
    # Of daemons: a credential process that never returns must not keep this one from ending.
    threads = DaemonThreads(THREADS, "credentials")
    renewals = Renewals(clock=clock, told=told)
    renewing = asyncio.create_task(renewals.run())
    try:
        google = GoogleKeyring(renewals=renewals, clock=clock, threads=threads, rates=rates)
        yield Keyring(renewals=renewals, clock=clock, threads=threads, google=google)
    finally:
        renewing.cancel()
        with suppress(asyncio.CancelledError):
            await renewing
        renewals.close()
        threads.shutdown()


def counted_by(metrics: CredentialMetrics) -> Told:
    return lambda renewal: metrics.asked(renewal.users, renewal.expires_at, is_ok=renewal.is_ok)


def _fixed(settings: CredentialSettings, place: str) -> Credential | None:
    account = account_of(settings, place)
    if account is not None:
        return account.credential
    if settings.access_key_id is None and settings.secret_access_key is None:
        return None
    if settings.access_key_id is None or settings.secret_access_key is None:
        raise ConfigurationInvalid(f"{place}: access_key_id and secret_access_key belong together")
    return Credential(
        access_key=_revealed(settings.access_key_id),
        secret_key=settings.secret_access_key.reveal(),
        session_token=settings.session_token.reveal() if settings.session_token else None,
    )


def _role(settings: CredentialSettings, use: Use) -> Role:
    policy = _session_policy(settings, use)
    if policy is not None and len(policy) > MAX_POLICY_CHARACTERS:
        raise ConfigurationInvalid(
            f"{use.place}: the session policy has {len(policy)} characters, STS takes {MAX_POLICY_CHARACTERS}"
        )
    return Role(
        arn=str(settings.role_arn),
        session_name=settings.role_session_name or _session_name(use),
        duration=settings.duration,
        external_id=None if settings.external_id is None else _revealed(settings.external_id),
        policy=policy,
    )


def _session_policy(settings: CredentialSettings, use: Use) -> str | None:
    given = settings.session_policy
    if isinstance(given, Secret):
        return given.reveal()
    if given == "minimal" and use.policy is None:
        raise ConfigurationInvalid(
            f'{use.place}: session_policy = "minimal" is known for the rights of a destination only'
        )
    return None if given == "none" else use.policy


def _session_name(use: Use) -> str:
    """Who it was, in the account's audit log. One name for all who are not narrowed, so that they can share."""
    if use.policy is None:
        return "upload-broker"
    name = "".join(char if char.isascii() and (char.isalnum() or char in "+=,.@-_") else "-" for char in use.place)
    return f"upload-broker-{name.removeprefix('destinations.')}"[:_ROLE_NAME]


def _revealed(text: str | Secret) -> str:
    return text if isinstance(text, str) else text.reveal()
