"""The lean client against the strict emulator of S3: signatures, preconditions, digests and faults of a real store."""

import asyncio
import base64
import hashlib
import json
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache

import boto3
import pytest
from botocore.config import Config

from broker.contract import SignedRequest
from emulators.process import S3Process, start_s3
from uploader.lanes import Lanes
from uploader.sender import Next

BODY = bytes(range(256)) * 256


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Process]:
    with start_s3() as process:
        yield process


@pytest.fixture(autouse=True)
def _no_faults(s3: S3Process) -> Iterator[None]:
    yield
    _set_faults(s3)


async def test_what_was_signed_is_stored_once(s3: S3Process, lanes: Lanes, key: str) -> None:
    body = BODY
    assert (await lanes.send(_signed(s3, key, body), body)).status == 200
    again = await lanes.send(_signed(s3, key, body), body)
    assert (again.status, again.code, again.next) == (412, "PreconditionFailed", Next.CONFIRM)
    assert _stored(s3, key) == body


async def test_the_etag_is_that_of_the_bytes(s3: S3Process, lanes: Lanes, key: str) -> None:
    answer = await lanes.send(_signed(s3, key, BODY), BODY)
    assert answer.etag == f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'


async def test_other_bytes_are_refused(s3: S3Process, lanes: Lanes, key: str) -> None:
    answer = await lanes.send(_signed(s3, key, BODY), BODY[:-1] + b"x")
    assert (answer.status, answer.code, answer.next) == (400, "BadDigest", Next.GIVE_UP)
    shorter = await lanes.send(_signed(s3, key, BODY), BODY[:-1])
    assert (shorter.status, shorter.code) == (403, "SignatureDoesNotMatch")


async def test_a_signature_that_expired_is_refused(s3: S3Process, lanes: Lanes, key: str) -> None:
    request = _signed(s3, key, BODY, expires=1)
    await asyncio.sleep((request.expires_at - datetime.now(UTC)).total_seconds() + 1)  # its clock counts whole seconds
    answer = await lanes.send(request, BODY)
    assert (answer.status, answer.code, answer.next) == (403, "AccessDenied", Next.REMINT)
    assert "Signature=" not in repr(answer)


async def test_with_an_answer_that_got_lost_the_bytes_are_there(s3: S3Process, lanes: Lanes, key: str) -> None:
    request = _signed(s3, key, BODY)
    _set_faults(s3, response_lost=1)
    lost = await lanes.send(request, BODY)
    assert (lost.status, lost.next) == (0, Next.REPEAT)
    _set_faults(s3)
    assert (await lanes.send(request, BODY)).next is Next.CONFIRM


async def test_a_body_that_was_reset_is_not_there(s3: S3Process, lanes: Lanes, key: str) -> None:
    request = _signed(s3, key, BODY)
    _set_faults(s3, reset_uploads=1)
    assert (await lanes.send(request, BODY)).next is Next.REPEAT
    _set_faults(s3)
    assert (await lanes.send(request, BODY)).status == 200


async def test_a_store_that_is_busy_says_so(s3: S3Process, lanes: Lanes, key: str) -> None:
    _set_faults(s3, slow_down=1)
    answer = await lanes.send(_signed(s3, key, BODY), BODY)
    assert (answer.status, answer.code, answer.next) == (503, "SlowDown", Next.REPEAT)


async def test_hundreds_in_trouble_arrive_unharmed(s3: S3Process, lanes: Lanes, key: str) -> None:
    _set_faults(s3, slow_down=0.1, response_lost=0.1, reset_uploads=0.1, seed=7)
    bodies = {f"{key}-{number}": hashlib.sha256(b"%d" % number).digest() * 64 for number in range(150)}
    left = iter(bodies.items())

    async def work() -> None:
        for name, body in left:
            request = _signed(s3, name, body)
            for _ in range(20):
                if (await lanes.send(request, body)).next is Next.CONFIRM:
                    break

    await asyncio.gather(*[work() for _ in range(8)])
    _set_faults(s3)
    assert all(_stored(s3, name) == body for name, body in bodies.items())


@pytest.fixture
def key(request: pytest.FixtureRequest) -> str:
    return f"{request.node.name} ü+".replace("[", "/").replace("]", "")


@cache
def _client(s3: S3Process) -> "boto3.client":
    return boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
        region_name=s3.region,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


def _signed(s3: S3Process, key: str, body: bytes, expires: int = 300) -> SignedRequest:
    sha256 = base64.b64encode(hashlib.sha256(body).digest()).decode()
    url = _client(s3).generate_presigned_url(
        "put_object",
        Params={
            "Bucket": s3.bucket,
            "Key": key,
            "ContentType": "text/plain",
            "ContentLength": len(body),
            "IfNoneMatch": "*",
            "ChecksumSHA256": sha256,
        },
        ExpiresIn=expires,
    )
    headers = {"Content-Type": "text/plain", "If-None-Match": "*", "x-amz-checksum-sha256": sha256}
    return SignedRequest(
        method="PUT", url=url, headers=headers, expires_at=datetime.now(UTC) + timedelta(seconds=expires)
    )


def _stored(s3: S3Process, key: str) -> bytes:
    body: bytes = _client(s3).get_object(Bucket=s3.bucket, Key=key)["Body"].read()
    return body


def _set_faults(s3: S3Process, **faults: float) -> None:
    request = urllib.request.Request(f"{s3.endpoint}/_emulator/faults", json.dumps(faults).encode(), method="PUT")
    with urllib.request.urlopen(request, timeout=5) as answer:
        assert answer.status == 200
