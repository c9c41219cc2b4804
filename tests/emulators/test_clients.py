"""Clients that nobody here wrote, unmodified: curl, the AWS command line, boto3 with its defaults."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import boto3
import pytest

from emulators.process import S3Process
from tests.emulators.conftest import Client
from tests.emulators.wire import Wire

AWS = Path(sys.executable).with_name("aws")
MIB = 2**20


def run(*command: str | Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def aws(s3: S3Process) -> Callable[..., str]:
    env = {
        "PATH": os.environ["PATH"],
        "AWS_ACCESS_KEY_ID": s3.access_key,
        "AWS_SECRET_ACCESS_KEY": s3.secret_key,
        "AWS_DEFAULT_REGION": s3.region,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return lambda *arguments: run(AWS, "--endpoint-url", s3.endpoint, *arguments, env=env)


@pytest.mark.skipif(not AWS.exists(), reason="the AWS command line is not in this environment")
@pytest.mark.parametrize("size", [5, 20 * MIB + 3], ids=["small", "multipart"])
def test_aws_s3_cp_both_ways(aws: Callable[..., str], tmp_path: Path, key: str, size: int) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(size))
    aws("s3", "cp", str(source), f"s3://uploads/{key}/ü b+c.csv")
    assert "ü b+c.csv" in aws("s3", "ls", f"s3://uploads/{key}/")
    aws("s3", "cp", f"s3://uploads/{key}/ü b+c.csv", str(target))
    assert target.read_bytes() == source.read_bytes()
    aws("s3", "rm", "--recursive", f"s3://uploads/{key}/")


def test_curl_signs_puts_and_gets(s3: S3Process, tmp_path: Path, key: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 * MIB))
    url = f"{s3.endpoint}/uploads/{key}"
    sign = ["--aws-sigv4", f"aws:amz:{s3.region}:s3", "--user", f"{s3.access_key}:{s3.secret_key}"]
    run("curl", "-fsS", *sign, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-T", source, url)
    run("curl", "-fsS", *sign, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-o", target, url)
    assert target.read_bytes() == source.read_bytes()


def test_curl_follows_a_presigned_url(client: Client, tmp_path: Path, key: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(3 * MIB))
    named = {"Bucket": "uploads", "Key": key}
    put = client.generate_presigned_url("put_object", Params={**named, "ContentLength": 3 * MIB})
    run("curl", "-fsS", "-T", source, put)
    run("curl", "-fsS", "-o", target, client.generate_presigned_url("get_object", Params=named))
    assert target.read_bytes() == source.read_bytes()


def test_boto3_with_its_defaults_transfers_files(s3: S3Process, tmp_path: Path, key: str) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(os.urandom(17 * MIB))
    client = boto3.client(
        "s3",
        endpoint_url=s3.endpoint,
        region_name=s3.region,
        aws_access_key_id=s3.access_key,
        aws_secret_access_key=s3.secret_key,
    )
    client.upload_file(str(source), "uploads", key)
    client.download_file("uploads", key, str(target))
    client.close()
    assert target.read_bytes() == source.read_bytes()


def test_virtual_host_names_the_bucket(s3: S3Process, client: Client, key: str) -> None:
    client.put_object(Bucket="uploads", Key=key, Body=b"virtual")
    port = s3.endpoint.rpartition(":")[2]
    url = client.generate_presigned_url("get_object", Params={"Bucket": "uploads", "Key": key})
    host = f"uploads.s3.localhost:{port}"
    with Wire(s3.endpoint) as wire:
        wire.send_head("GET", "/_emulator/counters", [("host", host)])
        assert wire.read().code == "AccessDenied"
    wrong = url.replace("127.0.0.1", "uploads.s3.localhost").replace("/uploads/", "/")
    resolve = ["--resolve", f"uploads.s3.localhost:{port}:127.0.0.1"]
    assert "SignatureDoesNotMatch" in run("curl", "-sS", *resolve, wrong)
    sign = ["--aws-sigv4", f"aws:amz:{s3.region}:s3", "--user", f"{s3.access_key}:{s3.secret_key}"]
    header = ["-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
    assert run("curl", "-fsS", *resolve, *sign, *header, f"http://{host}/{key}") == "virtual"
