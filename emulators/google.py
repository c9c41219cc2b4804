"""What the emulated Google services have in common: how they refuse, and how they read a bearer token and JSON.

    try: …
    except GoogleError as exc: return await refuse(http, refusal(exc))

Shapes: https://cloud.google.com/apis/design/errors (`{"error": {"code", "message", "status"}}`); RFC 6750 for bearers.
"""

from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from emulators.control import json_answer

CODES: Final[Mapping[str, int]] = {  # google.rpc.Code and its HTTP status
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}
UNAUTHENTICATED_TEXT: Final = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
    "authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
)

T = TypeVar("T")


class GoogleError(Exception):
    """A refusal; `body` stands instead of the usual one where a service has a shape of its own."""

    def __init__(self, status: str, message: str, *, code: int | None = None, body: object = None) -> None:
        self.code = CODES[status] if code is None else code
        self.status = status
        self.message = message
        self.body = body
        super().__init__(f"{status}: {message}")


def refusal(error: GoogleError) -> web.Response:
    """The answer to a request that is refused."""
    told = {"error": {"code": error.code, "message": error.message, "status": error.status}}
    answer = json_answer(told if error.body is None else error.body, error.code)
    if error.code == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="https://accounts.google.com/"'
    return answer


def unauthenticated() -> GoogleError:
    return GoogleError("UNAUTHENTICATED", UNAUTHENTICATED_TEXT)


def bearer(http: web.BaseRequest) -> str:
    """The token of `Authorization: Bearer …`.

    :raises GoogleError: UNAUTHENTICATED when there is none.
    """
    kind, _, token = http.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "bearer" or not token.strip():
        raise unauthenticated()
    return token.strip()


def decoded(body: bytes, type_: type[T]) -> T:
    """A JSON body as a `type_`; what it does not know is refused, as Google's front end does.

    :raises GoogleError: INVALID_ARGUMENT.
    """
    try:
        return msgspec.json.decode(body, type=type_)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise GoogleError("INVALID_ARGUMENT", f"Invalid JSON payload received. {exc}") from exc


def oauth_error(error: str, description: str, code: int = 400) -> GoogleError:
    """A refusal of a token endpoint: RFC 6749, section 5.2."""
    body: dict[str, Any] = {"error": error, "error_description": description}
    return GoogleError("INVALID_ARGUMENT", description, code=code, body=body)
