"""Whether a Redis keeps what it is given: settings that lose data are named, one sentence each.

INFO says nearly all of it (Redis documentation, "INFO"); CONFIG, which managed services often forbid, is asked only for
`appendfsync` and `no-appendfsync-on-rewrite`. Everything can be changed while it runs, and a failover brings another
server with other settings: so each checkup asks anew. Why what is refused: docs/decisions/0010.
"""

from typing import Literal

from redis.exceptions import ResponseError

from broker.domain.errors import LedgerUnavailable
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Wire
from broker.ports import Checkup

OLDEST = (6, 2)  # XADD MINID, ZADD LT inside scripts, exclusive ranges of XRANGE
NEARLY_FULL = 0.9  # ours, of maxmemory: time to act before Redis refuses every write

# Where a session could be and none is: an id is longer. Redis applies to it whatever it applies to a write that needs
# memory – OOM, MISCONF, READONLY, NOREPLICAS, an ACL – and then changes nothing and writes nothing to its file
# ("SETRANGE": an empty value on a key that does not exist).
PROBE = ("SETRANGE", "session:{00}:", 0, b"")

Durability = Literal["everysec", "strict"]


async def examine(wire: Wire, *, durability: Durability, is_dev: bool) -> Checkup:
    """What its settings and its own account of itself say.

    :raises LedgerUnavailable: it does not answer.
    """
    try:
        info = _parsed(await wire.call("INFO"))
        if is_dev and durability != "strict":
            return Checkup(faults=tuple(_of_server(info)), warnings=tuple(_of_room(info)))
        fsync = await _of_fsync(wire, durability)
    except FOREIGN as exc:
        raise translated(exc) from exc
    return Checkup(
        faults=(*_of_server(info), *_of_persistence(info), *fsync.faults),
        warnings=(*_of_room(info), *_of_upkeep(info), *fsync.warnings),
    )


async def examine_by_writing(wire: Wire, *, durability: Durability, is_dev: bool) -> Checkup:
    """The same and whether it takes a change now, for those who ask whether it is ready. Silence is one more fault."""
    try:
        found = await examine(wire, durability=durability, is_dev=is_dev)
        refusal = await _refusal(wire)
    except LedgerUnavailable as exc:
        return Checkup(faults=(exc.detail,))
    if refusal is None or refusal in found.faults:
        return found
    return Checkup(faults=(*found.faults, refusal), warnings=found.warnings)


def _parsed(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _of_server(info: dict[str, str]) -> list[str]:
    found = []
    version = info.get("redis_version", "0.0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        found.append(f"the ledger needs Redis 6.2 or later, this is {version}")
    if info.get("cluster_enabled") == "1":
        found.append("the ledger's Redis is a node of a cluster, which the broker does not route to: name a single one")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"the ledger's Redis has maxmemory-policy {policy} and would evict sessions: set it to noeviction")
    if info.get("loading", "0") != "0":
        found.append("the ledger's Redis is still reading its file")
    if info.get("role") == "slave":
        found.append("the ledger's Redis is a replica and takes no writes")
    return found


def _of_room(info: dict[str, str]) -> list[str]:
    used, most = int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))
    if not most or used < most * NEARLY_FULL:
        return []
    return [f"the ledger's Redis has used {used / most:.0%} of its maxmemory and will refuse every change when full"]


def _of_persistence(info: dict[str, str]) -> list[str]:
    if info.get("aof_enabled") != "1":
        return ["the ledger's Redis has no append-only file and would forget sessions: set appendonly yes"]
    if info.get("aof_last_write_status", "ok") != "ok":
        return ["the ledger's Redis could not write its append-only file"]
    return []


def _of_upkeep(info: dict[str, str]) -> list[str]:
    found = []
    if info.get("aof_last_bgrewrite_status", "ok") != "ok":
        found.append("the ledger's Redis could not rewrite its append-only file, which grows until it can")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        found.append("the ledger's Redis could not save its last snapshot")
    return found


async def _of_fsync(wire: Wire, durability: Durability) -> Checkup:
    """How soon what was written is on the disk."""
    try:
        answer = await wire.call("CONFIG", "GET", "*appendfsync*")  # Redis 6.2 takes one pattern, not two names
    except ResponseError:
        return _unasked(durability)
    settings = dict(zip(answer[::2], answer[1::2], strict=True))
    found = []
    policy = settings.get(b"appendfsync", b"").decode()
    if durability == "strict" and policy != "always":
        found.append(f'durability = "strict" needs appendfsync always, the ledger\'s Redis has {policy}')
    elif policy not in {"always", "everysec"}:
        found.append(f"the ledger's Redis has appendfsync {policy} and may lose minutes: set everysec or always")
    if settings.get(b"no-appendfsync-on-rewrite", b"no") != b"no":
        found.append("the ledger's Redis does not sync its file while it rewrites it: set no-appendfsync-on-rewrite no")
    return Checkup(faults=tuple(found))


def _unasked(durability: Durability) -> Checkup:
    sentence = "the ledger's Redis does not tell its appendfsync"
    if durability == "strict":
        return Checkup(faults=(f'{sentence}: durability = "strict" is not proved until its user may CONFIG GET',))
    return Checkup(warnings=(f"{sentence}: nobody knows how much a crash would lose",))


async def _refusal(wire: Wire) -> str | None:
    """Why no change is taken now, if none is.

    :raises LedgerUnavailable: it does not answer.
    """
    try:
        await wire.call(*PROBE)
    except ResponseError as exc:
        return translated(exc).detail
    except FOREIGN as exc:
        raise translated(exc) from exc
    return None
