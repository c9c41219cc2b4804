"""Granting 1,000 parts in one call: our Grant.parts against boto3's generate_presigned_url a thousand times.

python bench/parts.py [--check]

Both sides get bucket, key, upload id, part numbers and lengths, and give URLs; before anything is timed the thousand
URLs must be equal. Ours is the whole use case as `POST /upload-sessions/{id}/parts` calls it: credential, lifetime
within its limits, SignedRequest and PartRequest of every part. A third row, for information, is the PartSigner port
alone. Each side reads the clock by itself, as it does in a server. Client, endpoint and credential are made once on
both sides, for that is how either is used.
"""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import aiohttp

from bench._harness import print_conditions, print_table, report, seconds_per_call, take_turns, wants_check
from broker.clock import SystemClock
from broker.domain.capsule import CapsuleSealer
from broker.domain.multipart import MAX_PARTS_PER_CALL, Multipart
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination
from broker.domain.sessions import Facts, Session, begin
from broker.domain.uris import UriSealer
from broker.ports import Bucket, MultipartRights
from broker.services.grant import Grant
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.multipart import S3MultipartRemover, S3MultipartUploads
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover

try:
    import boto3
    from botocore.config import Config
except ImportError as missing:
    sys.exit(f"bench/parts.py compares with boto3, which is not installed ({missing}): make install")

BAR = 20.0
TURNS = 15
BUCKET = "acme-uploads"
REGION = "eu-central-1"
KEY = "uploads/3fq2v7k5w6n4x2l7c3m5h9d8z1/quarterly report.csv"
UPLOAD_ID = "VXBsb2FkIElEIGZvciA2aWWpbmcncyBteS1tb3ZpZS5tMnRzIHVwbG9hZA"
LIFETIME = timedelta(seconds=900)
PART_BYTES = 16_777_216
NUMBERS = range(1, MAX_PARTS_PER_CALL + 1)
SIZE_BYTES = PART_BYTES * MAX_PARTS_PER_CALL - 17
# The S3 documentation's own example keys.
CREDENTIAL = Credential(access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")  # noqa: S106
ENDPOINT = Endpoint.of(bucket=BUCKET, region=REGION, url=None, addressing="virtual")

T = TypeVar("T")
GrantParts = Callable[[], list[str]]


def bucket_on(http: aiohttp.ClientSession) -> tuple[Bucket, MultipartRights]:
    """Return a bucket as the broker wires it; nothing of it is called here but its signer of parts."""
    sigv4, credentials, dialect = SigV4(region=REGION), FixedCredentials(credential=CREDENTIAL), DIALECTS["aws"]
    caller = S3Caller(http=http, sigv4=sigv4, endpoint=ENDPOINT, clock=SystemClock(), timeout=timedelta(seconds=10))
    head = S3ObjectHead(caller=caller, credentials=credentials)
    rights = MultipartRights(
        signer=S3PartSigner(sigv4=sigv4, endpoint=ENDPOINT, credentials=credentials, dialect=dialect),
        uploads=S3MultipartUploads(caller=caller, credentials=credentials, dialect=dialect),
        remover=S3MultipartRemover(caller=caller, credentials=credentials),
    )
    bucket = Bucket(
        destination=Destination(name="default", bucket=BUCKET, prefix="uploads"),
        put=S3PutSigner(sigv4=sigv4, endpoint=ENDPOINT, credentials=credentials, dialect=dialect),
        get=S3GetSigner(sigv4=sigv4, endpoint=ENDPOINT, credentials=credentials),
        objects=head,
        remover=S3ObjectRemover(caller=caller, credentials=credentials, dialect=dialect, objects=head),
        multipart=rights,
    )
    return bucket, rights


def session_of(rights: MultipartRights) -> Session:
    """Return a session that has its upload id."""
    now = datetime.now(UTC)
    spec = UploadSpec(filename="quarterly report.csv", size_bytes=SIZE_BYTES, content_type="text/csv")
    facts = Facts(
        principal="app",
        destination="default",
        bucket=BUCKET,
        key=KEY,
        spec=spec,
        guarantees=rights.signer.binds(spec),
        created_at=now,
        expires_at=now + timedelta(days=1),
        requests_end_at=now + LIFETIME,
        multipart=Multipart(part_size_bytes=PART_BYTES, part_count=MAX_PARTS_PER_CALL, upload_id=UPLOAD_ID),
    )
    return begin("3fq2v7k5w6n4x2l7c3m5h9d8z1", facts, now)


def ours(bucket: Bucket, rights: MultipartRights) -> GrantParts:
    """Return the way that the broker takes."""
    grant, session = Grant(sealer=CapsuleSealer([b"k" * 32]), uris=UriSealer([])), session_of(rights)

    def sign() -> list[str]:
        now = datetime.now(UTC)
        parts = at_once(grant.parts(session, bucket, NUMBERS, now=now, ends=now + LIFETIME))
        return [part.request.url for part in parts]

    return sign


def our_port(rights: MultipartRights) -> GrantParts:
    """Return the signer alone."""

    def sign() -> list[str]:
        now, sign_part = datetime.now(UTC), rights.signer.sign_part
        ends = now + LIFETIME
        return [
            at_once(sign_part(KEY, UPLOAD_ID, number, size_of(number), now=now, ends=ends)).url for number in NUMBERS
        ]

    return sign


def theirs() -> GrantParts:
    """Return boto3's way to the URLs."""
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=CREDENTIAL.access_key,
        aws_secret_access_key=CREDENTIAL.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "virtual"}),
    )

    def sign_one(number: int) -> str:
        params = {
            "Bucket": BUCKET,
            "Key": KEY,
            "PartNumber": number,
            "UploadId": UPLOAD_ID,
            "ContentLength": size_of(number),
        }
        seconds = int(LIFETIME.total_seconds())
        url: str = client.generate_presigned_url("upload_part", Params=params, ExpiresIn=seconds)
        return url

    return lambda: [sign_one(number) for number in NUMBERS]


def size_of(number: int) -> int:
    return min(PART_BYTES, SIZE_BYTES - (number - 1) * PART_BYTES)


def at_once(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive by hand: nothing in it waits, and an event loop would be measured instead."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("fixed credentials never wait")


def require_same_urls(one: GrantParts, other: GrantParts) -> None:
    """End the bench unless both give the same URLs: each number in some try, for seconds pass meanwhile."""
    unequal = set(NUMBERS)
    for _ in range(5):
        unequal -= {number for number, left, right in zip(NUMBERS, one(), other(), strict=True) if left == right}
    if unequal:
        sys.exit(f"the two sides do not sign the same part {min(unequal)}")


async def main() -> None:
    is_check = wants_check("1,000 part requests in a call: ours against boto3")
    async with aiohttp.ClientSession() as http:
        bucket, rights = bucket_on(http)
        our_sign, port_sign, their_sign = ours(bucket, rights), our_port(rights), theirs()
        require_same_urls(our_sign, their_sign)
        require_same_urls(port_sign, our_sign)
        series = take_turns(
            {
                "ours, Grant.parts": lambda: seconds_per_call(our_sign, calls=5),
                "ours, the PartSigner port alone": lambda: seconds_per_call(port_sign, calls=5),
                "boto3 generate_presigned_url": lambda: seconds_per_call(their_sign, calls=1),
            },
            turns=TURNS,
        )
    print_table("1,000 presigned parts of one upload", series, unit="ms", scale=1e3)
    print_conditions("boto3", "botocore", durability="none (pure computation)")
    our_series, _, their_series = series
    report("parts", ratio=their_series.median / our_series.median, bar=BAR, is_check=is_check)


if __name__ == "__main__":
    asyncio.run(main())
