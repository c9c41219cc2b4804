"""Roles: a credential of minutes or hours from STS, for one right and no more.

Obeys AssumeRole and AssumeRoleWithWebIdentity of the AWS STS API Reference; botocore speaks it, in a thread. A session
policy only ever takes away: what the session may is what both it and the role's own policies allow (IAM User Guide,
"Session policies"). Permission of the source: sts:AssumeRole on the role, whose trust policy has to name it.
"""

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import BotoCoreError, ClientError

from broker.domain.errors import CredentialsUnavailable
from broker.ports import Clock
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.credentials_lent import LentCredentials, session_with
from broker.storage.s3.sigv4 import Credential

if TYPE_CHECKING:
    from types_boto3_sts import STSClient

MAX_POLICY_CHARACTERS: Final = 2_048  # AssumeRole, Policy: "The plaintext ... can't exceed 2,048 characters"
SHORTEST, LONGEST = timedelta(minutes=15), timedelta(hours=12)  # AssumeRole, DurationSeconds

AT_ONCE: Final = 4  # ours: requests to one STS. Threads are shared, and one that hangs must leave some to others
# Below the patience of those who wait; botocore tries twice.
_CONFIG: Final = Config(connect_timeout=3, read_timeout=5, retries={"mode": "standard", "total_max_attempts": 2})
_CODE: Final = re.compile(r"[A-Za-z0-9.]{1,64}")
_TOO_OLD: Final = "the source's own credential is not valid: it expired, was revoked, or the clock is wrong"
_NOT_LET_IN: Final = (
    "the role's trust policy must let the source in (and its sts:ExternalId, if it asks for one, be ours), and the "
    "source needs sts:AssumeRole on the role"
)
_FIXES: Final = {
    "AccessDenied": _NOT_LET_IN,
    "403": _NOT_LET_IN,
    "ValidationError": "a parameter is refused: is the duration above the role's maximum session duration?",
    "MalformedPolicyDocument": "the session policy is no valid policy",
    "PackedPolicyTooLarge": "the session policy is too large once packed: shorten the prefix, or give a policy",
    "RegionDisabledException": "STS is not active in this region for the account: activate it, or name sts_endpoint",
    "ExpiredToken": _TOO_OLD,
    "ExpiredTokenException": "the web identity token has expired: whoever writes the file must renew it",
    "InvalidClientTokenId": _TOO_OLD,
    "SignatureDoesNotMatch": "the source's secret key is wrong, or the clock",
    "InvalidIdentityToken": "the identity provider does not vouch for the web identity token, or the role for it",
    "IDPRejectedClaim": "the identity provider rejects the web identity token",
    "IDPCommunicationError": "STS cannot reach the identity provider; it tries again",
    "NoSuchEntity": "there is no such role",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What is asked for. `policy` is a JSON document, at most `MAX_POLICY_CHARACTERS` long."""

    arn: str
    session_name: str
    duration: timedelta
    external_id: str | None = field(default=None, repr=False)
    policy: str | None = None

    @property
    def parameters(self) -> dict[str, Any]:
        named: dict[str, Any] = {
            "RoleArn": self.arn,
            "RoleSessionName": self.session_name,
            "DurationSeconds": int(self.duration.total_seconds()),
        }
        if self.external_id is not None:
            named["ExternalId"] = self.external_id
        if self.policy is not None:
            named["Policy"] = self.policy
        return named


class Sts:
    """One endpoint of STS, for whichever source: a client of botocore's costs a tenth of a second and megabytes.

    Every method blocks, and may be called by many threads; `turn` is waited for before.

    :param url: None for that of AWS in `region`.
    """

    def __init__(self, *, region: str, url: str | None) -> None:
        self.turn = asyncio.Semaphore(AT_ONCE)  # for those who ask, on the loop
        self._region, self._url = region, url
        self._making = threading.Lock()
        self._made: STSClient | None = None
        self._signer = _ByThread()

    def assume_role(self, role: Role, by: Credential) -> Credential:
        return self._ask("AssumeRole", role, lambda client: client.assume_role(**role.parameters), by)

    def assume_role_with_web_identity(self, role: Role, token: str) -> Credential:
        named = {**role.parameters, "WebIdentityToken": token}
        # Nobody signs this one.
        return self._ask(
            "AssumeRoleWithWebIdentity", role, lambda client: client.assume_role_with_web_identity(**named), None
        )

    def _ask(self, call: str, role: Role, ask: "Callable[[STSClient], Any]", by: Credential | None) -> Credential:
        try:
            self._signer.lend(by)
            given = ask(self._client())["Credentials"]
        except ClientError as exc:
            code = _code(exc)
            fix = _FIXES.get(code, "see its code in the AWS STS API Reference")
            raise CredentialsUnavailable(f"STS answers {code} to {call} of {role.arn}: {fix}") from exc
        except BotoCoreError as exc:
            # The class alone: the message may hold what was sent.
            raise CredentialsUnavailable(f"STS does not answer {call} of {role.arn} ({type(exc).__name__})") from exc
        finally:
            self._signer.lend(None)
        return Credential(
            access_key=given["AccessKeyId"],
            secret_key=given["SecretAccessKey"],
            session_token=given["SessionToken"],
            expires_at=given["Expiration"],
        )

    def _client(self) -> "STSClient":
        with self._making:
            if self._made is None:
                session = session_with(self._signer)
                session.set_config_variable("sts_regional_endpoints", "regional")
                self._made = boto3.Session(botocore_session=session).client(
                    "sts", region_name=self._region, endpoint_url=self._url, config=_CONFIG
                )
            return self._made


def _code(exc: ClientError) -> str:
    """What STS calls it, or the status: Ceph refuses without a word."""
    code = str(exc.response.get("Error", {}).get("Code", ""))
    status = str(exc.response.get("ResponseMetadata", {}).get("HTTPStatusCode", "nothing of use"))
    return code if _CODE.fullmatch(code) and code != "Unknown" else status


class _ByThread(LentCredentials):
    """Whatever the calling thread was lent: one client signs for every source."""

    def __init__(self) -> None:
        super().__init__()
        self._local = threading.local()

    def lend(self, credential: Credential | None) -> None:
        self._local.credential = credential

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return self.frozen(self._local.credential)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleSource:
    """AssumeRole, by whatever `source` holds."""

    role: Role
    source: Credentials
    sts: Sts
    clock: Clock
    threads: Executor

    async def fetch(self) -> Credential:
        try:
            by = await self.source.current(self.clock.now())
        except CredentialsUnavailable as exc:
            raise CredentialsUnavailable(f"nothing to assume {self.role.arn} with: {exc.detail}") from exc
        assume = partial(self.sts.assume_role, self.role, by)
        async with self.sts.turn:
            return await asyncio.get_running_loop().run_in_executor(self.threads, assume)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebIdentitySource:
    """AssumeRoleWithWebIdentity, by a token in a file that somebody else keeps fresh (a Kubernetes service account)."""

    role: Role
    token_file: Path
    sts: Sts
    threads: Executor

    async def fetch(self) -> Credential:
        async with self.sts.turn:
            return await asyncio.get_running_loop().run_in_executor(self.threads, self._assume)

    def _assume(self) -> Credential:
        try:
            token = self.token_file.read_text().strip()
        except OSError as exc:
            raise CredentialsUnavailable(f"the token file {self.token_file} cannot be read: {exc.strerror}") from exc
        except UnicodeDecodeError:
            raise CredentialsUnavailable(f"the token file {self.token_file} is no text") from None
        return self.sts.assume_role_with_web_identity(self.role, token)
