"""Our own Ceph ends with whoever started it, however that ends."""

import os
import subprocess
import sys
import tempfile

import psutil  # type: ignore[import-untyped]
import pytest

from tests.peers.ceph.cluster import Ceph

DAEMONS = {"ceph-mon", "ceph-osd", "radosgw"}


@pytest.mark.usefixtures("ceph")  # where Ceph is missing this is skipped, or fails, as all that needs it
def test_no_daemon_outlives_a_starter_that_was_killed() -> None:
    # The state of who is killed stays behind: hence a folder around it.
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-m", "tests.peers.ceph"], stdout=subprocess.PIPE, env={**os.environ, "TMPDIR": folder}
        ) as starter,
    ):
        assert starter.stdout is not None
        assert b"AWS_ENDPOINT_URL=http://127.0.0.1:" in starter.stdout.readline()
        family = psutil.Process(starter.pid).children(recursive=True)
        assert {process.name() for process in family} == DAEMONS

        starter.kill()
        _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_it_listens_on_loopback_only(ceph: Ceph) -> None:
    assert ceph.url.startswith("http://127.0.0.1:")
    daemons = [process for process in psutil.Process().children(recursive=True) if process.name() in DAEMONS]
    listening = [each for daemon in daemons for each in daemon.net_connections() if each.status == psutil.CONN_LISTEN]
    assert {process.name() for process in daemons} == DAEMONS
    assert {each.laddr.ip for each in listening} == {"127.0.0.1"}
