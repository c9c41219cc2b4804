"""What signs for one right on one destination, and how it is kept fresh.

Signing happens on the event loop, resolving must not: files, IMDS and STS block for milliseconds to seconds. So
`current` answers from memory, and a source is asked in the background, in a thread, before what is held ends.

- `credentials` – the port, and keys that never change.
- `storage.held` – when a source is asked again, and who waits for it.
- `credentials_chain`, `credentials_sts` – the sources: what botocore finds by itself, and roles.
- `credentials_lent` – ours in the hands of a botocore client.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from broker.domain.errors import CredentialsUnavailable
from broker.storage.held import is_alive
from broker.storage.s3.sigv4 import Credential


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
        if not is_alive(self.credential, now):
            raise CredentialsUnavailable("the configured credential has expired")
        return self.credential
