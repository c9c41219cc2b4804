"""What Redis can answer instead of a reply, as the one error that the ledger raises for it.

Redis source, `server.c` and `networking.c`, names the codes; inside a script Redis 6 puts the code into the middle of
the sentence, so it is looked for anywhere.
"""

from redis.exceptions import RedisError

from broker.domain.errors import LedgerUnavailable

FOREIGN = (RedisError, OSError, TimeoutError)  # what a connection or a server can raise

_SENTENCES = {
    "LOADING": "the ledger's Redis is still reading its file",
    "READONLY": "the ledger's Redis is a replica and takes no writes",
    "OOM": "the ledger's Redis is out of memory",
    "NOREPLICAS": "the ledger's Redis has too few replicas in reach and refuses changes",
    "MOVED": "the ledger's Redis is a cluster, which the broker does not route to",
    "CROSSSLOT": "the ledger's Redis is a cluster, which the broker does not route to",
    "MISCONF": "the ledger's Redis cannot write its file and refuses changes",
    "NOAUTH": "the ledger's Redis wants a password",
    "WRONGPASS": "the ledger's Redis does not take this password",
    "NOPERM": "the ledger's Redis does not permit this user a command",
    "WRONGTYPE": "a key of the ledger holds something else; is this the right database?",
    "MASTERDOWN": "the ledger's Redis has lost its primary",
    "CLUSTERDOWN": "the ledger's Redis cluster is down",
    "BUSY": "the ledger's Redis is busy with a script",
}


def translated(exc: Exception) -> LedgerUnavailable:
    """:param exc: one of `FOREIGN`."""
    text = f"{getattr(exc, 'status_code', '')} {exc}"
    for code, sentence in _SENTENCES.items():
        if code in text:
            return LedgerUnavailable(sentence)
    return LedgerUnavailable(f"the ledger does not answer: {type(exc).__name__}: {exc}")
