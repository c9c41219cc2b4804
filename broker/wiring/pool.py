"""The connections over which a process calls stores and whoever signs for them.

Shared, and so that no host can take them all: one that hangs – IAM, while a thousand signatures are wanted – makes its
own callers wait, and nobody who asks another.
"""

from typing import Final

import aiohttp

# Ours. A session that waits for a connection does so within the time that its call has.
CONNECTIONS: Final = 320
CONNECTIONS_TO_ONE: Final = 256  # a look, a mint and a read are one each


def open_pool(*, limit: int = CONNECTIONS, to_one: int = CONNECTIONS_TO_ONE) -> aiohttp.ClientSession:
    """:param to_one: to one host and port; what is left is for the others."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit, limit_per_host=to_one), cookie_jar=aiohttp.DummyCookieJar()
    )
