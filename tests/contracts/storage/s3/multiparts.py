"""The adapters of multipart uploads on a bucket of the store under test, and what an attacker does to a signed part."""

import asyncio
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

import aiohttp
import yarl

from broker.clock import SystemClock
from broker.contract import SignedRequest
from broker.domain.multipart import MIN_PART_BYTES, Multipart, StoredPart, is_exact
from broker.domain.objects import UploadSpec
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.multipart import S3MultipartRemover, S3MultipartUploads
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.wire import Reply, Send, Wire

# Two parts: the first as small as S3 allows, the last smaller.
LAST_BYTES = 7
SPEC = UploadSpec(
    filename="report.csv",
    size_bytes=MIN_PART_BYTES + LAST_BYTES,
    content_type="text/csv",
    object_metadata={"mtime": "1732100000"},
)
BODY = (b"0123456789abcde\n" * (MIN_PART_BYTES // 16)) + b"L" * LAST_BYTES

Change = Callable[[Wire], Wire]


class SendLarge(Send):
    """Sends as `Send` does, and bodies of megabytes as a stream, without which aiohttp warns."""

    async def __call__(self, wire: Wire) -> Reply:
        async with self._http.request(
            wire.method,
            yarl.URL(wire.url, encoded=True),
            headers=wire.headers,
            data=io.BytesIO(wire.body) if wire.body else None,
            skip_auto_headers=["content-type", "content-disposition", "accept-encoding", "user-agent"],
            allow_redirects=False,
        ) as response:
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Reply(status=response.status, headers=headers, body=await response.read())


@dataclass(frozen=True, slots=True, kw_only=True)
class PartsPlace:
    """The adapters under test, on one bucket."""

    signer: S3PartSigner
    uploads: S3MultipartUploads
    remover: S3MultipartRemover
    objects: S3ObjectHead
    send: Send
    clock: SystemClock = field(default_factory=SystemClock)

    @classmethod
    def on(cls, store: S3Store, bucket: str, http: aiohttp.ClientSession, credential: Credential) -> "PartsPlace":
        sigv4, credentials = SigV4(region=store.region), FixedCredentials(credential=credential)
        endpoint = Endpoint.of(bucket=bucket, region=store.region, url=store.url, addressing="path")
        caller = S3Caller(http=http, sigv4=sigv4, endpoint=endpoint, clock=SystemClock(), timeout=timedelta(seconds=10))
        return cls(
            signer=S3PartSigner(sigv4=sigv4, endpoint=endpoint, credentials=credentials, dialect=store.dialect),
            uploads=S3MultipartUploads(caller=caller, credentials=credentials, dialect=store.dialect),
            remover=S3MultipartRemover(caller=caller, credentials=credentials),
            objects=S3ObjectHead(caller=caller, credentials=credentials),
            send=SendLarge(http),
        )

    async def sign(self, key: str, upload_id: str, number: int, size_bytes: int) -> SignedRequest:
        now = self.clock.now()
        ends = now + timedelta(minutes=5)
        return await self.signer.sign_part(key, upload_id, number, size_bytes, now=now, ends=ends)

    async def send_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        """The ETag that the client was told."""
        reply = await self.send.put(await self.sign(key, upload_id, number, len(body)), body)
        assert reply.status == 200
        return reply.headers["etag"].strip('"')

    async def uploaded(self, key: str, *, body: bytes = BODY) -> tuple[str, list[StoredPart]]:
        """An upload of `SPEC` with all its parts: its id, and the parts as the store lists them."""
        upload_id = await self.uploads.open(key, SPEC, "sealed")
        await self.send_part(key, upload_id, 1, body[:MIN_PART_BYTES])
        await self.send_part(key, upload_id, 2, body[MIN_PART_BYTES:])
        stored = await self.uploads.parts(key, upload_id)
        assert stored is not None
        assert is_exact(Multipart(part_size_bytes=MIN_PART_BYTES, part_count=2), SPEC.size_bytes, stored)
        return upload_id, stored

    async def send_many(self, key: str, upload_id: str, numbers: Sequence[int], *, at_once: int = 16) -> None:
        """Tiny parts, each as long as its number has digits."""
        doors = asyncio.Semaphore(at_once)

        async def one(number: int) -> None:
            async with doors:
                await self.send_part(key, upload_id, number, str(number).encode())

        await asyncio.gather(*(one(number) for number in numbers))


def with_part_header(name: str, value: str) -> Change:
    return lambda wire: replace(wire, headers={**wire.headers, name: value})


def with_part_body(body: bytes) -> Change:
    return lambda wire: replace(wire, body=body)


def with_part_method(method: str) -> Change:
    return lambda wire: replace(wire, method=method)


def in_part_url(old: str, new: str) -> Change:
    def change(wire: Wire) -> Wire:
        assert old in wire.url
        return replace(wire, url=wire.url.replace(old, new, 1))

    return change
