"""What every route is given: the parts of one emulator, and one call."""

import time
from dataclasses import dataclass, field
from typing import Final

from aiohttp import web

from emulators.google import GoogleError, bearer
from emulators.google_iam.counters import Counters
from emulators.google_iam.faults import IamFaults
from emulators.google_iam.grants import Grants
from emulators.google_iam.keys import KeyRing
from emulators.google_iam.settings import Settings
from emulators.google_iam.tokens import CLOUD_PLATFORM, IAM, AccessTokens, Bearer

GOOGLE: Final = "accounts.google.com"  # the owner of the keys of ID tokens
IDENTITY_PROVIDER: Final = "workload.emulated"  # the owner of the keys of an external workload's tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Iam:
    """One emulator. `endpoint` is known once it listens."""

    settings: Settings
    keys: KeyRing
    tokens: AccessTokens
    grants: Grants
    faults: IamFaults
    counters: Counters
    endpoint: str

    def grant_token(self, who: str, scopes: tuple[str, ...], seconds: float) -> tuple[str, Bearer]:
        """An access token, counted."""
        self.counters.tokens[who] += 1
        return self.tokens.mint(who, scopes, min(seconds, self.settings.token_seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    iam: Iam
    http: web.BaseRequest
    path: str
    """decoded"""
    body: bytes = field(repr=False)
    now: float = field(default_factory=time.time)

    def caller(self) -> Bearer:
        """Who calls an API of IAM.

        :raises GoogleError: UNAUTHENTICATED, or PERMISSION_DENIED for a token that was made for something else.
        """
        who = self.iam.tokens.read(bearer(self.http))
        if not {CLOUD_PLATFORM, IAM} & set(who.scopes):
            raise GoogleError("PERMISSION_DENIED", "Request had insufficient authentication scopes.")
        return who
