"""Floor 2: the ledger, on Redis (`redis.py` with its scripts) and in memory (`memory.py`), under one contract suite."""
