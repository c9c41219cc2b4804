"""The broker's side of `bench/gcs_mint.py`: the ports that a mint uses, on one event loop, over one pool."""

import asyncio
import ssl
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp
import uvloop

from bench._gcs_minting import (
    BUCKET,
    CONTENT_TYPE,
    GOOGLE_STORAGE,
    KEY,
    LIFETIME_SECONDS,
    MD5,
    METADATA,
    SCOPES,
    SIZE_BYTES,
    WRITER,
    Task,
    measured_here,
)
from broker.clock import SystemClock
from broker.contract import Checksum
from broker.domain.objects import UploadSpec
from broker.ledger.rates import MemoryRates
from broker.storage.gcs.caller import GcsCaller
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.impersonation import Impersonated, ImpersonatedSource
from broker.storage.gcs.quota import SigningQuota
from broker.storage.gcs.resumable import GcsResumableUploads
from broker.storage.gcs.signer import GcsPutSigner
from broker.storage.gcs.source import GoogleSource, key_file
from broker.wiring.renewing import Renewals

SPEC = UploadSpec(
    filename="quarterly report.csv",
    size_bytes=SIZE_BYTES,
    content_type=CONTENT_TYPE,
    checksum=Checksum(md5=MD5),
    object_metadata={"mtime": METADATA["mtime"]},
)
CAPSULE = METADATA["upload-session"]
CLOCK = SystemClock()


async def main(task: Task) -> None:
    renewals = Renewals(clock=CLOCK)
    trusted = ssl.create_default_context(cafile=str(task.ca))
    connector = aiohttp.TCPConnector(limit=256, ssl=trusted)  # as the house has it
    with ThreadPoolExecutor(1) as threads:
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
            source = renewals.hold(GoogleSource(opened=key_file(task.key_file), threads=threads))
            iam = IamCredentials(http=http, source=source, clock=CLOCK, endpoint=task.iam)
            mint = _put(iam) if task.what == "put" else _session(iam, http, renewals, task.store)

            async def run(count: int) -> str:
                turns = iter(range(count))
                sample = ""

                async def work() -> None:
                    nonlocal sample
                    for _ in turns:
                        sample = await mint()

                await asyncio.gather(*(work() for _ in range(task.at_once)))
                return sample

            await measured_here(run, task.count)


def _put(iam: IamCredentials) -> Callable[[], Awaitable[str]]:
    # More than any project has: the quota is counted, and does not bind.
    quota = SigningQuota(rates=MemoryRates(CLOCK), name="acme", per_second=100_000)
    signer = GcsPutSigner(
        bucket=BUCKET,
        endpoint=Endpoint.of(GOOGLE_STORAGE),
        signatory=Impersonated(email=WRITER, iam=iam, quota=quota),
    )

    async def mint() -> str:
        now = CLOCK.now()
        request = await signer.sign_put(KEY, SPEC, CAPSULE, now=now, ends=now + timedelta(seconds=LIFETIME_SECONDS))
        return request.url

    return mint


def _session(
    iam: IamCredentials, http: aiohttp.ClientSession, renewals: Renewals, store: str
) -> Callable[[], Awaitable[str]]:
    endpoint = Endpoint.of(store)
    uploads = GcsResumableUploads(
        caller=GcsCaller(http=http, endpoint=endpoint, clock=CLOCK, timeout=timedelta(seconds=10)),
        tokens=renewals.hold(ImpersonatedSource(email=WRITER, iam=iam, scopes=SCOPES)),
        bucket=BUCKET,
        public=endpoint,
    )

    async def mint() -> str:
        return await uploads.open(KEY, SPEC, CAPSULE, origin=None)

    return mint


if __name__ == "__main__":
    uvloop.run(main(Task.told()))
