"""The ledger's scripts: each `.lua` file beside this one is one atomic step on one shard."""

from pathlib import Path

from broker.ledger.wire import Script


def _load(*parts: str) -> Script:
    folder = Path(__file__).parent
    return Script("\n".join((folder / f"{part}.lua").read_text() for part in parts).encode())


CREATE = _load("event", "create")
APPLY = _load("event", "apply")
HINT = _load("hint")
CLAIM = _load("claim")
CLAIM_ONE = _load("claim_one")
POSTPONE = _load("postpone")
LEASE = _load("event", "lease")
RENEW = _load("renew")
