"""A broker over three accounts at once: three strict emulators, or two accounts of a real Ceph and an emulator.

In front of each account a proxy counts what clients send; the broker goes to the store itself. One account is an
emulator in any case, and can be killed and come back.
"""

import asyncio
import json
import os
import secrets
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from broker.dev.children import Child
from broker.dev.redis_server import start_redis
from broker.domain.principals import hash_of, new_key_text
from broker.storage.s3.sigv4 import Credential
from emulators.process import S3Process, start_s3
from tests.contracts.storage.s3.guard import guard_statements
from tests.contracts.storage.s3.witness import S3Witness
from tests.flow.counting_proxy import CountingProxy, counting
from tests.peers.ceph.cluster import Account as CephAccount
from tests.peers.ceph.cluster import Ceph


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A bucket of one account. `write` may not read where the store obeys headers that nobody signed."""

    dialect: str
    endpoint: str
    region: str
    bucket: str
    owner: Credential
    write: Credential

    def stored(self) -> dict[str, tuple[int, str]]:
        """Size and ETag of every object, by key, as the owner sees it with a client that is not ours."""
        witness = S3Witness.of(self.endpoint, self.region, self.owner)
        try:
            pages = witness.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix="uploads/")
            found = [each for page in pages for each in page.get("Contents", ())]
        finally:
            witness.close()
        objects = {each["Key"]: (each["Size"], each["ETag"].strip('"')) for each in found}
        objects.pop("uploads/.broker", None)  # the broker's own mark
        return objects


@dataclass(slots=True)
class Emulator:
    """An account that goes down without a word, and comes back at the same address with what it had."""

    data: Path
    process: S3Process = field(init=False)
    is_up: bool = field(init=False, default=False)
    listen: str = "127.0.0.1:0"
    secret: str = field(default_factory=lambda: secrets.token_hex(8))

    def start(self) -> None:
        account = f"tenant:TENANT:{self.secret}"
        self.process = start_s3(data=self.data, listen=self.listen, accounts=(account,), buckets=("tenant",))
        self.listen = urlsplit(self.process.endpoint).netloc
        self.is_up = True

    def kill(self) -> None:
        self.process.kill()
        self.is_up = False

    def misbehave(self, **faults: float) -> None:
        """From now on; without words, nothing goes wrong."""
        url = f"{self.process.endpoint}/_emulator/faults"
        request = urllib.request.Request(url, json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as response:
            assert response.status == 200

    @property
    def account(self) -> Account:
        credential = Credential(access_key="TENANT", secret_key=self.secret)
        return Account(
            dialect="aws",
            endpoint=self.process.endpoint,
            region=self.process.region,
            bucket="tenant",
            owner=credential,
            write=credential,
        )


@contextmanager
def emulated(data: Path) -> Iterator[Emulator]:
    emulator = Emulator(data)
    emulator.start()
    try:
        yield emulator
    finally:
        emulator.process.stop()


def ceph_account(ceph: Ceph, owner: CephAccount, writer: CephAccount) -> Account:
    """A bucket of one account, to which another one writes, as operators of Ceph are told to have it."""
    bucket = f"fan-out-{uuid.uuid4().hex[:12]}"
    witness = S3Witness.of(ceph.url, ceph.region, owner.credential)
    witness.make_bucket(bucket)
    witness.set_policy(bucket, *guard_statements(bucket, writer=writer.name, reader=owner.name))
    witness.close()
    return Account(
        dialect="ceph",
        endpoint=ceph.url,
        region=ceph.region,
        bucket=bucket,
        owner=owner.credential,
        write=writer.credential,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A running broker, and what is in front of and behind each of its destinations."""

    url: str
    api_key: str
    accounts: dict[str, Account]
    proxies: dict[str, CountingProxy]
    mortal: Emulator  # the account `ap`


@asynccontextmanager
async def running_world(
    accounts: Mapping[str, Account], mortal: Emulator, directory: Path, *, required: str = '"all"'
) -> AsyncIterator[World]:
    api_key, consumer_key = new_key_text("app"), new_key_text("worker")
    async with AsyncExitStack() as stack:
        proxies = {
            name: await stack.enter_async_context(counting(account.endpoint)) for name, account in accounts.items()
        }
        (directory / "redis").mkdir()
        redis = start_redis(directory / "redis")
        stack.callback(redis.stop)
        config = directory / "broker.toml"
        config.write_text(
            _configuration(accounts, proxies, redis.url, required, hash_of(api_key), hash_of(consumer_key))
        )
        env = {"CAPSULE_KEY": secrets.token_urlsafe(48)}
        for name, account in accounts.items():
            env[f"OWNER_{name.upper()}"] = account.owner.secret_key
            env[f"WRITE_{name.upper()}"] = account.write.secret_key
        url = _start(stack, "broker", ["serve", "--config", str(config), "--json"], env, directory)
        _start(stack, "consumer", ["run"], {"BROKER_URL": url, "BROKER_CONSUMER_KEY": consumer_key}, directory)
        yield World(url=url, api_key=api_key, accounts=dict(accounts), proxies=proxies, mortal=mortal)


def _start(stack: AsyncExitStack, module: str, argv: list[str], env: dict[str, str], at: Path) -> str:
    child = Child(
        name=module,
        argv=[sys.executable, "-m", module, *argv],
        env={name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | env,
        directory=at,
        is_announced="--json" in argv,
    )
    stack.push_async_callback(
        asyncio.to_thread, child.stop
    )  # what it still has to say goes through a proxy of this loop
    return str(child.start().get("broker", ""))


def _configuration(
    accounts: Mapping[str, Account],
    proxies: Mapping[str, CountingProxy],
    redis_url: str,
    required: str,
    app: str,
    worker: str,
) -> str:
    head = f"""\
ledger = {{url = "{redis_url}"}}
server = {{port = 0}}
secrets = {{capsule_keys = [{{env = "CAPSULE_KEY"}}]}}
fan_out = {{required = {required}}}

[keys.app]
hash = "{app}"
roles = ["mint"]

[keys.worker]
hash = "{worker}"
roles = ["consume"]
"""
    return head + "".join(_destination(name, account, proxies[name].url) for name, account in accounts.items())


def _destination(name: str, account: Account, public_endpoint: str) -> str:
    is_lenient = account.dialect == "ceph"
    return f"""
[destinations.{name}]
dialect = "{account.dialect}"
bucket = "{account.bucket}"
region = "{account.region}"
endpoint = "{account.endpoint}"
public_endpoint = "{public_endpoint}"
addressing = "path"
accept_unsigned_headers = {str(is_lenient).lower()}

[destinations.{name}.credentials]
default = {{access_key_id = "{account.owner.access_key}", secret_access_key = {{env = "OWNER_{name.upper()}"}}}}
write = {{access_key_id = "{account.write.access_key}", secret_access_key = {{env = "WRITE_{name.upper()}"}}}}
"""
