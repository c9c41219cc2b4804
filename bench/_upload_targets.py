"""Where bench/upload.py sends: a real Ceph, and an nginx that takes whatever is PUT. Each with a broker of its own.

Ceph is the one of tests/peers/ceph – one OSD in memory, one gateway – behind the guard of docs/guides/s3.md, with
memory for the largest file and the access log on. Its broker is what `serve` is by default: API, looker and relay in
one process, with a Redis that syncs every second.

The sink shows what a client costs, because hardly anything else costs there: WebDAV's PUT into memory, no signature
looked at. What S3 says of uploads in parts it says in fixed words. So nobody can look there, and its broker has no
looker.
"""

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench._broker import ACCESS_KEY, SECRET_KEY, environment
from bench._sink import start_nginx
from bench._store_log import NGINX, RADOSGW, StoreLog
from broker.dev.children import Child
from broker.dev.redis_server import start_redis
from broker.domain.principals import hash_of, new_key_text
from broker.storage.s3.sigv4 import Credential
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.witness import S3Witness
from tests.peers.ceph.cluster import Ceph, CephOptions, running_ceph

BUCKET = "uploads"
PART_BYTES = 16 << 20  # the broker's, in which the sink says to have them all
KEPT_BYTES = 1 << 20  # what is smaller is not removed, which would take as long as sending it
NOBODY = Credential(access_key=ACCESS_KEY, secret_key=SECRET_KEY)
NOBODY_ELSE = Credential(access_key=f"{ACCESS_KEY}2", secret_key=SECRET_KEY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One store, and what each side must be told of it.

    :ivar is_verifying: the broker looks at what is there.
    :ivar forget: throws away what takes memory, so that every turn finds as much of it.
    """

    name: str
    endpoint: str
    region: str
    credential: Credential
    broker_url: str
    api_key: str
    log: StoreLog
    is_verifying: bool
    forget: Callable[[], None]


@contextmanager
def on_ceph(*, large_bytes: int) -> Iterator[Target]:
    """:raises CephFailed: it does not come up."""
    options = CephOptions(osd_bytes=3 * large_bytes + (4 << 30), has_access_log=True)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-upload-")))
        ceph = stack.enter_context(running_ceph(options))
        witness = S3Witness.of(ceph.url, ceph.region, ceph.owner.credential)
        stack.callback(witness.close)
        witness.make_bucket(BUCKET)
        witness.set_policy(BUCKET, *guard_statements(BUCKET, writer=ceph.writer.name, reader=ceph.owner.name))
        place = _Place(
            dialect="ceph",
            url=ceph.url,
            region=ceph.region,
            reader=ceph.owner.credential,
            writer=ceph.writer.credential,
        )
        key = new_key_text("bench")
        yield Target(
            name="Ceph",
            endpoint=ceph.url,
            region=ceph.region,
            credential=ceph.owner.credential,
            broker_url=_start_broker(stack, directory, place, key),
            api_key=key,
            log=StoreLog(ceph.access_log, RADOSGW),
            is_verifying=True,
            forget=lambda: _forget(ceph, witness),
        )


def _forget(ceph: Ceph, witness: S3Witness) -> None:
    for page in witness.client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for each in page.get("Contents", ()):
            if each["Size"] >= KEPT_BYTES:
                witness.client.delete_object(Bucket=BUCKET, Key=each["Key"])
    ceph.collect_garbage()


@contextmanager
def on_sink(*, large_bytes: int) -> Iterator[Target]:
    """In memory where the system has a place for that, so that no disk is measured."""
    memory = Path("/dev/shm")  # noqa: S108 - in a directory of our own
    with ExitStack() as stack:
        place = memory if memory.is_dir() else None
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-upload-", dir=place)))
        url = start_nginx(stack, directory, bucket=BUCKET, large_bytes=large_bytes, part_bytes=PART_BYTES)
        key = new_key_text("bench")
        where = _Place(dialect="generic", url=url, region="us-east-1", reader=NOBODY, writer=NOBODY_ELSE)
        yield Target(
            name="the sink",
            endpoint=url,
            region="us-east-1",
            credential=NOBODY,
            broker_url=_start_broker(stack, directory, where, key, "--no-look", "--no-relay"),
            api_key=key,
            log=StoreLog(directory / "access.log", NGINX),
            is_verifying=False,
            forget=lambda: shutil.rmtree(directory / "objects" / BUCKET, ignore_errors=True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    dialect: str
    url: str
    region: str
    reader: Credential
    writer: Credential


def _start_broker(stack: ExitStack, directory: Path, place: _Place, key: str, *flags: str) -> str:
    """With a Redis of its own."""
    for name in ("redis", "broker"):
        (directory / name).mkdir()
    redis = start_redis(directory / "redis")
    stack.callback(redis.stop)
    config = directory / "broker" / "broker.toml"
    config.write_text(_broker_toml(place, redis.url, key))
    broker = Child(
        name="broker",
        argv=[sys.executable, "-m", "broker", "serve", "--json", "--config", str(config), *flags],
        env=environment(
            BENCH_CAPSULE_KEY="c" * 48,
            BENCH_READ_SECRET=place.reader.secret_key,
            BENCH_WRITE_SECRET=place.writer.secret_key,
        ),
        directory=directory / "broker",
    )
    stack.callback(broker.stop)
    return str(broker.start()["broker"])


def _broker_toml(place: _Place, redis_url: str, key: str) -> str:
    promises = '"size", "content_type"' + (', "create_only"' if place.dialect == "ceph" else "")
    return f"""\
ledger = {{url = "{redis_url}"}}
server = {{port = 0}}
secrets = {{capsule_keys = [{{env = "BENCH_CAPSULE_KEY"}}]}}

[destinations.default]
dialect = "{place.dialect}"
bucket = "{BUCKET}"
region = "{place.region}"
endpoint = "{place.url}"
addressing = "path"
accept_unsigned_headers = true
policy = {{require = [{promises}]}}

[destinations.default.credentials]
default = {{access_key_id = "{place.reader.access_key}", secret_access_key = {{env = "BENCH_READ_SECRET"}}}}
write = {{access_key_id = "{place.writer.access_key}", secret_access_key = {{env = "BENCH_WRITE_SECRET"}}}}

[keys.bench]
hash = "{hash_of(key)}"
roles = ["mint"]
"""
