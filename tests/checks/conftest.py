"""Emulators for checks: one that is set up as the broker wants it, and others of which each lacks something."""

from collections.abc import Iterator

import pytest

from emulators.process import S3Process, start_s3
from tests.checks.world import ORIGIN, prepare, witness_of
from tests.contracts.storage.s3.witness import S3Witness

ACCOUNTS = (
    "owner:OWNERKEY:owner-secret",
    "writer:WRITERKEY:writer-secret",
    "reader:READERKEY:reader-secret",
    "remover:REMOVERKEY:remover-secret",
    "owner:SECONDKEY:second-secret",
)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Process]:
    with start_s3(
        accounts=ACCOUNTS, buckets=("uploads", "plain", "guarded"), arguments=[f"--cors-origin={ORIGIN}"]
    ) as process:
        prepare(process, "uploads", "plain", "guarded")
        yield process


@pytest.fixture(scope="session")
def lenient() -> Iterator[S3Process]:
    """Obeys headers that nobody signed, as Ceph does."""
    arguments = [f"--cors-origin={ORIGIN}", "--accept-unsigned-headers"]
    with start_s3(accounts=ACCOUNTS, buckets=("uploads", "guarded"), arguments=arguments) as process:
        prepare(process, "uploads", "guarded")
        yield process


@pytest.fixture(scope="session")
def bare() -> Iterator[S3Process]:
    """No page may ask it anything."""
    with start_s3(accounts=ACCOUNTS) as process:
        prepare(process, "uploads")
        yield process


@pytest.fixture(scope="session")
def witness(s3: S3Process) -> Iterator[S3Witness]:
    witness = witness_of(s3)
    yield witness
    witness.close()
