"""Who asks, and what he may do: a bearer token or a V4 signature, and the permissions that a bucket grants.

Sources, under https://cloud.google.com/storage/docs/: access-control/iam-permissions, authentication#oauth-scopes,
access-control/signed-urls ("the signer must have the permission"). Nobody has a permission that no `--grant` names.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from emulators.gcs import v4
from emulators.gcs.errors import GcsError
from emulators.gcs.iam import Iam
from emulators.gcs.request import GcsRequest
from emulators.gcs.settings import Grant

_AUTH: Final = "https://www.googleapis.com/auth/"
WRITES: Final = frozenset(
    f"{_AUTH}{name}" for name in ("cloud-platform", "devstorage.full_control", "devstorage.read_write")
)
READS: Final = WRITES | {f"{_AUTH}devstorage.read_only", f"{_AUTH}cloud-platform.read-only"}
_READING: Final = (".get", ".list", ".getIamPolicy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """An account that proved itself; its token's scopes, or none for a signature, which is for one request."""

    email: str
    scopes: frozenset[str] | None = None

    def is_scoped_for(self, permission: str) -> bool:
        return self.scopes is None or bool(self.scopes & (READS if permission.endswith(_READING) else WRITES))


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    iam: Iam
    location: str

    async def caller(self, request: GcsRequest) -> Caller | None:
        """Who asks; None when the request does not say.

        :raises GcsError: everything that Cloud Storage refuses about a token or a signature.
        """
        authorization = request.header("authorization")
        if request.api == "xml" and v4.is_signed(request):
            if authorization is not None:
                raise GcsError("InvalidArgument", "Only one way to authenticate is allowed.")
            return await self._signer(request)
        if authorization is None:
            return None
        kind, _, token = authorization.partition(" ")
        if kind.lower() != "bearer" or not token.strip():
            raise GcsError("InvalidCredentials")
        info = await self.iam.token(token.strip())
        return Caller(email=info.email, scopes=frozenset(info.scope.split()))

    async def _signer(self, request: GcsRequest) -> Caller:
        claim = v4.claim_of(request)
        v4.check(request, claim, location=self.location, now=datetime.now(UTC))
        canonical = v4.canonical_request(request, claim)
        to_sign = v4.string_to_sign(claim, canonical)
        if not await self.iam.has_signed(claim.email, to_sign.encode(), claim.signature):
            raise GcsError(
                "SignatureDoesNotMatch",
                "The request signature we calculated does not match the signature you provided. Check your Google "
                "secret key and signing method.",
                fields={"StringToSign": to_sign, "CanonicalRequest": canonical},
            )
        return Caller(email=claim.email)


class Grants:
    """The permissions of every bucket."""

    def __init__(self, grants: Iterable[Grant]) -> None:
        self._held: dict[tuple[str, str], frozenset[str]] = {}
        for grant in grants:
            where = (grant.bucket, grant.email)
            self._held[where] = self._held.get(where, frozenset()) | grant.permissions

    def allows(self, caller: Caller | None, bucket: str, permission: str) -> bool:
        return (
            caller is not None
            and permission in self._held.get((bucket, caller.email), ())
            and caller.is_scoped_for(permission)
        )

    def require(self, caller: Caller | None, bucket: str, permission: str) -> None:
        """:raises GcsError: AuthenticationRequired, InsufficientScope, AccessDenied."""
        if self.allows(caller, bucket, permission):
            return
        if caller is not None and not caller.is_scoped_for(permission):
            raise GcsError("InsufficientScope")
        who = "Anonymous caller" if caller is None else caller.email
        kind = "object" if permission.startswith("storage.objects.") else "bucket"
        raise GcsError(
            "AuthenticationRequired" if caller is None else "AccessDenied",
            f"{who} does not have {permission} access to the Google Cloud Storage {kind}. Permission '{permission}' "
            "denied on resource (or it may not exist).",
        )
