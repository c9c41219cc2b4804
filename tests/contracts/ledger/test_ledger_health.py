"""Which Redis the ledger refuses, what it warns of, and that it notices what changes while it runs."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from ledger_samples import NOW, a_session, created, eventually

from broker.dev.redis_server import RedisServer, start_redis
from broker.domain.errors import ConfigurationInvalid, LedgerUnavailable
from broker.ledger.health import PROBE, Durability
from broker.ledger.redis import RedisLedger
from broker.ledger.wire import Wire
from broker.ports import Checkup
from tests.redis_peers import executable_of


@pytest.fixture
async def own_wire(own_server: RedisServer) -> AsyncIterator[Wire]:
    """For turning a server's settings while a ledger uses it."""
    wire = Wire(own_server.url)
    yield wire
    await wire.close()


KINDS: dict[str, tuple[Durability, bool]] = {
    "strict": ("strict", False),
    "everysec": ("everysec", False),
    "dev": ("everysec", True),
}


@pytest.fixture(params=KINDS)
async def demanding(request: pytest.FixtureRequest, own_server: RedisServer) -> AsyncIterator[tuple[str, RedisLedger]]:
    """A ledger of each kind, with its name."""
    durability, is_dev = KINDS[request.param]
    ledger = RedisLedger(own_server.url, durability=durability, is_dev=is_dev)
    yield request.param, ledger
    await ledger.close()


@pytest.fixture
async def everysec(own_server: RedisServer) -> AsyncIterator[RedisLedger]:
    ledger = RedisLedger(own_server.url)
    yield ledger
    await ledger.close()


# Each setting that loses something, by the ledgers that refuse it.
DANGERS = {
    "maxmemory-policy allkeys-lru": ("noeviction", {"strict", "everysec", "dev"}),
    "maxmemory-policy volatile-ttl": ("noeviction", {"strict", "everysec", "dev"}),
    "appendonly no": ("set appendonly yes", {"strict", "everysec"}),
    "appendfsync everysec": ("needs appendfsync always", {"strict"}),
    "appendfsync no": ("appendfsync", {"strict", "everysec"}),
    "no-appendfsync-on-rewrite yes": ("set no-appendfsync-on-rewrite no", {"strict", "everysec"}),
}


@pytest.mark.parametrize("setting", DANGERS)
async def test_a_setting_that_loses_sessions_is_refused_at_the_start_and_noticed_later(
    demanding: tuple[str, RedisLedger], own_wire: Wire, setting: str
) -> None:
    who, ledger = demanding
    words, refused_by = DANGERS[setting]
    await ledger.prepare()
    assert await ledger.check() == Checkup()

    await own_wire.call("CONFIG", "SET", *setting.split())

    if who not in refused_by:
        await ledger.prepare()
        assert await ledger.check() == Checkup()
        return
    (fault,) = (await ledger.check()).faults
    assert words in fault
    with pytest.raises(ConfigurationInvalid, match=words):
        await ledger.prepare()


async def test_every_fault_is_named_at_once(everysec: RedisLedger, own_wire: Wire) -> None:
    await own_wire.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    await own_wire.call("CONFIG", "SET", "appendonly", "no")
    with pytest.raises(ConfigurationInvalid, match=r"noeviction.*appendonly yes"):
        await everysec.prepare()


async def test_a_cluster_is_refused_because_nobody_routes_to_it(tmp_path: Path) -> None:
    """Of several nodes each knows its slots only: the second session would be answered with MOVED."""
    with socket.create_server(("127.0.0.1", 0)) as closing:
        bus = closing.getsockname()[1]  # usually the port + 10,000, which not every free port leaves room for
    settings = {"cluster-enabled": "yes", "cluster-port": str(bus)}
    with_cluster = start_redis(tmp_path, executable=executable_of("redis-7"), settings=settings)
    ledger = RedisLedger(with_cluster.url)
    try:
        with pytest.raises(ConfigurationInvalid, match="node of a cluster"):
            await ledger.prepare()
        with pytest.raises(LedgerUnavailable, match="cluster"):
            await created(ledger)
    finally:
        await ledger.close()
        with_cluster.stop()


# --- what changes while it runs


async def test_a_redis_that_takes_no_change_is_not_ready_and_says_why(everysec: RedisLedger, own_wire: Wire) -> None:
    await everysec.check()
    for setting, usual, words in (
        ("maxmemory", "0", "out of memory"),
        ("min-replicas-to-write", "0", "too few replicas"),
    ):
        await own_wire.call("CONFIG", "SET", setting, "1")
        (fault,) = (await everysec.check()).faults
        assert words in fault
        with pytest.raises(LedgerUnavailable, match=words):
            await everysec.create(a_session(), look_at=NOW, idempotency=None)
        await everysec.prepare()  # it is no setting that loses anything: a broker may start, and wait
        await own_wire.call("CONFIG", "SET", setting, usual)
    assert await everysec.check() == Checkup()


async def test_a_replica_says_it_once(everysec: RedisLedger, own_wire: Wire) -> None:
    await own_wire.call("REPLICAOF", "127.0.0.1", "1")
    (fault,) = (await everysec.check()).faults
    assert "replica" in fault
    await own_wire.call("REPLICAOF", "NO", "ONE")
    assert await everysec.check() == Checkup()


async def test_asking_whether_it_takes_a_change_changes_nothing(everysec: RedisLedger, own_wire: Wire) -> None:
    before = await own_wire.call("INFO", "persistence")
    for _ in range(100):
        assert await everysec.check() == Checkup()
    after = await own_wire.call("INFO", "persistence")
    assert await own_wire.call("DBSIZE") == 0
    assert await own_wire.call("EXISTS", PROBE[1]) == 0
    for name in (b"rdb_changes_since_last_save:", b"aof_current_size:"):
        assert [line for line in before.splitlines() if line.startswith(name)] == [
            line for line in after.splitlines() if line.startswith(name)
        ]


async def test_a_redis_that_is_nearly_full_is_ready_and_warned_of(everysec: RedisLedger, own_wire: Wire) -> None:
    await own_wire.call("SETRANGE", "ballast", 20_000_000, b"x")  # so that a few buffers more make no difference
    used = int((await own_wire.call("INFO", "memory")).split(b"used_memory:")[1].split(b"\r")[0])
    await own_wire.call("CONFIG", "SET", "maxmemory", int(used / 0.95))
    found = await everysec.check()
    assert found.faults == ()
    (warning,) = found.warnings
    assert "of its maxmemory" in warning
    await own_wire.call("CONFIG", "SET", "maxmemory", "0")
    assert await everysec.check() == Checkup()


async def test_a_snapshot_that_cannot_be_written_is_named(
    everysec: RedisLedger, own_server: RedisServer, own_wire: Wire
) -> None:
    """Redis stops all changes then, unless it was told otherwise ("stop-writes-on-bgsave-error")."""
    await own_wire.call("CONFIG", "SET", "save", "3600 1000000")
    target = own_server.directory / "dump.rdb"
    target.mkdir()  # what it renames its finished file to
    (target / "in the way").touch()
    await own_wire.call("BGSAVE")

    async def has_failed() -> bool:
        return b"rdb_last_bgsave_status:err" in await own_wire.call("INFO", "persistence")

    await eventually(has_failed)
    found = await everysec.check()
    (fault,), (warning,) = found.faults, found.warnings
    assert "refuses changes" in fault
    assert "snapshot" in warning
    assert await everysec.get("00" + "a" * 26) is None  # by a connection that was made since: reads go on
    await own_wire.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    assert (await everysec.check()).faults == ()
    await own_wire.call("CONFIG", "SET", "save", "")  # or it would not end without one


# --- what cannot be asked


@pytest.mark.parametrize("durability", ["everysec", "strict"])
async def test_a_service_that_forbids_to_ask_is_warned_of_and_no_proof_for_strict(
    own_server: RedisServer, own_wire: Wire, durability: Durability
) -> None:
    await own_wire.call("ACL", "SETUSER", "broker", "on", ">secret", "~*", "&*", "+@all", "-config")
    ledger = RedisLedger(own_server.url.replace("//", "//broker:secret@"), durability=durability)
    found = await ledger.check()
    if durability == "everysec":
        await ledger.prepare()
        assert (found.faults, len(found.warnings)) == ((), 1)
        await created(ledger)
    else:
        (fault,) = found.faults
        assert "not proved" in fault
        await own_wire.call("ACL", "SETUSER", "broker", "+config|get")
        await ledger.prepare()
    await ledger.close()


async def test_a_wrong_password_is_one_clear_sentence(own_server: RedisServer) -> None:
    ledger = RedisLedger(own_server.url.replace("//", "//nobody:wrong@"))
    (fault,) = (await ledger.check()).faults
    assert "password" in fault
    assert "wrong@" not in fault
    await ledger.close()
