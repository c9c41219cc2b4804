"""A real Ceph on loopback for one test session: one monitor, one OSD in memory, one radosgw, two accounts.

From Debian's packages (`apt-get install ceph-mon ceph-osd radosgw`; Ceph 16.2 on Debian 12). Ports are free ones and
all state is in one temporary folder, so several may run side by side. Nothing of it is worth a goodbye: it is killed
at the end, and by the kernel when this process dies first.
"""

import http.client
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from broker.storage.s3.sigv4 import Credential
from tests.peers.ceph.config import OSD_BYTES, ceph_conf, keyring

PACKAGES = ("ceph-mon", "ceph-osd", "radosgw")
START_SECONDS = 30.0
ATTEMPTS = 3  # a free port may be taken between finding and binding it
REGION = "default"  # the zonegroup that radosgw makes by itself

_COMMANDS = ("ceph-mon", "ceph-osd", "radosgw", "radosgw-admin", "monmaptool", "ceph", "setpriv", "timeout")
_ASK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A user of radosgw. `name` is what a bucket policy calls `arn:aws:iam:::user/NAME`."""

    name: str
    credential: Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class CephOptions:
    """:ivar has_access_log: the first gateway says of its requests what a Ceph says by default."""

    osd_bytes: int = OSD_BYTES
    has_access_log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceph:
    """A running gateway. `owner` makes the buckets; `writer` may nothing until a bucket policy says so.

    `sts_url` is a second gateway to the same buckets, which knows temporary credentials (IAM, STS) and answers every
    failed authentication with a bare AccessDenied. `access_log` is what the gateway at `url` writes, if asked to.
    """

    url: str
    sts_url: str
    region: str
    owner: Account
    writer: Account
    conf: Path
    access_log: Path

    def collect_garbage(self) -> None:
        """What was deleted gives its memory back: by default hours later."""
        argv = ["radosgw-admin", "-c", str(self.conf), "gc", "process", "--include-all"]
        subprocess.run(argv, capture_output=True, timeout=START_SECONDS, check=True)


class CephFailed(Exception):
    """A daemon ended, or did not answer in time."""


def missing_commands() -> list[str]:
    return [name for name in _COMMANDS if shutil.which(name) is None]


@contextmanager
def running_ceph(options: CephOptions | None = None) -> Iterator[Ceph]:
    """:raises CephFailed: with the last words of the one to blame."""
    with ExitStack() as stack:
        yield _started(stack, options or CephOptions())


def _started(stack: ExitStack, options: CephOptions) -> Ceph:
    """A port that somebody took shows in one of many ways: whatever failed is tried again, on others."""
    for _ in range(ATTEMPTS - 1):
        with ExitStack() as attempt, suppress(CephFailed):
            ceph = _start_in(attempt, options)
            stack.push(attempt.pop_all())
            return ceph
    return _start_in(stack, options)


def _start_in(stack: ExitStack, options: CephOptions) -> Ceph:
    # Not below pytest's folders: the path of a Unix socket has 107 bytes at most (unix(7)).
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="ceph-", ignore_cleanup_errors=True))
    monitor_port, port, sts_port = _free_ports(3)
    cluster = _Cluster(
        home=Path(folder),
        monitor_port=monitor_port,
        port=port,
        sts_port=sts_port,
        stack=stack,
        options=options,
    )
    return cluster.start()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cluster:
    home: Path
    monitor_port: int
    port: int
    sts_port: int
    stack: ExitStack
    options: CephOptions

    @property
    def conf(self) -> str:
        return str(self.home / "ceph.conf")

    @property
    def access_log(self) -> Path:
        return self.home / "access.log"

    def start(self) -> Ceph:
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        self._write_files(fsid)
        self._run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{self.monitor_port}]", "map")
        self._run("ceph-mon", "-c", self.conf, "--mkfs", "-i", "a", "--monmap", "map", "--keyring", "keyring")
        self._launch("ceph-mon", "-i", "a")
        self._run("ceph", "-c", self.conf, "--connect-timeout", "10", "osd", "new", osd, "0")
        self._run("ceph-osd", "-c", self.conf, "-i", "0", "--mkfs", "--osd-uuid", osd)
        self._launch("ceph-osd", "-i", "0")
        self._await_answer(self._launch("radosgw", "-n", "client.rgw"), self.port)
        sts = self._launch("radosgw", "-n", "client.sts")
        with ThreadPoolExecutor() as pool:
            owner, writer = pool.map(self._create_account, ("owner", "writer"))
        self._await_answer(sts, self.sts_port)
        return Ceph(
            url=f"http://127.0.0.1:{self.port}",
            sts_url=f"http://127.0.0.1:{self.sts_port}",
            region=REGION,
            owner=owner,
            writer=writer,
            conf=Path(self.conf),
            access_log=self.access_log,
        )

    def _write_files(self, fsid: str) -> None:
        for name in ("mon", "osd", "run"):
            (self.home / name).mkdir()
        text = ceph_conf(
            self.home,
            fsid=fsid,
            monitor_port=self.monitor_port,
            port=self.port,
            sts_port=self.sts_port,
            osd_bytes=self.options.osd_bytes,
            access_log=self.access_log if self.options.has_access_log else None,
        )
        (self.home / "ceph.conf").write_text(text)
        (self.home / "keyring").write_text(keyring())

    def _create_account(self, name: str) -> Account:
        credential = Credential(access_key=f"{name.upper()}00000000", secret_key=f"{name}-secret-on-loopback")
        keys = ("--access-key", credential.access_key, "--secret-key", credential.secret_key)
        self._run(
            "radosgw-admin",
            "-c",
            self.conf,
            "user",
            "create",
            "--uid",
            name,
            "--display-name",
            name,
            "--caps",
            "roles=*",
            *keys,
        )
        return Account(name=name, credential=credential)

    def _run(self, *argv: str) -> None:
        run = ["timeout", str(START_SECONDS), *argv]
        done = subprocess.run(run, cwd=self.home, capture_output=True, text=True, check=False)
        if done.returncode:
            raise CephFailed(f"{argv[0]}: {done.stderr[-2_000:]}")

    def _launch(self, name: str, *argv: str) -> subprocess.Popen[bytes]:
        command = ["setpriv", "--pdeathsig", "KILL", name, "-f", "-c", self.conf, *argv]
        with self._output(name).open("ab") as out:
            process = subprocess.Popen(command, cwd=self.home, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        self.stack.callback(_kill, process)
        return process

    def _output(self, name: str) -> Path:
        return self.home / f"{name}.out"

    def _await_answer(self, gateway: subprocess.Popen[bytes], port: int) -> None:
        end = time.monotonic() + START_SECONDS
        while not _answers(port):
            if gateway.poll() is not None or time.monotonic() > end:
                words = self._output("radosgw").read_text(errors="replace")[-2_000:]
                raise CephFailed(f"radosgw does not answer: {words}")
            time.sleep(_ASK_AGAIN_SECONDS)  # nothing tells us when it listens


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait(timeout=10)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
