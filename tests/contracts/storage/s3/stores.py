"""Stores that speak S3, and the S3 adapters on a bucket of each."""

import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from select import select
from typing import Self

import aiohttp
import msgspec

from broker.clock import SystemClock
from broker.ports import MultipartRights
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS, Dialect, DialectName
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.lister import S3ObjectLister
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.multipart import S3MultipartRemover, S3MultipartUploads
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover
from tests.contracts.storage.s3.witness import S3Witness
from tests.contracts.storage.s3.words import S3_WORDS
from tests.contracts.storage.stores import Place, Store, Who
from tests.peers.ceph.cluster import Ceph

START_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Place(Place):
    put: S3PutSigner
    get: S3GetSigner
    objects: S3ObjectHead
    remover: S3ObjectRemover
    lister: S3ObjectLister
    mark: S3StoreMark
    witness: S3Witness


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Store(Store):
    """`writer` is another account of it, which may nothing until a bucket policy says so."""

    region: str
    dialect_name: DialectName
    credential: Credential
    owner_name: str
    writer: Credential
    writer_name: str
    witness: S3Witness

    @property
    def dialect(self) -> Dialect:
        return DIALECTS[self.dialect_name]

    @property
    def accepts_unsigned_headers(self) -> bool:
        return self.dialect.accepts_unsigned_headers

    def speaking(self, dialect: str) -> Self:
        return replace(self, dialect_name=msgspec.convert(dialect, DialectName))

    def place(
        self,
        bucket: str,
        http: aiohttp.ClientSession,
        *,
        who: Who = "owner",
        prefix: str = "uploads",
        page_size: int = 3,
    ) -> S3Place:
        return place_on(self, bucket, http, self.credential_of(who), prefix=prefix, page_size=page_size)

    def credential_of(self, who: Who) -> Credential:
        return {
            "owner": self.credential,
            "neighbour": self.writer,
            "unknown": Credential(access_key="NOBODY", secret_key=self.credential.secret_key),
            "impostor": Credential(access_key=self.credential.access_key, secret_key="wrong"),
        }[who]


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
def emulator(data: Path, dialect: DialectName, *flags: str) -> Iterator[S3Store]:
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
def strict_emulator(data: Path) -> Iterator[S3Store]:
    with emulator(data, "aws") as store:
        yield store


@contextmanager
def lenient_emulator(data: Path) -> Iterator[S3Store]:
    """As lenient as Ceph towards headers that nobody signed."""
    with emulator(data, "ceph", "--accept-unsigned-headers") as store:
        yield store


@contextmanager
def real_ceph(ceph: Ceph) -> Iterator[S3Store]:
    owner, writer = (
        Account(name=each.name, access_key=each.credential.access_key, secret_key=each.credential.secret_key)
        for each in (ceph.owner, ceph.writer)
    )
    with opened(ceph.url, ceph.region, "ceph", owner, writer) as store:
        yield replace(store, lacks=frozenset({"refuses future dates", "checks the scope", "checks session tokens"}))


@contextmanager
def opened(url: str, region: str, dialect: DialectName, owner: Account, writer: Account) -> Iterator[S3Store]:
    witness = S3Witness.of(url, region, owner.credential)
    bucket, versioned = (f"contract-{uuid.uuid4().hex[:12]}" for _ in range(2))
    witness.make_bucket(bucket)
    witness.make_bucket(versioned, is_versioned=True)
    yield S3Store(
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
        words=S3_WORDS,
    )
    witness.close()


def place_on(
    store: S3Store,
    bucket: str,
    http: aiohttp.ClientSession,
    credential: Credential,
    *,
    prefix: str = "uploads",
    page_size: int = 3,
) -> S3Place:
    sigv4 = SigV4(region=store.region)
    endpoint = Endpoint.of(bucket=bucket, region=store.region, url=store.url, addressing="path")
    credentials = FixedCredentials(credential=credential)
    caller = S3Caller(http=http, sigv4=sigv4, endpoint=endpoint, clock=SystemClock(), timeout=timedelta(seconds=10))
    objects = S3ObjectHead(caller=caller, credentials=credentials)
    return S3Place(
        put=S3PutSigner(sigv4=sigv4, endpoint=endpoint, credentials=credentials, dialect=store.dialect),
        get=S3GetSigner(sigv4=sigv4, endpoint=endpoint, credentials=credentials),
        objects=objects,
        remover=S3ObjectRemover(caller=caller, credentials=credentials, dialect=store.dialect, objects=objects),
        lister=S3ObjectLister(caller=caller, credentials=credentials, prefix=prefix, page_size=page_size),
        mark=S3StoreMark(caller=caller, reading=credentials, writing=credentials, prefix=prefix),
        multipart=MultipartRights(
            signer=S3PartSigner(sigv4=sigv4, endpoint=endpoint, credentials=credentials, dialect=store.dialect),
            uploads=S3MultipartUploads(caller=caller, credentials=credentials, dialect=store.dialect),
            remover=S3MultipartRemover(caller=caller, credentials=credentials),
        ),
        witness=store.witness,
        bucket=bucket,
    )
