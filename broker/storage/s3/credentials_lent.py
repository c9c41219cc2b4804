"""Our credentials in the hands of botocore: a client of any of its services signs with what we keep fresh.

Clients take a session's credentials when they are made and ask them for a frozen copy at each request
(`botocore.signers.RequestSigner.get_auth_instance`): that is where ours come in, so nothing is refreshed twice.
"""

import asyncio
from datetime import timedelta
from typing import Final

from botocore.credentials import CredentialProvider, CredentialResolver, ReadOnlyCredentials
from botocore.credentials import Credentials as BotocoreCredentials
from botocore.exceptions import CredentialRetrievalError
from botocore.session import Session

from broker.domain.errors import CredentialsUnavailable
from broker.ports import Clock
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.sigv4 import Credential

_PATIENCE: Final = timedelta(seconds=30)  # ours: longer than whoever asks a source takes


class LentCredentials(BotocoreCredentials):
    """What botocore holds; what it is really given, a subclass says in `get_frozen_credentials`."""

    def __init__(self) -> None:
        super().__init__("", "")

    def __repr__(self) -> str:
        return f"{type(self).__name__}(***)"

    @staticmethod
    def frozen(credential: Credential) -> ReadOnlyCredentials:
        return ReadOnlyCredentials(credential.access_key, credential.secret_key, credential.session_token)


class CurrentCredentials(LentCredentials):
    """Answers the threads in which botocore's clients run from `credentials`, which live on the loop.

    Never called on the loop's own thread, where it would wait for itself.
    """

    def __init__(self, credentials: Credentials, clock: Clock, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._credentials, self._clock, self._loop = credentials, clock, loop

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """:raises CredentialRetrievalError: botocore's, since botocore's clients ask."""
        current = asyncio.run_coroutine_threadsafe(self._credentials.current(self._clock.now()), self._loop)
        try:
            return self.frozen(current.result(_PATIENCE.total_seconds()))
        except (CredentialsUnavailable, TimeoutError) as exc:
            raise CredentialRetrievalError(provider=_Provider.METHOD, error_msg=str(exc)) from exc


def session_with(credentials: LentCredentials) -> Session:
    """A session whose clients sign with `credentials` and look nowhere else."""
    session = Session()
    session.register_component("credential_provider", CredentialResolver(providers=[_Provider(credentials)]))
    return session


class _Provider(CredentialProvider):
    METHOD = "upload-broker"

    def __init__(self, credentials: LentCredentials) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> BotocoreCredentials:
        return self._credentials
