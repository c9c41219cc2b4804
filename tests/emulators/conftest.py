"""The real process over real sockets; every test has a key of its own, so they share one emulator."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from emulators.process import S3Process, start_s3
from tests.emulators.signing import Signer

ACCOUNTS = (
    "owner:OWNERKEY:owner-secret",
    "stranger:STRANGERKEY:stranger-secret",
    "owner:TEMPKEY:temp-secret:temp-token",
)
Client = Any


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("s3")


@pytest.fixture(scope="session")
def s3(data: Path) -> Iterator[S3Process]:
    with start_s3(data=data, accounts=ACCOUNTS, buckets=("uploads", "private", "theirs@stranger")) as process:
        yield process


def client_of(process: S3Process, account: int = 0, **config: Any) -> Client:
    """A boto3 client as a user would make one; retries off, so that a test sees the first answer."""
    options = {"signature_version": "s3v4", "s3": {"addressing_style": "path"}, "retries": {"total_max_attempts": 1}}
    return boto3.client(
        "s3",
        endpoint_url=process.endpoint,
        region_name=process.region,
        aws_access_key_id=process.accounts[account].access_key,
        aws_secret_access_key=process.accounts[account].secret_key,
        aws_session_token=process.accounts[account].session_token,
        config=Config(**(options | config)),
    )


@pytest.fixture(scope="session")
def client(s3: S3Process) -> Iterator[Client]:
    client = client_of(s3)
    yield client
    client.close()


@pytest.fixture(scope="session")
def stranger(s3: S3Process) -> Iterator[Client]:
    client = client_of(s3, account=1)
    yield client
    client.close()


@pytest.fixture
def signer(s3: S3Process) -> Signer:
    return Signer(access_key=s3.access_key, secret_key=s3.secret_key, host=s3.endpoint.removeprefix("http://"))


_numbers = itertools.count(1)


@pytest.fixture
def key() -> str:
    return f"key-{next(_numbers)}"


@pytest.fixture
def is_stored(client: Client) -> Callable[[str], bool]:
    """Whether an object exists, asked with a client that may know."""

    def ask(key: str, bucket: str = "uploads") -> bool:
        try:
            client.head_object(Bucket=bucket, Key=key)
        except ClientError as exc:
            if exc.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
                raise
            return False
        return True

    return ask


@pytest.fixture
def refusal() -> Callable[..., tuple[int, str]]:
    """Status and code with which a boto3 call is refused."""

    def of(call: Callable[..., Any], **arguments: Any) -> tuple[int, str]:
        with pytest.raises(ClientError) as caught:
            call(**arguments)
        return caught.value.response["ResponseMetadata"]["HTTPStatusCode"], caught.value.response["Error"]["Code"]

    return of
