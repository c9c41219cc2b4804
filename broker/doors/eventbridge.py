"""EventBridge over HTTPS: an API destination, which presents what its connection was given.

Amazon EventBridge User Guide, "Authorization methods for connections": an API key in a header that the connection
names, Basic, or a token that EventBridge fetches from an OAuth server – which is good here if it is one of ours. Not in
the query: EventBridge can keep a header, and queries end in logs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.doors.bodies import open_body
from broker.doors.presented import in_authorization, require_one
from broker.ports import Envelope, Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class EventBridgeDoor:
    """
    :param tokens: the secrets that the connection may present; two while one is being rotated.
    :param key_header: the connection's `ApiKeyName`, in lower case.
    """

    destinations: Sequence[str]
    tokens: Sequence[str]
    key_header: str

    async def open(self, envelope: Envelope) -> Opened:
        require_one((in_authorization(envelope), envelope.headers.get(self.key_header, "")), self.tokens)
        return open_body(envelope.body)
