"""Recovering an empty ledger from its bucket: `upload-broker recover` against listing and HEADs with boto3.

python bench/recover.py [--check] [--objects 100000]

The strict emulator holds so many objects with real capsules, in a process of its own; the Redis is private and empty.
Ours lists page by page, asks HEAD for each object, opens its capsule and creates its session: everything that it takes
until the looker can verify it. The peer, boto3's list_objects_v2 and head_object from 16 threads, only fetches the same
answers and opens nothing. Both do so in turns over a sample of the same objects; then ours recovers all of them once,
which is the rate that an operator waits for. The store and both sides share the cores of one machine.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import print_conditions, print_table, report, take_turns
from broker.contract import Guarantees, Level
from broker.dev.redis_server import RedisServer, start_redis
from broker.domain.capsule import CapsuleSealer, capsule_of
from broker.domain.keys import new_session_id, object_key
from broker.domain.objects import CAPSULE_FIELD, UploadSpec
from broker.domain.sessions import Facts
from broker.ledger.wire import Wire
from broker.ports import ObjectLister
from broker.services.sweep_report import RecoverReport
from broker.settings import (
    CredentialSettings,
    LedgerSettings,
    RightSettings,
    S3Destination,
    Secret,
    SecretSettings,
    Settings,
)
from broker.wiring import open_house
from emulators.process import S3Process, start_s3
from emulators.s3.catalogue import Catalogue, Stored

try:
    import boto3
    from botocore.config import Config
except ImportError as missing:
    sys.exit(f"bench/recover.py compares with boto3, which is not installed ({missing}): make install")

BAR = 2.0
TURNS = 5
SAMPLE = 2_000
THREADS = 16
BUCKET = "acme-uploads"
ALL, PART = "uploads", "sample"  # two destinations of one bucket
KEY = "k" * 48
SIZE_BYTES = 10_485_760


def fill(data: Path, prefix: str, count: int, owner: str) -> int:
    """Write objects straight into the emulator's catalogue, as signed uploads would have left them; their bytes apart.

    Return how many objects lie in the bucket then.
    """
    sealer = CapsuleSealer([KEY.encode()])
    catalogue = Catalogue(data / "catalogue.sqlite3", is_fsynced=False)
    enforced = Guarantees(
        size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.ENFORCED, checksum=Level.NONE
    )
    spec = UploadSpec(filename="scan.tif", size_bytes=SIZE_BYTES, content_type="image/tiff")
    now = datetime.now(UTC)
    for number in range(count):
        session_id = new_session_id(0)
        facts = Facts(
            principal="app",
            destination=prefix,
            bucket=BUCKET,
            key=object_key(prefix, session_id, spec.filename),
            spec=spec,
            guarantees=enforced,
            created_at=now,
            expires_at=now + timedelta(days=1),
            requests_end_at=now + timedelta(minutes=15),
            metadata={"case": str(number)},
        )
        capsule = sealer.seal(capsule_of(session_id, facts), bucket=BUCKET, key=facts.key)
        stored = Stored(
            version="null",
            seq=catalogue.next_seq(),
            modified=time.time(),
            owner=owner,
            size_bytes=SIZE_BYTES,
            etag=f"{number:032x}",
            headers={"content-type": spec.content_type},
            metadata={CAPSULE_FIELD: capsule},
        )
        catalogue.put(BUCKET, facts.key, stored)
    catalogue.close()
    return count


@contextmanager
def world(objects: int) -> Iterator[tuple[S3Process, RedisServer, Settings]]:
    """A store with `objects` and a sample, a Redis, and the configuration that joins them."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (directory / "redis").mkdir()
        data = directory / "objects"
        with start_s3(data=data, buckets=(BUCKET,)) as s3:
            owner = s3.accounts[0]
        for prefix, count in ((PART, SAMPLE), (ALL, objects)):
            fill(data, prefix, count, owner.name)
        account = f"{owner.name}:{owner.access_key}:{owner.secret_key}"
        s3 = stack.enter_context(start_s3(data=data, buckets=(BUCKET,), accounts=(account,)))
        redis = start_redis(directory / "redis")
        stack.callback(redis.stop)
        os.environ |= {"BENCH_KEY": KEY, "BENCH_SECRET": s3.secret_key}
        credential = CredentialSettings(access_key_id=s3.access_key, secret_access_key=Secret(env="BENCH_SECRET"))
        places = {
            prefix: S3Destination(
                dialect="aws",
                bucket=BUCKET,
                region=s3.region,
                endpoint=s3.endpoint,
                prefix=prefix,
                credentials=RightSettings(default=credential),
            )
            for prefix in (ALL, PART)
        }
        secrets = SecretSettings(capsule_keys=(Secret(env="BENCH_KEY"),))
        yield s3, redis, Settings(ledger=LedgerSettings(url=redis.url), secrets=secrets, destinations=places)


def recovered(settings: Settings, prefix: str, count: int) -> RecoverReport:
    """Empty the ledger, and recover it from one prefix."""

    async def run() -> RecoverReport:
        wire = Wire(settings.ledger.url)
        await wire.call("FLUSHALL")
        await wire.close()
        async with open_house(settings) as house:
            await house.upkeep.take_over([house.upkeep.buckets[prefix]])
            return await house.upkeep.recover(house.upkeep.buckets[prefix])

    done = asyncio.run(run())
    if done.adopted.objects != count or done.failed:
        sys.exit(f"{done.adopted.objects} of {count} objects were adopted, {done.failed} failed")
    return done


def mark(settings: Settings) -> None:
    """Do as the first looker does: leave a note in each prefix."""

    async def run() -> None:
        async with open_house(settings) as house:
            await house.marker.mark()

    asyncio.run(run())


def listed(settings: Settings, prefix: str) -> float:
    """Objects a second that the lister alone gives."""

    async def run() -> float:
        async with open_house(settings) as house:
            lister, count = cast("ObjectLister", house.upkeep.buckets[prefix].lister), 0
            start = time.perf_counter()
            async for page in lister.objects():
                count += len(page)
            return count / (time.perf_counter() - start)

    return asyncio.run(run())


def theirs(s3: S3Process, prefix: str, count: int) -> Callable[[], float]:
    """Return boto3's way to the same answers, in seconds an object."""
    client: Any = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=THREADS),
    )

    def run() -> float:
        start, seen = time.perf_counter(), 0
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{prefix}/")
        with ThreadPoolExecutor(THREADS) as pool:
            for page in pages:
                keys = [each["Key"] for each in page["Contents"] if not each["Key"].endswith("/.broker")]
                for answer in pool.map(lambda key: client.head_object(Bucket=BUCKET, Key=key), keys):
                    seen += CAPSULE_FIELD in answer["Metadata"]
        if seen != count:
            sys.exit(f"boto3 saw {seen} capsules of {count}")
        return (time.perf_counter() - start) / count

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description="an empty ledger recovered from its bucket: ours against boto3")
    parser.add_argument("--check", action="store_true", help="exit 1 when the ratio is below its bar")
    parser.add_argument("--objects", type=int, default=100_000)
    given = parser.parse_args()
    with world(given.objects) as (s3, _, settings):
        mark(settings)
        series = take_turns(
            {
                "ours: list, HEAD, open, create": lambda: 1 / recovered(settings, PART, SAMPLE).rate,
                f"boto3, {THREADS} threads: list, HEAD": theirs(s3, PART, SAMPLE),
            },
            turns=TURNS,
        )
        print_table(f"{SAMPLE:,} objects of one prefix, each", series, unit="µs", scale=1e6)
        listing = listed(settings, ALL)
        whole = recovered(settings, ALL, given.objects)
    print(
        f"{whole.listed.objects:,} objects listed and adopted in {whole.seconds:.1f} s: {whole.rate:,.0f} a second; "
        f"listed alone: {listing:,.0f} a second"
    )
    print_conditions("boto3", "botocore", "aiohttp", durability="everysec", store="emulator, one process")
    ours, peer = series
    report("recover", ratio=peer.median / ours.median, bar=BAR, is_check=given.check)


if __name__ == "__main__":
    main()
