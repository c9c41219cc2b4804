"""What was answered with 200 survives; what was not leaves nothing; and memory does not grow with the object."""

import hashlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from emulators.process import S3Process, start_s3
from tests.emulators.conftest import client_of
from tests.emulators.signing import Signer
from tests.emulators.wire import Wire, exchange

MIB = 2**20


def signer_of(process: S3Process) -> Signer:
    host = process.endpoint.removeprefix("http://")
    return Signer(access_key=process.access_key, secret_key=process.secret_key, host=host)


def blobs(data: Path) -> int:
    return sum(1 for _ in (data / "blobs").glob("??/*"))


def test_everything_survives_a_kill(tmp_path: Path) -> None:
    with start_s3(data=tmp_path) as s3:
        client = client_of(s3)
        client.put_object(Bucket="uploads", Key="k", Body=b"kept" * 100_000, Metadata={"a": "1"})
        upload = client.create_multipart_upload(Bucket="uploads", Key="m")["UploadId"]
        client.upload_part(Bucket="uploads", Key="m", UploadId=upload, PartNumber=1, Body=b"part")
        with Wire(s3.endpoint) as wire:
            head = [("host", wire.host), ("content-length", str(8 * MIB))]
            wire.send_head("PUT", signer_of(s3).presign("PUT", "/uploads/half"), head)
            wire.send(b"\0" * 4 * MIB)
            deadline = time.monotonic() + 5
            while not list((tmp_path / "incoming").iterdir()):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            s3.kill()
        client.close()
    (tmp_path / "blobs" / "00" / "00orphan").write_bytes(b"left by a crash between rename and commit")
    with start_s3(data=tmp_path) as s3:
        client = client_of(s3)
        answer = client.get_object(Bucket="uploads", Key="k")
        assert (answer["Body"].read(), answer["Metadata"]) == (b"kept" * 100_000, {"a": "1"})
        parts = client.list_parts(Bucket="uploads", Key="m", UploadId=upload)["Parts"]
        assert [part["Size"] for part in parts] == [4]
        assert [each["Key"] for each in client.list_objects_v2(Bucket="uploads")["Contents"]] == ["k"]
        client.close()
        assert (list((tmp_path / "incoming").iterdir()), blobs(tmp_path)) == ([], 2)


def test_synced_store_keeps_small_and_large_objects(tmp_path: Path) -> None:
    with start_s3(data=tmp_path, arguments=["--fsync"]) as s3:
        signer = signer_of(s3)
        for size in (0, 1, 3 * MIB):
            assert exchange(s3.endpoint, "PUT", signer.presign("PUT", "/uploads/k"), body=b"x" * size).status == 200
            assert exchange(s3.endpoint, "GET", signer.presign("GET", "/uploads/k")).body == b"x" * size


def test_overwritten_object_is_read_to_its_end(tmp_path: Path) -> None:
    with start_s3(data=tmp_path) as s3, Wire(s3.endpoint) as wire:
        signer, old = signer_of(s3), b"old!" * (8 * MIB)
        put = signer.presign("PUT", "/uploads/k")
        assert exchange(s3.endpoint, "PUT", put, body=old).status == 200
        wire.send_head("GET", signer.presign("GET", "/uploads/k"), [("host", wire.host)])
        assert exchange(s3.endpoint, "PUT", put, body=b"new").status == 200
        assert wire.read().body == old
        deadline = time.monotonic() + 5
        while blobs(tmp_path) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_stalled_upload_is_ended_and_stores_nothing(tmp_path: Path) -> None:
    with start_s3(data=tmp_path, arguments=["--idle-timeout=0.3"]) as s3, Wire(s3.endpoint) as wire:
        wire.send_head(
            "PUT", signer_of(s3).presign("PUT", "/uploads/k"), [("host", wire.host), ("content-length", "9")]
        )
        wire.send(b"half")
        assert wire.read().code == "RequestTimeout"
        assert (list((tmp_path / "incoming").iterdir()), blobs(tmp_path)) == ([], 0)


def test_directory_is_used_by_one_process(tmp_path: Path) -> None:
    with start_s3(data=tmp_path), pytest.raises(RuntimeError, match="status 1"):
        start_s3(data=tmp_path, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Process]:
    with start_s3(data=tmp_path_factory.mktemp("big")) as process:
        yield process


def test_memory_stays_flat_while_a_large_object_passes(big: S3Process) -> None:
    signer, piece, count = signer_of(big), bytes(range(256)) * 4096, 256
    watched = psutil.Process(big.pid)
    before, peak, digest = watched.memory_info().rss, 0, hashlib.sha256()
    with Wire(big.endpoint) as wire:
        head = [("host", wire.host), ("content-length", str(len(piece) * count))]
        wire.send_head("PUT", signer.presign("PUT", "/uploads/big"), head)
        for _ in range(count):
            wire.send(piece)
            peak = max(peak, watched.memory_info().rss)
        assert wire.read().status == 200
        wire.send_head("GET", signer.presign("GET", "/uploads/big"), [("host", wire.host)])
        while wire._file.readline() != b"\r\n":
            pass
        for _ in range(count):
            digest.update(wire._file.read(len(piece)))
            peak = max(peak, watched.memory_info().rss)
    assert digest.hexdigest() == hashlib.sha256(piece * count).hexdigest()
    assert peak - before < 40 * MIB
    assert peak < 100 * MIB
