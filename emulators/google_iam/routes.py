"""Which operation a path asks for, under the name that counters and faults use."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

from aiohttp import web

from emulators.google import GoogleError
from emulators.google_iam import certificates, credentials, metadata, oauth, sts
from emulators.google_iam.context import Call

Operation = Callable[[Call], Awaitable[web.Response]]

_PATHS: Final[dict[tuple[str, str], tuple[str, Operation]]] = {
    ("POST", "/token"): ("token", oauth.token),
    ("POST", "/v1/token"): ("sts", sts.exchange),
    ("GET", "/tokeninfo"): ("tokeninfo", certificates.token_info),
    ("GET", "/oauth2/v1/certs"): ("certs", certificates.oauth2_v1),
    ("GET", "/oauth2/v3/certs"): ("certs", certificates.oauth2_v3),
    ("GET", "/"): ("metadata", metadata.serve),
}
_ACCOUNT: Final = re.compile(r"/v1/(projects/[^/:]+/serviceAccounts/[^/:]+)(?::(\w+)|/(\w+))")
_X509: Final = re.compile(r"/(?:robot|service_accounts)/v1/metadata/x509/([^/]+)")


@dataclass(frozen=True, slots=True)
class Route:
    name: str
    operation: Operation


def find(method: str, path: str) -> Route:
    """:raises GoogleError: NOT_FOUND."""
    if (method, path) in _PATHS:
        return Route(*_PATHS[method, path])
    if path.startswith(metadata.PREFIX):
        return Route("metadata", metadata.serve)
    if method == "GET" and (found := _X509.fullmatch(path)):
        return Route("x509", partial(certificates.x509_of, email=found[1]))
    if (found := _ACCOUNT.fullmatch(path)) and method == "POST" and found[2] in credentials.OPERATIONS:
        return Route(found[2], partial(_on_account, resource=found[1], name=found[2]))
    raise GoogleError("NOT_FOUND", f"The requested URL {path} was not found on this server.")


async def _on_account(call: Call, resource: str, name: str) -> web.Response:
    return await credentials.OPERATIONS[name](call, credentials.target_of(resource, name))
