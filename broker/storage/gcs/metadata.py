"""The account of the machine, workload or function that the broker runs on, from its metadata server.

Obeys "Authenticate workloads by using the metadata server" of the Compute Engine documentation. google-auth does the
same, but only where the package `requests` is installed, which the broker does without.
"""

import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from google.auth.credentials import Credentials
from google.auth.environment_vars import GCE_METADATA_HOST
from google.auth.exceptions import TransportError

from broker.domain.errors import CredentialsUnavailable

_HOST: Final = "metadata.google.internal"
_TOKEN: Final = "/computeMetadata/v1/instance/service-accounts/default/token"  # noqa: S105 - a path
_FLAVOR: Final = {"Metadata-Flavor": "Google"}  # asked for, and answered: nobody else is taken for it
_TIMEOUT_SECONDS: Final = 3.0
_NOTHING: Final = "no application default credentials: no file of them, and no metadata server that gives a token"


class MetadataCredentials(Credentials):
    """Give a token of the account, narrowed to `scopes` where the machine's server can do that."""

    def __init__(self, scopes: Sequence[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._wanted = urlencode({"scopes": ",".join(scopes)})
        self._host = os.environ.get(GCE_METADATA_HOST) or _HOST

    def refresh(self, request: Any) -> None:
        """:raises CredentialsUnavailable: nobody answers, or not as a metadata server does."""
        url = f"http://{self._host}{_TOKEN}?{self._wanted}"
        try:
            answer = request(url=url, headers=dict(_FLAVOR), timeout=_TIMEOUT_SECONDS)
        except TransportError as exc:
            raise CredentialsUnavailable(_NOTHING) from exc
        if answer.status != 200 or answer.headers.get("metadata-flavor") != "Google":
            raise CredentialsUnavailable(_NOTHING)
        given = json.loads(answer.data)
        self.token = given["access_token"]
        # Naive, as google-auth has it.
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(seconds=given["expires_in"])
