"""A bucket whose every call is timed, and a span where somebody follows. So is signing, where others have the key."""

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import TypeVar

from opentelemetry.trace import SpanKind

from broker.contract import Guarantees, SignedRequest
from broker.domain.errors import BrokerError
from broker.domain.multipart import StoredPart
from broker.domain.objects import ObjectInfo, Pin, UploadSpec
from broker.ports import (
    Bucket,
    GetSigner,
    MultipartRemover,
    MultipartUploads,
    ObjectHead,
    ObjectRemover,
    PutSigner,
    ResumableUploads,
)
from broker.telemetry.metrics import Metrics
from broker.telemetry.tracing import Tracing

T = TypeVar("T")


def timed(bucket: Bucket, metrics: Metrics, tracing: Tracing) -> Bucket:
    """The same rights. A capability that is absent stays absent."""
    calls = Calls(destination=bucket.destination.name, metrics=metrics, tracing=tracing)
    rights = bucket.multipart
    if rights is not None:
        uploads = TimedUploads(uploads=rights.uploads, calls=calls)
        rights = replace(rights, uploads=uploads, remover=TimedMultipartRemover(remover=rights.remover, calls=calls))
    if bucket.signs_afar:
        inside = bucket.consumer_get
        bucket = replace(
            bucket,
            put=TimedPutSigner(signer=bucket.put, calls=calls),
            get=TimedGetSigner(signer=bucket.get, calls=calls),
            consumer_get=inside and TimedGetSigner(signer=inside, calls=calls),
        )
    return replace(
        bucket,
        objects=TimedHead(objects=bucket.objects, calls=calls),
        remover=TimedRemover(remover=bucket.remover, calls=calls),
        multipart=rights,
        resumable=bucket.resumable and TimedResumables(uploads=bucket.resumable, calls=calls),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls to one store."""

    destination: str
    metrics: Metrics
    tracing: Tracing

    async def of(self, name: str, call: Awaitable[T]) -> T:
        began, outcome = perf_counter(), "cut-off"
        try:
            with self.tracing.step(f"store {name}", {"upload.destination": self.destination}, SpanKind.CLIENT):
                answer = await call
            outcome = "ok"
        except BrokerError as trouble:
            outcome = trouble.code
            raise
        finally:
            self.metrics.called(self.destination, name, outcome, perf_counter() - began)
        return answer


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedPutSigner:
    signer: PutSigner
    calls: Calls

    def binds(self, spec: UploadSpec) -> Guarantees:
        return self.signer.binds(spec)

    async def sign_put(
        self, key: str, spec: UploadSpec, capsule: str, *, now: datetime, ends: datetime
    ) -> SignedRequest:
        return await self.calls.of("sign_put", self.signer.sign_put(key, spec, capsule, now=now, ends=ends))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedGetSigner:
    signer: GetSigner
    calls: Calls

    async def sign_get(
        self, key: str, pin: Pin | None, *, filename: str, now: datetime, ends: datetime
    ) -> SignedRequest:
        return await self.calls.of("sign_get", self.signer.sign_get(key, pin, filename=filename, now=now, ends=ends))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedHead:
    objects: ObjectHead
    calls: Calls

    async def head(self, key: str) -> ObjectInfo | None:
        return await self.calls.of("head", self.objects.head(key))

    async def head_version(self, key: str, version: str) -> ObjectInfo | None:
        return await self.calls.of("head", self.objects.head_version(key, version))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedRemover:
    remover: ObjectRemover
    calls: Calls

    async def remove(self, key: str, pin: Pin) -> bool:
        return await self.calls.of("remove", self.remover.remove(key, pin))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedUploads:
    uploads: MultipartUploads
    calls: Calls

    async def open(self, key: str, spec: UploadSpec, capsule: str) -> str:
        return await self.calls.of("open", self.uploads.open(key, spec, capsule))

    async def parts(self, key: str, upload_id: str) -> list[StoredPart] | None:
        return await self.calls.of("parts", self.uploads.parts(key, upload_id))

    async def complete(self, key: str, upload_id: str, parts: Sequence[StoredPart]) -> bool:
        return await self.calls.of("complete", self.uploads.complete(key, upload_id, parts))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedMultipartRemover:
    remover: MultipartRemover
    calls: Calls

    async def open_uploads(self, key: str) -> list[str]:
        return await self.calls.of("open_uploads", self.remover.open_uploads(key))

    async def abort(self, key: str, upload_id: str) -> bool:
        return await self.calls.of("abort", self.remover.abort(key, upload_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedResumables:
    uploads: ResumableUploads
    calls: Calls

    @property
    def chunk_multiple_bytes(self) -> int:
        return self.uploads.chunk_multiple_bytes

    def binds(self, spec: UploadSpec) -> Guarantees:
        return self.uploads.binds(spec)

    async def open(self, key: str, spec: UploadSpec, capsule: str, *, origin: str | None) -> str:
        return await self.calls.of("open_resumable", self.uploads.open(key, spec, capsule, origin=origin))

    async def offset(self, uri: str, size_bytes: int) -> int | None:
        return await self.calls.of("offset", self.uploads.offset(uri, size_bytes))

    async def cancel(self, uri: str) -> bool:
        return await self.calls.of("cancel", self.uploads.cancel(uri))
