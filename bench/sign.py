"""Signing a PUT: our SigV4 against boto3's generate_presigned_url, in one process.

python bench/sign.py [--check]

Both sides get a bucket, a key, and the same six headers to bind, and give a URL; before anything is timed the two
URLs must be equal. A third row, for information, is the whole PutSigner port, which also keeps the lifetime within
its limits and makes the SignedRequest. Each side reads the clock by itself, as it does in a server. Client, endpoint
and credential are made once on both sides, for that is how either is used.
"""

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench._harness import print_conditions, print_table, report, seconds_per_call, take_turns, wants_check
from broker.contract import Checksum, SignedRequest
from broker.domain.objects import UploadSpec
from broker.storage.s3.credentials import FixedCredentials
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.signer import S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.signing import UnsignedRequest

try:
    import boto3
    from botocore.config import Config
except ImportError as missing:
    sys.exit(f"bench/sign.py compares with boto3, which is not installed ({missing}): make install")

BAR = 20.0
TURNS = 15
BUCKET = "acme-uploads"
REGION = "eu-central-1"
KEY = "uploads/3fq2v7k5w6n4x2l7c3m5h9d8z1/quarterly report.csv"
LIFETIME_SECONDS = 900
SIZE_BYTES = 10_485_760
CONTENT_TYPE = "text/csv"
SHA256 = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="
CAPSULE = "c" * 320
METADATA = {"upload-session": CAPSULE, "mtime": "1732100000"}
# The S3 documentation's own example keys.
ACCESS_KEY = "AKIAIOSFODNN7EXAMPLE"
SECRET_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105


CREDENTIAL = Credential(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
ENDPOINT = Endpoint.of(bucket=BUCKET, region=REGION, url="https://s3.amazonaws.com", addressing="virtual")


def ours() -> Callable[[], str]:
    """Return our way to the URL. Without an addressing style boto3 signs for the global host: so do we here."""
    signer = SigV4(region=REGION)

    def sign() -> str:
        headers = {
            "content-length": str(SIZE_BYTES),
            "content-type": CONTENT_TYPE,
            "if-none-match": "*",
            "x-amz-checksum-sha256": SHA256,
            **{f"x-amz-meta-{name}": value for name, value in METADATA.items()},
        }
        request = UnsignedRequest(
            method="PUT", origin=ENDPOINT.origin, host=ENDPOINT.host, path=ENDPOINT.path(KEY), headers=headers
        )
        return signer.presign(request, credential=CREDENTIAL, now=datetime.now(UTC), expires_seconds=LIFETIME_SECONDS)

    return sign


def our_port() -> Callable[[], str]:
    """Return the way that the broker itself takes, credentials and expiry included."""
    signer = S3PutSigner(
        sigv4=SigV4(region=REGION),
        endpoint=ENDPOINT,
        credentials=FixedCredentials(credential=CREDENTIAL),
        dialect=DIALECTS["aws"],
    )
    spec = UploadSpec(
        filename="quarterly report.csv",
        size_bytes=SIZE_BYTES,
        content_type=CONTENT_TYPE,
        checksum=Checksum(sha256=SHA256),
        object_metadata={"mtime": METADATA["mtime"]},
    )
    lifetime = timedelta(seconds=LIFETIME_SECONDS)

    def sign() -> str:
        now = datetime.now(UTC)
        # Driven by hand: nothing in it waits, and an event loop would be measured instead.
        try:
            signer.sign_put(KEY, spec, CAPSULE, now=now, ends=now + lifetime).send(None)
        except StopIteration as done:
            request: SignedRequest = done.value
            return request.url
        raise AssertionError("fixed credentials never wait")

    return sign


def theirs() -> Callable[[], str]:
    """Return boto3's way to the URL."""
    client = boto3.client(
        "s3",
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(signature_version="s3v4"),
    )

    def sign() -> str:
        params = {
            "Bucket": BUCKET,
            "Key": KEY,
            "ContentLength": SIZE_BYTES,
            "ContentType": CONTENT_TYPE,
            "IfNoneMatch": "*",
            "ChecksumSHA256": SHA256,
            "Metadata": METADATA,
        }
        url: str = client.generate_presigned_url("put_object", Params=params, ExpiresIn=LIFETIME_SECONDS)
        return url

    return sign


def require_same_url(one: Callable[[], str], other: Callable[[], str]) -> None:
    """End the bench unless both give the same URL; a second may pass between two calls, but not three times."""
    pairs = [(one(), other()) for _ in range(3)]
    if all(left != right for left, right in pairs):
        sys.exit("the two sides do not sign the same request:\n{}\n{}".format(*pairs[-1]))


def main() -> None:
    is_check = wants_check("presigned PUT: ours against boto3")
    our_sign, port_sign, their_sign = ours(), our_port(), theirs()
    require_same_url(our_sign, their_sign)
    require_same_url(port_sign, their_sign)
    our_series, port_series, their_series = take_turns(
        {
            "ours": lambda: seconds_per_call(our_sign, calls=4_000),
            "ours, the whole PutSigner port": lambda: seconds_per_call(port_sign, calls=4_000),
            "boto3 generate_presigned_url": lambda: seconds_per_call(their_sign, calls=200),
        },
        turns=TURNS,
    )
    print_table("one presigned PUT, six signed headers", [our_series, port_series, their_series], unit="µs", scale=1e6)
    print_conditions("boto3", "botocore", durability="none (pure computation)")
    report("sign", ratio=their_series.median / our_series.median, bar=BAR, is_check=is_check)


if __name__ == "__main__":
    main()
