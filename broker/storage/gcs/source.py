"""With what the broker proves to Google who it is: the source credential, which may do nothing but impersonate.

google-auth finds it and speaks with whoever gives it: a service account's key, workload identity federation
(`external_account`), application default credentials, the metadata server. That blocks, so it happens in a thread; and
it is asked for a token only, once an hour – whatever is signed or called with it is our own business (`iam`), because
google-auth opens a connection for each signature, never repeats what was answered by 429, and does not share a refresh.

Files are read anew for each token: whoever replaces a key restarts nothing.
"""

import asyncio
import json
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any, Final

import google.auth
import google.auth.transport.urllib3
import urllib3
from google.auth import aws, identity_pool, pluggable
from google.auth.credentials import Credentials, with_scopes_if_required
from google.auth.environment_vars import CREDENTIALS as ADC_FILE
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError
from google.auth.transport import Request
from google.oauth2 import service_account

from broker.domain.errors import CredentialsUnavailable
from broker.storage.gcs.metadata import MetadataCredentials
from broker.storage.gcs.tokens import AccessToken

# Enough for signBlob and generateAccessToken (their reference, "Authorization scopes"), and for nothing else.
IAM_SCOPES: Final = ("https://www.googleapis.com/auth/iam",)

_TIMEOUT: Final = urllib3.Timeout(connect=5, read=10)  # of each try; google-auth tries three times
_AWS_TOKEN: Final = "urn:ietf:params:aws:token-type:aws4_request"  # noqa: S105 - AIP-4117, subject_token_type
# RFC 6749 section 5.2 (error), as google-auth spells it at the beginning of what it raises.
_OAUTH_ERROR: Final = re.compile(r"(?:Error code )?([a-z][a-z_]{2,40})\b")
_TROUBLE: Final = (GoogleAuthError, urllib3.exceptions.HTTPError, OSError, ValueError, LookupError, TypeError)

Opened = Callable[[Request], Credentials]


@dataclass(frozen=True, slots=True, kw_only=True)
class GoogleSource:
    """:param opened: finds the credential, anew for each token; called in a thread."""

    opened: Opened
    threads: Executor

    async def fetch(self) -> AccessToken:
        return await asyncio.get_running_loop().run_in_executor(self.threads, self._refreshed)

    def _refreshed(self) -> AccessToken:
        try:
            with urllib3.PoolManager(timeout=_TIMEOUT) as pool:
                request = google.auth.transport.urllib3.Request(pool)  # type: ignore[no-untyped-call]
                credentials = self.opened(request)
                # Not `before_request`: that would also look up regional access boundaries, at Google's own address.
                credentials.refresh(request)  # type: ignore[no-untyped-call]
        except _TROUBLE as exc:
            raise CredentialsUnavailable(_told(exc)) from exc
        if not credentials.token or credentials.expiry is None:
            raise CredentialsUnavailable("google-auth gives no token that ends")
        return AccessToken(text=str(credentials.token), expires_at=credentials.expiry.replace(tzinfo=UTC))


def key_file(path: Path, scopes: Sequence[str] = IAM_SCOPES) -> Opened:
    """The key of a service account, as the console gives it."""
    return lambda _: _service_account(_read(path), scopes)


def config_file(path: Path, scopes: Sequence[str] = IAM_SCOPES) -> Opened:
    """Workload identity federation: AIP-4117, `external_account`."""
    return lambda _: _external_account(_read(path), scopes)


def application_default(scopes: Sequence[str] = IAM_SCOPES) -> Opened:
    """What Google's own tools find (AIP-4110): the file that GOOGLE_APPLICATION_CREDENTIALS names, gcloud's own, and
    else the machine's metadata server."""

    def opened(request: Request) -> Credentials:
        # Scopes afterwards: with them google-auth asks for the project of a federated identity, by two calls more, and
        # asks gcloud's own login for scopes that it was not given.
        try:
            credentials, _ = google.auth.default(request=request)
        except DefaultCredentialsError as exc:
            if os.environ.get(ADC_FILE):
                raise CredentialsUnavailable(f"the file that {ADC_FILE} names cannot be used") from exc
            return MetadataCredentials(scopes)
        return _scoped(credentials, scopes)

    return opened


def _scoped(credentials: Credentials, scopes: Sequence[str]) -> Credentials:
    scoped: Credentials = with_scopes_if_required(credentials, scopes)  # type: ignore[no-untyped-call]
    return scoped


def _service_account(info: dict[str, Any], scopes: Sequence[str]) -> Credentials:
    if info.get("type") != "service_account":
        raise CredentialsUnavailable("the key file is not that of a service account")
    return _made(service_account.Credentials.from_service_account_info, info, scopes)


def _external_account(info: dict[str, Any], scopes: Sequence[str]) -> Credentials:
    if info.get("type") != "external_account":
        raise CredentialsUnavailable("the configuration file is not one of workload identity federation")
    if info.get("subject_token_type") == _AWS_TOKEN:
        return _made(aws.Credentials.from_info, info, scopes)
    if "executable" in (info.get("credential_source") or {}):
        return _made(pluggable.Credentials.from_info, info, scopes)
    return _made(identity_pool.Credentials.from_info, info, scopes)


def _made(kind: Callable[..., Any], info: dict[str, Any], scopes: Sequence[str]) -> Credentials:
    """google-auth does not say what its constructors return."""
    credentials: Credentials = kind(info, scopes=scopes)
    return credentials


def _read(path: Path) -> dict[str, Any]:
    try:
        info = json.loads(path.read_bytes())
    except OSError as exc:
        raise CredentialsUnavailable(f"{path} cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise CredentialsUnavailable(f"{path} is not JSON") from exc
    if not isinstance(info, dict):
        raise CredentialsUnavailable(f"{path} holds no JSON object")
    return info


def _told(exc: Exception) -> str:
    """What may be said of it: never the message, which may quote an answer or a file."""
    if isinstance(exc, RefreshError) and (word := _OAUTH_ERROR.match(str(exc.args[0] if exc.args else ""))):
        return f"google-auth is refused a token: {word[1]}"
    return f"google-auth gets no token ({type(exc).__name__})"
