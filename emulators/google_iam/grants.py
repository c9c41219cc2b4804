"""Who may do what to which service account: https://cloud.google.com/iam/docs/service-account-permissions.

A chain of delegates is checked link by link
(https://cloud.google.com/iam/docs/create-short-lived-credentials-delegated): the caller may delegate to the first,
each to the next, and the last may do the thing itself to the target.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from emulators.google import GoogleError
from emulators.google_iam.settings import Grant

GET_ACCESS_TOKEN: Final = "iam.serviceAccounts.getAccessToken"  # noqa: S105 - a permission's name
GET_OPEN_ID_TOKEN: Final = "iam.serviceAccounts.getOpenIdToken"  # noqa: S105
IMPLICIT_DELEGATION: Final = "iam.serviceAccounts.implicitDelegation"
SIGN_BLOB: Final = "iam.serviceAccounts.signBlob"
SIGN_JWT: Final = "iam.serviceAccounts.signJwt"
TOKEN_CREATOR: Final = frozenset({GET_ACCESS_TOKEN, GET_OPEN_ID_TOKEN, IMPLICIT_DELEGATION, SIGN_BLOB, SIGN_JWT})


class Grants:
    """Nothing is allowed that was not granted; not even to a service account on itself, as with Google."""

    def __init__(self, creators: Iterable[Grant], delegators: Iterable[Grant]) -> None:
        self.replace(creators, delegators)

    def replace(self, creators: Iterable[Grant], delegators: Iterable[Grant]) -> None:
        self._creators = frozenset(creators)
        self._delegators = frozenset(delegators)

    def permissions(self, source: str, target: str) -> frozenset[str]:
        """What `source` may do to `target`."""
        grant = Grant(source, target)
        if grant in self._creators:
            return TOKEN_CREATOR
        return frozenset({IMPLICIT_DELEGATION}) if grant in self._delegators else frozenset()

    def demand(self, permission: str, caller: str, delegates: Sequence[str], target: str) -> None:
        """:raises GoogleError: PERMISSION_DENIED, in the same words whether the target exists or not."""
        links = [caller, *delegates]
        for source, next_ in zip(links, delegates, strict=False):
            self._demand(IMPLICIT_DELEGATION, source, next_)
        self._demand(permission, links[-1], target)

    def _demand(self, permission: str, source: str, target: str) -> None:
        if permission not in self.permissions(source, target):
            text = f"Permission '{permission}' denied on resource (or it may not exist)."
            raise GoogleError("PERMISSION_DENIED", text)
