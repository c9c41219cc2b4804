"""A service account that the broker acts for: its signatures, and its tokens.

One account has one right on a destination: the writer creates objects, the reader gets them, the janitor lists and
deletes. What leaks – a signed request, a token – is worth that right, never the whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.quota import SigningQuota
from broker.storage.gcs.tokens import AccessToken

_LIFETIME: Final = timedelta(hours=1)  # generateAccessToken: the longest without an organisation policy


@dataclass(frozen=True, slots=True, kw_only=True)
class Impersonated:
    """A `Signatory` whose key is IAM's.

    :param delegates: the accounts between the source credential and this one.
    :param quota: None where nobody counts: a command that signs a handful.
    """

    email: str
    iam: IamCredentials
    quota: SigningQuota | None = None
    delegates: Sequence[str] = ()

    async def sign(self, payload: bytes) -> bytes:
        if self.quota is not None:
            await self.quota.take()
        return (await self.iam.sign_blob(self.email, payload, delegates=self.delegates)).value


@dataclass(frozen=True, slots=True, kw_only=True)
class ImpersonatedSource:
    """Tokens of an account, for `scopes` alone; hold them (`storage.held`) rather than ask for each call."""

    email: str
    iam: IamCredentials
    scopes: Sequence[str]
    delegates: Sequence[str] = ()

    async def fetch(self) -> AccessToken:
        return await self.iam.generate_access_token(
            self.email, scopes=self.scopes, lifetime=_LIFETIME, delegates=self.delegates
        )
