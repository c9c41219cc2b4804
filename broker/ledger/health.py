"""Whether a Redis keeps what it is given: settings that lose data are named, one sentence each.

INFO says nearly all of it (Redis documentation, "INFO"); CONFIG, which managed services often forbid, is asked only for
`appendfsync`. WAITAOF (Redis ≥ 7.2) would do for `strict` too; it is not used yet.
"""

import logging
from typing import Literal

from redis.exceptions import RedisError

from broker.domain.errors import LedgerUnavailable
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Wire

OLDEST = (6, 2)  # XADD MINID, ZADD LT inside scripts, exclusive ranges of XRANGE

Durability = Literal["everysec", "strict"]

_log = logging.getLogger(__name__)


async def faults(wire: Wire, *, durability: Durability, is_dev: bool) -> list[str]:
    """Everything that is wrong.

    :raises LedgerUnavailable: it does not answer.
    """
    try:
        info = _parsed(await wire.call("INFO"))
        found = _of_server(info)
        if durability == "strict":
            return [*found, *_of_persistence(info), *await _of_strictness(wire)]
        return found if is_dev else [*found, *_of_persistence(info)]
    except FOREIGN as exc:
        raise translated(exc) from exc


async def faults_or_silence(wire: Wire, *, durability: Durability, is_dev: bool) -> list[str]:
    """The same for those who ask whether it is ready: silence is one more fault."""
    try:
        return await faults(wire, durability=durability, is_dev=is_dev)
    except LedgerUnavailable as exc:
        return [exc.detail]


def _parsed(info: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in info.decode(errors="replace").splitlines())
    return {name: value for name, colon, value in lines if colon}


def _of_server(info: dict[str, str]) -> list[str]:
    found = []
    version = info.get("redis_version", "0.0")
    if tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) < OLDEST:
        found.append(f"the ledger needs Redis 6.2 or later, this is {version}")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        found.append(f"the ledger's Redis has maxmemory-policy {policy} and would evict sessions: set it to noeviction")
    if info.get("role") == "slave":
        found.append("the ledger's Redis is a replica and takes no writes")
    return found


def _of_persistence(info: dict[str, str]) -> list[str]:
    if info.get("aof_enabled") != "1":
        return ["the ledger's Redis has no append-only file and would forget sessions: set appendonly yes"]
    if info.get("aof_last_write_status", "ok") != "ok":
        return ["the ledger's Redis could not write its append-only file"]
    return []


async def _of_strictness(wire: Wire) -> list[str]:
    try:
        answer = await wire.call("CONFIG", "GET", "appendfsync")
    except RedisError as exc:
        if isinstance(exc, ConnectionError):
            raise
        _log.warning("ledger.unchecked", extra={"setting": "appendfsync", "reason": str(exc)})
        return []
    if answer and answer[1] != b"always":
        value = answer[1].decode()
        return [f'durability = "strict" needs appendfsync always, the ledger\'s Redis has {value}']
    return []
