"""Stores that the suite runs over, the adapters under test on a bucket of each, and requests spelled by hand."""

import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from select import select
from typing import Literal

import aiohttp
import boto3
import msgspec
import yarl
from botocore.config import Config

from broker.clock import SystemClock
from broker.contract import SignedRequest
from broker.domain.objects import UploadSpec
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS, Dialect
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3Caller, S3ObjectHead, S3ObjectRemover

START_SECONDS = 30.0

# What a store may not do although SigV4 or S3 say so; named here, so that nothing is skipped in silence.
Lack = Literal["refuses unsigned x-amz headers", "refuses future dates", "checks the scope"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """A server that speaks S3, with one plain and one versioned bucket."""

    url: str
    region: str
    dialect: Dialect
    credential: Credential
    bucket: str
    versioned_bucket: str
    lacks: frozenset[Lack] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The adapters under test, on one bucket."""

    put: S3PutSigner
    get: S3GetSigner
    objects: S3ObjectHead
    remover: S3ObjectRemover
    dialect: Dialect
    lacks: frozenset[Lack]
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
    access_key: str
    secret_key: str


class Ready(msgspec.Struct, frozen=True, kw_only=True):
    """The line that `python -m emulators s3 --json` prints when it listens."""

    endpoint: str
    region: str
    accounts: list[Account]


@contextmanager
def emulator(data: Path) -> Iterator[Store]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "emulators",
            "s3",
            "--json",
            "--listen",
            "127.0.0.1:0",
            "--data",
            str(data),
            "--exit-with-stdin",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert select([process.stdout], [], [], START_SECONDS)[0], "the emulator did not start in time"
        ready = msgspec.json.decode(process.stdout.readline(), type=Ready)
        account = ready.accounts[0]
        yield with_buckets(
            url=ready.endpoint,
            region=ready.region,
            dialect=DIALECTS["aws"],
            credential=Credential(access_key=account.access_key, secret_key=account.secret_key),
        )
    finally:
        process.terminate()
        process.communicate(timeout=START_SECONDS)


def with_buckets(*, url: str, region: str, dialect: Dialect, credential: Credential) -> Store:
    admin = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=region,
        aws_access_key_id=credential.access_key,
        aws_secret_access_key=credential.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )
    bucket, versioned = (f"contract-{uuid.uuid4().hex[:12]}" for _ in range(2))
    admin.create_bucket(Bucket=bucket)
    admin.create_bucket(Bucket=versioned)
    admin.put_bucket_versioning(Bucket=versioned, VersioningConfiguration={"Status": "Enabled"})
    admin.close()
    return Store(
        url=url, region=region, dialect=dialect, credential=credential, bucket=bucket, versioned_bucket=versioned
    )


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
        lacks=store.lacks,
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
