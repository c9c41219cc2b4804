"""Each misbehaviour is the one that was asked for, and stops when told."""

import http.client
import time
from collections.abc import Callable, Iterator

import pytest

from emulators.process import S3Process, start_s3
from tests.emulators.conftest import Client, client_of
from tests.emulators.faults import counters, faults
from tests.emulators.signing import Signer
from tests.emulators.wire import Wire, exchange

BODY = b"0123456789" * 50_000
Refusal = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def flaky() -> Iterator[S3Process]:
    with start_s3() as process:
        yield process


@pytest.fixture(autouse=True)
def _well_behaved(flaky: S3Process) -> Iterator[None]:
    yield
    faults(flaky)


@pytest.fixture(scope="module")
def client(flaky: S3Process) -> Iterator[Client]:
    client = client_of(flaky)
    yield client
    client.close()


@pytest.fixture
def signer(flaky: S3Process) -> Signer:
    return Signer(access_key=flaky.access_key, secret_key=flaky.secret_key, host=flaky.endpoint.removeprefix("http://"))


def test_unknown_and_impossible_settings_are_refused(flaky: S3Process) -> None:
    for body in (b'{"event_lost": 1}', b'{"events_lost": 1.5}', b"nonsense"):
        assert exchange(flaky.endpoint, "PUT", "/_emulator/faults", body=body).status == 422
    assert b'"events_lost":0' in exchange(flaky.endpoint, "GET", "/_emulator/faults").body
    assert exchange(flaky.endpoint, "GET", "/_emulator/nothing").status == 404


def test_response_is_lost_after_the_object_was_stored(
    flaky: S3Process, client: Client, signer: Signer, key: str
) -> None:
    faults(flaky, response_lost=1)
    with pytest.raises(ConnectionResetError):
        exchange(flaky.endpoint, "PUT", signer.presign("PUT", f"/uploads/{key}"), body=BODY)
    assert client.head_object(Bucket="uploads", Key=key)["ContentLength"] == len(BODY)


def test_slow_down_is_answered_with_503(flaky: S3Process, client: Client, key: str, refusal: Refusal) -> None:
    faults(flaky, slow_down=1)
    assert refusal(client.put_object, Bucket="uploads", Key=key, Body=BODY) == (503, "SlowDown")
    faults(flaky)
    client.put_object(Bucket="uploads", Key=key, Body=BODY)


def test_create_only_write_meets_a_conflict(flaky: S3Process, client: Client, key: str, refusal: Refusal) -> None:
    faults(flaky, conflict=1)
    where = {"Bucket": "uploads", "Key": key, "Body": BODY}
    assert refusal(client.put_object, **where, IfNoneMatch="*") == (409, "ConditionalRequestConflict")
    assert refusal(client.head_object, Bucket="uploads", Key=key)[0] == 404
    faults(flaky)
    client.put_object(**where, IfNoneMatch="*")


def test_bodies_are_slow_both_ways(flaky: S3Process, client: Client, key: str) -> None:
    faults(flaky, slow_bytes_per_second=2 * len(BODY))
    start = time.monotonic()
    client.put_object(Bucket="uploads", Key=key, Body=BODY)
    stored = time.monotonic()
    client.get_object(Bucket="uploads", Key=key)["Body"].read()
    assert 0.4 < stored - start < 5
    assert 0.4 < time.monotonic() - stored < 5


def test_upload_is_reset_and_stores_nothing(
    flaky: S3Process, client: Client, signer: Signer, key: str, refusal: Refusal
) -> None:
    faults(flaky, reset_uploads=1)
    with Wire(flaky.endpoint) as wire:
        head = [("host", wire.host), ("content-length", str(len(BODY)))]
        wire.send_head("PUT", signer.presign("PUT", f"/uploads/{key}"), head)
        wire.send(BODY[: len(BODY) // 2 + 1])
        with pytest.raises(ConnectionResetError):
            wire.read()
    assert refusal(client.head_object, Bucket="uploads", Key=key)[0] == 404


@pytest.mark.parametrize(
    ("fault", "error"), [("truncated", http.client.IncompleteRead), ("reset_downloads", ConnectionResetError)]
)
def test_download_ends_half_way(
    flaky: S3Process, client: Client, signer: Signer, key: str, fault: str, error: type[Exception]
) -> None:
    client.put_object(Bucket="uploads", Key=key, Body=BODY)
    faults(flaky, **{fault: 1})
    connection = http.client.HTTPConnection(flaky.endpoint.removeprefix("http://"), timeout=10)
    connection.request("GET", signer.presign("GET", f"/uploads/{key}"))
    response = connection.getresponse()
    assert response.getheader("content-length") == str(len(BODY))
    with pytest.raises(error):
        response.read()
    response.close()
    connection.close()


def test_completion_fails_with_200_and_completes_nothing(
    flaky: S3Process, client: Client, signer: Signer, key: str, refusal: Refusal
) -> None:
    where = {"Bucket": "uploads", "Key": key}
    upload = client.create_multipart_upload(**where)["UploadId"]
    part = client.upload_part(**where, UploadId=upload, PartNumber=1, Body=b"x")
    faults(flaky, complete_error=1)
    target = signer.presign("POST", f"/uploads/{key}", params={"uploadId": upload})
    sums = f"<ChecksumCRC32>{part['ChecksumCRC32']}</ChecksumCRC32>"
    named = f"<Part><PartNumber>1</PartNumber><ETag>{part['ETag']}</ETag>{sums}</Part>"
    body = f"<CompleteMultipartUpload>{named}</CompleteMultipartUpload>".encode()
    answer = exchange(flaky.endpoint, "POST", target, body=body)
    assert (answer.status, answer.code) == (200, "InternalError")
    assert refusal(client.head_object, **where)[0] == 404
    faults(flaky)
    assert exchange(flaky.endpoint, "POST", target, body=body).code is None
    client.head_object(**where)


def test_counters_count(flaky: S3Process, client: Client, key: str, refusal: Refusal) -> None:
    before = counters(flaky)
    client.put_object(Bucket="uploads", Key=key, Body=BODY)
    client.get_object(Bucket="uploads", Key=key)["Body"].read()
    refusal(client.get_object, Bucket="uploads", Key="missing")
    after = counters(flaky)
    assert after["bytes_in"] - before["bytes_in"] >= len(BODY)
    assert after["bytes_out"] - before["bytes_out"] == len(BODY)
    assert after["requests"]["PutObject"] - before["requests"].get("PutObject", 0) == 1
    assert after["refused"]["NoSuchKey"] - before["refused"].get("NoSuchKey", 0) == 1
