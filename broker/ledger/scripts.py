"""The ledger's scripts: each `.lua` file beside this one is one atomic step on one shard."""

from pathlib import Path

from broker.ledger.wire import Script


def _load(*parts: str) -> Script:
    folder = Path(__file__).parent
    return Script("\n".join((folder / f"{part}.lua").read_text() for part in parts).encode())


CREATE = _load("event", "create")
APPLY = _load("event", "queues", "apply")
HINT = _load("hint")
CLAIM = _load("claim")
CLAIM_ONE = _load("claim_one")
POSTPONE = _load("postpone")
LEASE = _load("event", "queues", "lease")
RENEW = _load("queues", "renew")
FAN_OUT = _load("cursor", "pending", "fan_out")
REPLAY = _load("cursor", "pending", "replay")
CLAIM_HOOKS = _load("cursor", "pending", "claim_hooks")
SETTLE_HOOK = _load("cursor", "pending", "settle_hook")
FIND = _load("find")
BACKLOG = _load("backlog")
KEY_ADD = _load("key_add")
KEY_REVOKE = _load("key_revoke")
RATE = _load("rate")
