"""Signs what clients send to the bucket by themselves: the PUT of an upload, the GET of what was verified.

Headers signed by PUT: host, content-length, content-type, if-none-match, x-amz-meta-* (the capsule among them), the
declared checksum where the dialect verifies it, and how the object is to be kept (`keeping.py`). By GET: host, and
if-match where no version pins. Permissions of the credentials: for `write` s3:PutObject under the prefix, for tags
s3:PutObjectTagging, for an ACL s3:PutObjectAcl, under KMS keys kms:GenerateDataKey (for parts kms:Decrypt, too), and
nothing that reads; for `read` s3:GetObject, for versioned buckets s3:GetObjectVersion, under KMS keys kms:Decrypt.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from broker.contract import Guarantees, SignedRequest
from broker.domain.errors import CredentialsUnavailable
from broker.domain.objects import CAPSULE_FIELD, Pin, UploadSpec
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.dialects import Dialect
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping
from broker.storage.s3.sigv4 import MAX_EXPIRES_SECONDS, Credential, SigV4
from broker.storage.signing import UnsignedRequest, attachment, whole_seconds

METADATA_PREFIX = "x-amz-meta-"

_CAPSULE_HEADER = f"{METADATA_PREFIX}{CAPSULE_FIELD}"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3PutSigner:
    """Signs for the endpoint that clients can reach."""

    sigv4: SigV4
    endpoint: Endpoint
    credentials: Credentials
    dialect: Dialect
    keeping: Keeping = AS_THE_BUCKET_SAYS

    def binds(self, spec: UploadSpec) -> Guarantees:
        return self.dialect.guarantees(spec.checksum)

    async def sign_put(
        self, key: str, spec: UploadSpec, capsule: str, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        credential = await self.credentials.current(now)
        headers = object_headers(spec, capsule)
        headers["if-none-match"] = "*"
        headers |= self.dialect.bound_checksums(spec.checksum)
        headers |= self.keeping.headers
        request = UnsignedRequest(
            method="PUT",
            origin=self.endpoint.origin,
            host=self.endpoint.host,
            path=self.endpoint.path(key),
            # Signed, but not among the headers that a client sets: every client sends it by itself, and a browser
            # may not touch it.
            headers={**headers, "content-length": str(spec.size_bytes)},
        )
        return _signed(self.sigv4, request, headers, credential, now=now, ends=ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class S3GetSigner:
    """Signs for the endpoint that clients can reach."""

    sigv4: SigV4
    endpoint: Endpoint
    credentials: Credentials

    async def sign_get(
        self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime
    ) -> SignedRequest:
        credential = await self.credentials.current(now)
        headers = {}
        query = [("response-content-disposition", attachment(filename))]
        if pin is not None and pin.version is not None:
            query.append(("versionId", pin.version))
        elif pin is not None:
            headers["if-match"] = f'"{pin.etag}"'
        request = UnsignedRequest(
            method="GET",
            origin=self.endpoint.origin,
            host=self.endpoint.host,
            path=self.endpoint.path(key),
            query=query,
            headers=headers,
        )
        return _signed(self.sigv4, request, headers, credential, now=now, ends=ends)


def object_headers(spec: UploadSpec, capsule: str) -> dict[str, str]:
    """Return what an object keeps beside its bytes: type, capsule, metadata."""
    headers = {"content-type": spec.content_type, _CAPSULE_HEADER: capsule}
    for name, value in spec.object_metadata.items():
        headers[f"{METADATA_PREFIX}{name}"] = value
    return headers


def _signed(
    sigv4: SigV4,
    request: UnsignedRequest,
    headers: dict[str, str],
    credential: Credential,
    *,
    now: datetime,
    ends: datetime,
) -> SignedRequest:
    start, seconds, expires_at = _window(now, ends, credential.expires_at)
    url = sigv4.presign(request, credential=credential, now=start, expires_seconds=seconds)
    return SignedRequest(method=request.method, url=url, headers=headers, expires_at=expires_at)


@lru_cache(maxsize=64)  # a batch asks for the same one a thousand times
def _window(now: datetime, ends: datetime, credential_ends: datetime | None) -> tuple[datetime, int, datetime]:
    """As `lifetime`, and when it is over."""
    start, seconds = _seconds(now, ends, credential_ends)
    return datetime.fromtimestamp(start, UTC), seconds, datetime.fromtimestamp(start + seconds, UTC)


def lifetime(now: datetime, ends: datetime, credential: Credential) -> tuple[int, int]:
    """Return X-Amz-Date (epoch seconds) and X-Amz-Expires, as `whole_seconds`; no request outlives its credential."""
    return _seconds(now, ends, credential.expires_at)


def _seconds(now: datetime, ends: datetime, credential_ends: datetime | None) -> tuple[int, int]:
    if credential_ends is not None:
        if credential_ends <= now:
            raise CredentialsUnavailable
        ends = min(ends, credential_ends)
    return whole_seconds(now, ends, at_most=MAX_EXPIRES_SECONDS)
