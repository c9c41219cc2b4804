"""Going through every record by SCAN, of each only two bytes: no index that every write would have to pay for.

SCAN gives each key that is there all the time at least once ("SCAN", guarantees), a bounded number a call, so nobody
waits for it; how long it takes grows with what Redis holds.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from broker.contract import State
from broker.domain.errors import LedgerUnavailable
from broker.domain.sessions import Session
from broker.ledger.records import SCHEMA, byte_of, decode
from broker.ledger.troubles import FOREIGN, translated
from broker.ledger.wire import Reply, Wire, Word

AT_ONCE = 1_000  # ours: keys that one SCAN looks at, some 0.3 ms
PATTERN = "session:{*}:*"

_log = logging.getLogger("broker.ledger")


async def in_state(wire: Wire, state: State) -> AsyncIterator[Session]:
    """:raises LedgerUnavailable:"""
    wanted, seen = bytes((SCHEMA, byte_of(state))), set[bytes]()
    cursor = b"0"
    while True:
        cursor, keys = await _call(wire, "SCAN", cursor, "MATCH", PATTERN, "COUNT", AT_ONCE, "TYPE", "string")
        heads = await asyncio.gather(*(_call(wire, "GETRANGE", key, 0, 1) for key in keys))
        found = [key for key, head in zip(keys, heads, strict=True) if head == wanted and key not in seen]
        seen.update(found)
        for key, record in zip(found, await asyncio.gather(*(_call(wire, "GET", key) for key in found)), strict=True):
            session = _read(key, record)
            if session is not None and session.state is state and not session.facts.copy_of:
                yield session
        if cursor == b"0":
            return


def _read(key: bytes, record: bytes | None) -> Session | None:
    """None: gone meanwhile, or broken, which must not hide the others."""
    if record is None:
        return None
    session_id = key.rpartition(b":")[2].decode(errors="replace")
    try:
        return decode(session_id, record)
    except LedgerUnavailable as exc:
        _log.error("record.unreadable", extra={"session_id": session_id, "why": exc.detail})
        return None


async def _call(wire: Wire, *words: Word) -> Reply:
    try:
        return await wire.call(*words)
    except FOREIGN as exc:
        raise translated(exc) from exc
