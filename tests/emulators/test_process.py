"""The command line, and processes that never outlive their purpose."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from emulators.process import start_s3
from tests.emulators.conftest import client_of
from tests.emulators.faults import counters
from tests.emulators.wire import exchange

EMULATORS = (sys.executable, "-m", "emulators")


def test_help_shows_an_example() -> None:
    for command in ((*EMULATORS, "--help"), (*EMULATORS, "s3", "--help")):
        assert "Example:" in subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--account", "only-a-name"),
        ("--bucket", "uploads@nobody"),
        ("--notify", "uploads=ftp://x"),
        ("--faults", '{"nonsense": 1}'),
        ("--listen", "nowhere"),
        ("--bucket", "NotABucketName"),
    ],
)
def test_mistake_is_told_in_a_sentence(arguments: tuple[str, ...]) -> None:
    done = subprocess.run((*EMULATORS, "s3", *arguments), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode in {1, 2}
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr


def test_accounts_may_stand_in_the_environment_where_ps_does_not_show_them() -> None:
    command = (*EMULATORS, "s3", "--json", "--listen=127.0.0.1:0")
    env = {"PATH": os.environ["PATH"], "EMULATOR_ACCOUNTS": "app:APPKEY:app-secret reader:READKEY:read-secret"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert [(each["name"], each["access_key"]) for each in ready["accounts"]] == [
        ("app", "APPKEY"),
        ("reader", "READKEY"),
    ]


def test_taken_port_is_told_in_a_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"--listen=127.0.0.1:{taken.getsockname()[1]}"
        done = subprocess.run((*EMULATORS, "s3", listen), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr


def test_one_json_line_when_ready_and_a_clean_end() -> None:
    command = (*EMULATORS, "s3", "--json", "--listen=127.0.0.1:0", "--bucket=one", "--bucket=two")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert set(ready) == {"endpoint", "region", "accounts", "buckets"}
    assert (ready["buckets"], len(ready["accounts"])) == (["one", "two"], 2)
    assert (process.returncode, out, err) == (0, b"", b"")


def test_emulator_ends_when_its_parent_is_killed() -> None:
    script = (
        "from emulators.process import start_s3; s = start_s3(); print(s.pid, flush=True); import time; time.sleep(60)"
    )
    with subprocess.Popen((sys.executable, "-c", script), stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        child.wait(timeout=10)


def test_failed_start_leaves_no_process() -> None:
    with pytest.raises(RuntimeError, match="its stderr says why"):
        start_s3(arguments=["--region"], stderr=subprocess.DEVNULL)
    assert [
        p for p in psutil.Process().children() if p.status() != psutil.STATUS_ZOMBIE and "--region" in p.cmdline()
    ] == []


def test_import_loads_no_server_and_no_cloud() -> None:
    script = (
        "import sys, emulators.__main__, emulators.process; "
        "print([m for m in ('litestar', 'redis', 'boto3', 'botocore', 'google', 'broker.domain') if m in sys.modules])"
    )
    done = subprocess.run((sys.executable, "-c", script), capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.strip() == "[]"


def test_a_store_like_ceph_accepts_unsigned_headers(tmp_path: Path) -> None:
    """The hole that the broker's guard is for: copy-source reads as the signer, an ACL opens the object."""
    with start_s3(data=tmp_path, arguments=["--accept-unsigned-headers"]) as s3:
        client = client_of(s3)
        client.put_object(Bucket="uploads", Key="secret", Body=b"secret")
        url = client.generate_presigned_url("put_object", Params={"Bucket": "uploads", "Key": "k"})
        target = url.removeprefix(s3.endpoint)
        assert exchange(s3.endpoint, "PUT", target, {"x-amz-copy-source": "/uploads/secret"}).status == 200
        assert client.get_object(Bucket="uploads", Key="k")["Body"].read() == b"secret"
        assert exchange(s3.endpoint, "PUT", target, {"x-amz-acl": "public-read"}, b"open").status == 200
        assert exchange(s3.endpoint, "GET", "/uploads/k").body == b"open"
        assert counters(s3)["requests"]["CopyObject"] == 1
        client.close()


def test_stop_may_be_called_twice_and_ends_idle_connections_quickly() -> None:
    with start_s3() as s3:
        client = client_of(s3)
        client.list_buckets()
        start = time.monotonic()
        s3.stop()
        s3.stop()
        assert time.monotonic() - start < 3
        client.close()
