"""Signs the parts that clients send to a multipart upload by themselves.

Obeys UploadPart of the Amazon S3 API Reference. Signed: host, content-length, and in the query partNumber and
uploadId. Nothing else, so that a browser sends a part with nothing but its bytes. No checksum header: none was
declared when the upload was created. Permission of the credential: s3:PutObject under the prefix, and nothing that
reads – on stores that obey unsigned headers a part, too, can be turned into a copy (UploadPartCopy).
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime

from broker.contract import Guarantees, SignedRequest
from broker.domain.objects import UploadSpec
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.dialects import Dialect
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.signer import lifetime
from broker.storage.s3.sigv4 import Credential, PartSeries, SigV4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Series:
    """What all parts of one upload share that are granted at one moment."""

    made_of: tuple[str, str, datetime, datetime, Credential]
    urls: PartSeries
    expires_at: datetime


@dataclass(slots=True, kw_only=True)
class S3PartSigner:
    """Signs for the endpoint that clients can reach. Remembers the last series: parts are granted by the hundred."""

    sigv4: SigV4
    endpoint: Endpoint
    credentials: Credentials
    dialect: Dialect
    _last: _Series | None = field(default=None, init=False, repr=False, compare=False)

    def binds(self, spec: UploadSpec) -> Guarantees:
        return self.dialect.guarantees_in_parts(spec.checksum)

    async def sign_part(
        self, key: str, upload_id: str, number: int, size_bytes: int, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        credential = await self.credentials.current(now)
        series = self._series(key, upload_id, now, ends, credential)
        url = series.urls.url(number, size_bytes)
        return SignedRequest(method="PUT", url=url, headers={}, expires_at=series.expires_at)

    def _series(self, key: str, upload_id: str, now: datetime, ends: datetime, credential: Credential) -> _Series:
        made_of = (key, upload_id, now, ends, credential)
        if self._last is None or self._last.made_of != made_of:
            start, seconds = lifetime(now, ends, credential)
            urls = self.sigv4.part_series(
                origin=self.endpoint.origin,
                host=self.endpoint.host,
                path=self.endpoint.path(key),
                upload_id=upload_id,
                credential=credential,
                now=datetime.fromtimestamp(start, UTC),
                expires_seconds=seconds,
            )
            self._last = _Series(made_of=made_of, urls=urls, expires_at=datetime.fromtimestamp(start + seconds, UTC))
        return self._last
