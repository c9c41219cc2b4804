"""Signs what clients send to Cloud Storage by themselves: the PUT of an upload, the GET of what was verified.

Headers signed by PUT: host, content-type, x-goog-content-length-range, x-goog-if-generation-match, x-goog-meta-* (the
capsule among them), and x-goog-hash of the declared digests that Cloud Storage verifies. By GET: host; the generation
and the disposition stand in the query. Permissions of the service accounts that sign: the writer
storage.objects.create and nothing that reads, the reader storage.objects.get; the broker's own identity needs
iam.serviceAccounts.signBlob on both. A signature lives as long as the account's key, not as long as any token.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol

from broker.contract import Guarantees, SignedRequest
from broker.domain.objects import CAPSULE_FIELD, Pin, UploadSpec
from broker.storage.gcs.dialect import hash_header, put_guarantees
from broker.storage.gcs.endpoint import Endpoint, xml_path
from broker.storage.gcs.v4 import MAX_EXPIRES_SECONDS, GoogV4
from broker.storage.signing import UnsignedRequest, attachment, whole_seconds

METADATA_PREFIX = "x-goog-meta-"

_CAPSULE_HEADER = f"{METADATA_PREFIX}{CAPSULE_FIELD}"


class Signatory(Protocol):
    """A service account that signs, wherever its key is."""

    @property
    def email(self) -> str:
        """Its address, by which Cloud Storage finds the certificate."""

    async def sign(self, payload: bytes) -> bytes:
        """The RSA signature (PKCS #1 v1.5, SHA-256) of `payload`, by a key that is valid for 12 hours more.

        :raises CredentialsUnavailable, SigningQuotaExhausted, LedgerUnavailable:
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsPutSigner:
    """Signs for the endpoint that clients can reach, as the writer."""

    bucket: str
    endpoint: Endpoint
    signatory: Signatory
    v4: GoogV4 = field(default_factory=GoogV4)

    def binds(self, spec: UploadSpec) -> Guarantees:
        return put_guarantees(spec.checksum)

    async def sign_put(
        self, key: str, spec: UploadSpec, capsule: str, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        headers = _put_headers(spec, capsule)
        request = UnsignedRequest(
            method="PUT",
            origin=self.endpoint.origin,
            host=self.endpoint.host,
            path=xml_path(self.bucket, key),
            headers=headers,
        )
        return await _signed(self.v4, request, headers, self.signatory, now=now, ends=ends)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsGetSigner:
    """Signs for the endpoint that clients, or consumers, can reach, as the reader."""

    bucket: str
    endpoint: Endpoint
    signatory: Signatory
    v4: GoogV4 = field(default_factory=GoogV4)

    async def sign_get(
        self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime
    ) -> SignedRequest:
        headers = {}
        query = [("response-content-disposition", attachment(filename))]
        if pin is not None and pin.version is not None:
            query.append(("generation", pin.version))
        elif pin is not None:
            headers["if-match"] = f'"{pin.etag}"'
        request = UnsignedRequest(
            method="GET",
            origin=self.endpoint.origin,
            host=self.endpoint.host,
            path=xml_path(self.bucket, key),
            query=query,
            headers=headers,
        )
        return await _signed(self.v4, request, headers, self.signatory, now=now, ends=ends)


def _put_headers(spec: UploadSpec, capsule: str) -> dict[str, str]:
    headers = {
        "content-type": spec.content_type,
        "x-goog-content-length-range": f"{spec.size_bytes},{spec.size_bytes}",
        "x-goog-if-generation-match": "0",
        _CAPSULE_HEADER: capsule,
    }
    digests = hash_header(spec.checksum)
    if digests is not None:
        headers["x-goog-hash"] = digests
    for name, value in spec.object_metadata.items():
        headers[f"{METADATA_PREFIX}{name}"] = value
    return headers


async def _signed(
    v4: GoogV4,
    request: UnsignedRequest,
    headers: dict[str, str],
    signatory: Signatory,
    *,
    now: datetime,
    ends: datetime,
) -> SignedRequest:
    start, seconds, expires_at = _window(now, ends)
    draft = v4.draft(request, signer=signatory.email, now=start, expires_seconds=seconds)
    url = draft.signed(await signatory.sign(draft.string_to_sign))
    return SignedRequest(method=request.method, url=url, headers=headers, expires_at=expires_at)


@lru_cache(maxsize=64)  # a batch asks for the same one a thousand times
def _window(now: datetime, ends: datetime) -> tuple[datetime, int, datetime]:
    """Return when it begins, how many seconds it lives, and when it is over."""
    start, seconds = whole_seconds(now, ends, at_most=MAX_EXPIRES_SECONDS)
    return datetime.fromtimestamp(start, UTC), seconds, datetime.fromtimestamp(start + seconds, UTC)
