"""What botocore finds by itself: environment, shared files and profiles, SSO, process, web identity, ECS, IMDS.

Each request opens a session of its own, so that files are read anew and nothing that botocore remembered is given for
fresh. Margins are ours alone (`storage.held`): botocore's own – it asks again for whatever ends within 15 minutes
(`RefreshableCredentials`, advisory refresh) – would ask a source of short credentials twice each time.

Of instance metadata botocore tells an expiry that it made up: as soon as fewer than 17 to 25 minutes are left it adds
as many to the present (`InstanceMetadataFetcher._evaluate_expiration`), for services that honour expired instance
credentials in an outage. A signed request must not say that it lives longer than it does, so here that is left out.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from botocore.credentials import (
    Credentials as BotocoreCredentials,
)
from botocore.credentials import (
    InstanceMetadataProvider,
    RefreshableCredentials,
)
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session
from botocore.utils import InstanceMetadataFetcher, resolve_imds_endpoint_mode

from broker.domain.errors import CredentialsUnavailable
from broker.storage.s3.sigv4 import Credential

_TROUBLE = (BotoCoreError, ClientError, OSError, ValueError, LookupError, TypeError, RuntimeError)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainSource:
    """A credential with a session token but without an expiry (from the environment) is signed with as if it lived for
    ever: only STS knows better.

    :param open_session: called in a thread, for each request.
    """

    open_session: Callable[[], Session]
    threads: Executor

    async def fetch(self) -> Credential:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._resolve)

    def _resolve(self) -> Credential:
        try:
            return _found(self.open_session())
        except _TROUBLE as exc:
            # The class alone: messages of credential processes may quote what they read.
            raise CredentialsUnavailable(f"botocore's default chain fails ({type(exc).__name__})") from exc


def chain_session(profile: str | None, region: str | None) -> Session:
    """A session of botocore's own making. `region` is for what it asks of STS, if nothing else names one."""
    session = Session(profile=profile)
    if session.get_config_variable("region") is None and region:
        session.set_config_variable("region", region)
    session.set_config_variable("sts_regional_endpoints", "regional")
    resolver = session.get_component("credential_provider")
    resolver.insert_before(InstanceMetadataProvider.METHOD, _TruthfulMetadata(session))
    resolver.remove(InstanceMetadataProvider.METHOD)
    return session


class _TruthfulMetadata(InstanceMetadataProvider):
    """In the place of botocore's own, and configured alike (`create_credential_resolver`)."""

    METHOD = "truthful-metadata"

    def __init__(self, session: Session) -> None:
        config = {
            "ec2_metadata_service_endpoint": session.get_config_variable("ec2_metadata_service_endpoint"),
            "ec2_metadata_service_endpoint_mode": resolve_imds_endpoint_mode(session),
            "ec2_metadata_v1_disabled": session.get_config_variable("ec2_metadata_v1_disabled"),
        }
        super().__init__(
            iam_role_fetcher=_TruthfulFetcher(
                timeout=session.get_config_variable("metadata_service_timeout"),
                num_attempts=session.get_config_variable("metadata_service_num_attempts"),
                user_agent=session.user_agent(),
                config=config,
            )
        )


class _TruthfulFetcher(InstanceMetadataFetcher):
    def _evaluate_expiration(self, credentials: Any) -> None:
        """Leaves the expiry as it was told."""


def _found(session: Session) -> Credential:
    source = session.get_credentials()
    if source is None:
        raise CredentialsUnavailable("botocore's default chain finds no credentials")
    if isinstance(source, RefreshableCredentials):
        # Private, as is the expiry: botocore lets neither be asked for.
        vars(source).update(_advisory_refresh_timeout=0, _mandatory_refresh_timeout=0)
    frozen = source.get_frozen_credentials()
    if not frozen.access_key or not frozen.secret_key:
        raise CredentialsUnavailable("botocore's default chain finds an incomplete credential")
    return Credential(
        access_key=frozen.access_key,
        secret_key=frozen.secret_key,
        session_token=frozen.token or None,
        expires_at=_expiry(source),
    )


def _expiry(source: BotocoreCredentials) -> datetime | None:
    """Keys that do not expire lack it."""
    expiry: datetime | None = getattr(source, "_expiry_time", None)
    return expiry
