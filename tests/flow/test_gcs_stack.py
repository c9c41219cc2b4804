"""The dev stack on Google Cloud Storage, part by part: who is killed comes back where he was, and the loop goes on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.dev.stack import Stack, StackOptions, start_stack

SECONDS = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory: Path = tmp_path_factory.mktemp("gcs") / "dev"
    options = StackOptions(
        directory=directory,
        provider="gcs",
        policy={"first_look": "1s"},
        resumable={"threshold_bytes": 1_048_576},
        more_destinations=("second",),
        away=("far",),
        lookers=1,
    )
    running = start_stack(options)
    yield running
    running.stop()


def put(stack: Stack, path: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    env = {"PATH": os.environ["PATH"], "BROKER_URL": stack.about.broker, "BROKER_API_KEY": stack.about.api_key}
    argv = [sys.executable, "-m", "uploader", "put", str(path), "--wait", "processed", "--no-resume", *flags]
    return subprocess.run(argv, env=env, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize("size_bytes", [0, 5, 1_048_576, 1_048_577])
def test_auto_sends_small_and_large_ones(stack: Stack, tmp_path: Path, size_bytes: int) -> None:
    (tmp_path / "file.bin").write_bytes(os.urandom(size_bytes))
    done = put(stack, tmp_path / "file.bin")
    assert done.returncode == 0, done.stderr


def test_copies_go_to_several_buckets_also_of_another_store(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(os.urandom(70_000))
    destinations = [flag for name in ("default", "second", "far") for flag in ("--destination", name)]
    done = put(stack, tmp_path / "file.bin", "--checksum", "md5", *destinations)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["store", "pubsub", "iam"])
def test_a_part_that_is_killed_comes_back_where_it_was(stack: Stack, tmp_path: Path, name: str) -> None:
    (part,) = (child for child in (stack.store, *stack.others) if child.name == name)
    part.kill()
    part.start()
    for strategy in ("put", "resumable"):
        (tmp_path / "file.bin").write_bytes(os.urandom(300_000))
        done = put(stack, tmp_path / "file.bin", "--strategy", strategy)
        assert done.returncode == 0, done.stderr
