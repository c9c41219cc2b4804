"""Where signing credentials come from: fixed keys, or whatever botocore's default chain finds.

Signing happens on the event loop, resolving must not: files, IMDS and STS block for milliseconds to seconds. So
`current` answers from memory, and one thread at a time refreshes. Margins follow botocore, which asks for new
temporary credentials when fewer than 15 minutes are left (botocore.credentials.RefreshableCredentials).
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import BotoCoreError, ClientError
from botocore.session import Session

from broker.domain.errors import CredentialsUnavailable
from broker.storage.s3.sigv4 import Credential

_log = logging.getLogger(__name__)

_REFRESH_MARGIN: Final = timedelta(minutes=15)  # botocore's advisory refresh timeout
# Ours. STS sessions may be as short as 15 minutes and would otherwise be refreshed by every call; and a source that
# fails must not be asked by every mint.
_TRY_EVERY: Final = timedelta(seconds=10)


class Credentials(Protocol):
    """The credential of one right on one destination."""

    async def current(self, now: datetime) -> Credential:
        """A credential that is valid at `now`.

        :raises CredentialsUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedCredentials:
    """Keys from the configuration."""

    credential: Credential

    async def current(self, now: datetime) -> Credential:
        if not _is_alive(self.credential, now):
            raise CredentialsUnavailable("the configured credential has expired")
        return self.credential


class ChainCredentials:
    """Botocore's default chain: environment, shared files and profiles, SSO, container, instance metadata.

    `open_session` is called in a thread, once. A credential with a session token but without an expiry (from the
    environment) is signed with as if it lived for ever: only STS knows better.
    """

    def __init__(self, open_session: Callable[[], Session] = Session) -> None:
        self._open_session = open_session
        self._source: BotocoreCredentials | None = None
        self._held: Credential | None = None
        self._try_at: datetime | None = None
        self._refreshing = asyncio.Lock()

    async def current(self, now: datetime) -> Credential:
        # While somebody refreshes, what is held is good enough as long as it lives.
        if self._is_due(now) and not (self._refreshing.locked() and _is_alive(self._held, now)):
            async with self._refreshing:
                if self._is_due(now):
                    await self._refresh(now)
        if self._held is None or not _is_alive(self._held, now):
            raise CredentialsUnavailable
        return self._held

    def _is_due(self, now: datetime) -> bool:
        if self._try_at is not None and now < self._try_at:
            return False
        return not _is_alive(self._held, now + _REFRESH_MARGIN)

    async def _refresh(self, now: datetime) -> None:
        """Fails only when nothing usable is held: until then an old credential is better than none."""
        try:
            self._held = await asyncio.to_thread(self._resolve)
        except (BotoCoreError, ClientError, OSError) as exc:
            # The class alone: messages of credential processes may quote what they read.
            _log.warning("credentials.refresh-failed", extra={"error": type(exc).__name__})
            if not _is_alive(self._held, now):
                raise CredentialsUnavailable from exc
        finally:
            self._try_at = now + _TRY_EVERY

    def _resolve(self) -> Credential:
        if self._source is None:
            self._source = self._open_session().get_credentials()
        if self._source is None:
            raise CredentialsUnavailable("botocore's default chain finds no credentials")
        frozen = self._source.get_frozen_credentials()
        if not frozen.access_key or not frozen.secret_key:
            raise CredentialsUnavailable("botocore's default chain finds an incomplete credential")
        return Credential(
            access_key=frozen.access_key,
            secret_key=frozen.secret_key,
            session_token=frozen.token or None,
            # Private, but botocore tells the moment in no other way; keys that do not expire lack it.
            expires_at=getattr(self._source, "_expiry_time", None),
        )


def _is_alive(credential: Credential | None, at: datetime) -> bool:
    return credential is not None and (credential.expires_at is None or at < credential.expires_at)
