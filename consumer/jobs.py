"""What a processor knows of its job: everything but the lease token and the signed GET."""

from datetime import datetime

from msgspec import Struct

from broker import contract


class Lease(Struct, frozen=True, kw_only=True):
    """Which try this is. The token that proves it stays with the worker."""

    epoch: int
    expires_at: datetime


class Job(Struct, frozen=True, kw_only=True):
    """A verified upload. `id` and `lease.epoch` together name this try: give both to every effect outside."""

    id: str
    filename: str
    size_bytes: int
    content_type: str
    destination: str
    etag: str
    version: str | None
    checksum: contract.Checksum
    metadata: dict[str, str]
    owner: str | None
    batch: str | None
    attempts: contract.Attempts
    lease: Lease
    traceparent: str | None = None


def job_of(leased: contract.Job, traceparent: str = "") -> Job:
    """The same job without its secrets.

    :param traceparent: of this try, for calls that the processor makes (W3C Trace Context); empty: nobody follows.
    """
    return Job(
        id=leased.id,
        filename=leased.filename,
        size_bytes=leased.size_bytes,
        content_type=leased.content_type,
        destination=leased.destination,
        etag=leased.etag,
        version=leased.version,
        checksum=leased.checksum,
        metadata=leased.metadata,
        owner=leased.owner,
        batch=leased.batch,
        attempts=leased.attempts,
        lease=Lease(epoch=leased.lease.epoch, expires_at=leased.lease.expires_at),
        traceparent=traceparent or None,
    )
