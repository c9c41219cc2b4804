"""What can be made to go wrong here; `emulators/faults.py` decides when, `emulators/control.py` listens to tests.

Faults befall the routes that hand out tokens and signatures (`HANDING_OUT`). `certs` (of the issuer of ID tokens),
`x509` (of service accounts) and `tokeninfo` go wrong only when they are named: emulated stores rely on the last two,
as Google's own rely on nothing of the kind.
"""

import asyncio
import time
from collections import Counter, deque
from typing import Annotated, Final

import msgspec
from aiohttp import web

from emulators.faults import Faults, Fraction, Seconds, SeededSettings
from emulators.google import GoogleError, unauthenticated
from emulators.refusing import Disconnect

HANDING_OUT: Final = frozenset(
    {"token", "sts", "metadata", "generateAccessToken", "signBlob", "generateIdToken", "testIamPermissions"}
)
Status = Annotated[int, msgspec.Meta(ge=0, le=599)]


class FaultSettings(SeededSettings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All harmless unless said otherwise."""

    routes: tuple[str, ...] = ()
    """fractions, and `stall_seconds`, befall these alone; when empty, all of `HANDING_OUT`"""
    unauthorized: Fraction = 0
    """of the calls are answered 401, as if the token had been revoked"""
    forbidden: Fraction = 0
    """of the calls are answered 403, as while a grant is not yet everywhere"""
    exhausted: Fraction = 0
    """of the calls are answered 429"""
    internal: Fraction = 0
    """of the calls are answered 500"""
    unavailable: Fraction = 0
    """of the calls are answered 503"""
    garbled: Fraction = 0
    """of the calls are answered 200 with a page that is no JSON"""
    hung_up: Fraction = 0
    """of the calls get no answer: the connection closes"""
    stall_seconds: Seconds = 0
    """every call waits so long before anything is done"""
    signs_per_second: Annotated[int, msgspec.Meta(ge=0)] = 0
    """more signBlob calls than these are answered 429; 0 is unlimited"""
    script: dict[str, list[Status]] = msgspec.field(default_factory=dict)
    """by route, what the next calls are answered, in this order: a status, or 0 to behave"""


_TEXTS: Final = {
    403: (
        "PERMISSION_DENIED",
        "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).",
    ),
    429: ("RESOURCE_EXHAUSTED", "Quota exceeded for quota metric 'Generate credential request'."),
    500: ("INTERNAL", "Internal error encountered."),
    503: ("UNAVAILABLE", "The service is currently unavailable."),
}
KINDS: Final = {"unauthorized": 401, "forbidden": 403, "exhausted": 429, "internal": 500, "unavailable": 503}


class IamFaults(Faults[FaultSettings]):
    def __init__(self, settings: FaultSettings, counted: Counter[str]) -> None:
        super().__init__(settings, counted)
        self._signed: deque[float] = deque()

    def set(self, settings: FaultSettings) -> None:
        super().set(settings)
        self._script = {route: deque(statuses) for route, statuses in settings.script.items()}

    async def befall(self, route: str) -> web.Response | None:
        """What goes wrong with a call, before anything is done; an answer where that is a wrong one.

        :raises GoogleError: a refusal.
        :raises Disconnect: no answer.
        """
        self._scripted(route)
        if route not in (self.settings.routes or HANDING_OUT):
            return None
        if self.settings.stall_seconds:
            await asyncio.sleep(self.settings.stall_seconds)
        for kind, status in KINDS.items():
            if self.hits(kind):
                raise _refusal(status)
        if self.hits("hung_up"):
            raise Disconnect
        return web.Response(text="<!doctype html><p>That's an error.") if self.hits("garbled") else None

    def _scripted(self, route: str) -> None:
        waiting = self._script.get(route)
        status = waiting.popleft() if waiting else 0
        if not status:
            return
        self._counted["script"] += 1
        raise _refusal(status)

    def meter(self) -> None:
        """One more signature.

        :raises GoogleError: RESOURCE_EXHAUSTED when there were too many within a second.
        """
        if not (most := self.settings.signs_per_second):
            return
        now = time.monotonic()
        while self._signed and self._signed[0] <= now - 1:
            self._signed.popleft()
        if len(self._signed) >= most:
            self._counted["signs_per_second"] += 1
            raise _refusal(429)
        self._signed.append(now)


def _refusal(status: int) -> GoogleError:
    if status == 401:
        return unauthenticated()
    told, text = _TEXTS.get(status, ("INTERNAL", "Scripted."))
    return GoogleError(told, text, code=status)
