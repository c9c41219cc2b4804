"""Stores that the suite runs over, the adapters under test on a bucket of each, and requests spelled by hand."""

import asyncio
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from select import select
from typing import Literal
from urllib.parse import urlsplit

import aiohttp
import msgspec
import yarl

from broker.clock import SystemClock
from broker.contract import SignedRequest
from broker.domain.objects import UploadSpec
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS, Dialect, DialectName
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover
from tests.contracts.storage.witness import Witness
from tests.peers.ceph.cluster import Ceph

START_SECONDS = 30.0

# What a store may not do although SigV4 or S3 say so; named here, so that nothing is skipped in silence. For Ceph
# tests/peers/ceph/test_facts.py proves each.
Lack = Literal["refuses future dates", "checks the scope", "checks session tokens"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A server that speaks S3, with one plain and one versioned bucket.

    `writer` is another account of it, which may nothing until a bucket policy says so.
    """

    url: str
    region: str
    dialect_name: DialectName
    credential: Credential
    owner_name: str
    writer: Credential
    writer_name: str
    bucket: str
    versioned_bucket: str
    witness: Witness
    lacks: frozenset[Lack] = frozenset()

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.dialect_name]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The adapters under test, on one bucket."""

    put: S3PutSigner
    get: S3GetSigner
    objects: S3ObjectHead
    remover: S3ObjectRemover
    dialect: Dialect
    witness: Witness
    bucket: str
    clock: SystemClock = field(default_factory=SystemClock)

    async def sign_put(self, key: str, spec: UploadSpec, *, capsule: str = "sealed") -> SignedRequest:
        now = self.clock.now()
        return await self.put.sign_put(key, spec, capsule, now=now, ends=now + timedelta(minutes=5))


PlaceWith = Callable[[Credential], Place]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A request as it goes out: what was signed, or a neighbour of it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


class Account(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    access_key: str
    secret_key: str

    @property
    def credential(self) -> Credential:
        return Credential(access_key=self.access_key, secret_key=self.secret_key)


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that `python -m emulators s3 --json` prints when it listens."""

    endpoint: str
    region: str
    accounts: list[Account]


@contextmanager
def emulator(data: Path, dialect: DialectName, *flags: str) -> Iterator[Store]:
    argv = [sys.executable, "-m", "emulators", "s3", "--json", "--listen", "127.0.0.1:0", "--data", str(data)]
    process = subprocess.Popen(
        [*argv, "--exit-with-stdin", *flags], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert select([process.stdout], [], [], START_SECONDS)[0], "the emulator did not start in time"
        ready = msgspec.json.decode(process.stdout.readline(), type=Ready)
        owner, writer, *_ = ready.accounts
        with opened(ready.endpoint, ready.region, dialect, owner, writer) as store:
            yield store
    finally:
        process.terminate()
        process.communicate(timeout=START_SECONDS)


@contextmanager
def strict_emulator(data: Path) -> Iterator[Store]:
    with emulator(data, "aws") as store:
        yield store


@contextmanager
def lenient_emulator(data: Path) -> Iterator[Store]:
    """As lenient as Ceph towards headers that nobody signed."""
    with emulator(data, "ceph", "--accept-unsigned-headers") as store:
        yield store


@contextmanager
def real_ceph(ceph: Ceph) -> Iterator[Store]:
    owner, writer = (
        Account(name=each.name, access_key=each.credential.access_key, secret_key=each.credential.secret_key)
        for each in (ceph.owner, ceph.writer)
    )
    with opened(ceph.url, ceph.region, "ceph", owner, writer) as store:
        yield replace(store, lacks=frozenset({"refuses future dates", "checks the scope", "checks session tokens"}))


@contextmanager
def opened(url: str, region: str, dialect: DialectName, owner: Account, writer: Account) -> Iterator[Store]:
    witness = Witness.of(url, region, owner.credential)
    bucket, versioned = (f"contract-{uuid.uuid4().hex[:12]}" for _ in range(2))
    witness.make_bucket(bucket)
    witness.make_bucket(versioned, is_versioned=True)
    yield Store(
        url=url,
        region=region,
        dialect_name=dialect,
        credential=owner.credential,
        owner_name=owner.name,
        writer=writer.credential,
        writer_name=writer.name,
        bucket=bucket,
        versioned_bucket=versioned,
        witness=witness,
    )
    witness.close()


def place_on(store: Store, bucket: str, http: aiohttp.ClientSession, credential: Credential) -> Place:
    sigv4 = SigV4(region=store.region)
    endpoint = Endpoint.of(bucket=bucket, region=store.region, url=store.url, addressing="path")
    credentials = FixedCredentials(credential=credential)
    caller = S3Caller(http=http, sigv4=sigv4, endpoint=endpoint, clock=SystemClock(), timeout=timedelta(seconds=10))
    objects = S3ObjectHead(caller=caller, credentials=credentials)
    return Place(
        put=S3PutSigner(sigv4=sigv4, endpoint=endpoint, credentials=credentials, dialect=store.dialect),
        get=S3GetSigner(sigv4=sigv4, endpoint=endpoint, credentials=credentials),
        objects=objects,
        remover=S3ObjectRemover(caller=caller, credentials=credentials, dialect=store.dialect, objects=objects),
        dialect=store.dialect,
        witness=store.witness,
        bucket=bucket,
    )


class Send:
    """Sends a request exactly as spelled, without what a client would add or mend by itself."""

    def __init__(self, http: aiohttp.ClientSession) -> None:
        self._http = http

    async def __call__(self, wire: Wire) -> Reply:
        async with self._http.request(
            wire.method,
            yarl.URL(wire.url, encoded=True),
            headers=wire.headers,
            data=wire.body or None,
            skip_auto_headers=["content-type", "accept-encoding", "user-agent"],
            allow_redirects=False,
        ) as response:
            return Reply(
                status=response.status,
                headers={name.lower(): value for name, value in response.headers.items()},
                body=await response.read(),
            )

    async def put(self, request: SignedRequest, body: bytes) -> Reply:
        return await self(as_signed(request, body))


def as_signed(request: SignedRequest, body: bytes = b"") -> Wire:
    return Wire(method=request.method, url=request.url, headers=dict(request.headers), body=body)


async def send_raw(request: SignedRequest, headers: dict[str, str], body: bytes) -> int:
    """The status of the answer to a request whose framing no client would write; closes afterwards."""
    async with _written(request, headers, body) as (reader, _):
        head = await reader.readline()
        return int(head.split()[1])


async def break_off(request: SignedRequest, headers: dict[str, str], body: bytes) -> None:
    """Ends in the middle, and waits until the store has noticed and hung up."""
    async with _written(request, headers, body) as (reader, writer):
        writer.write_eof()
        await reader.read()


@asynccontextmanager
async def _written(
    request: SignedRequest, headers: dict[str, str], body: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    parts = urlsplit(request.url)
    lines = [f"{request.method} {parts.path}?{parts.query} HTTP/1.1", f"host: {parts.netloc}"]
    lines += [f"{name}: {value}" for name, value in {**request.headers, **headers}.items()]
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode() + body)
            await writer.drain()
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
