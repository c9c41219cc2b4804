"""Webhooks of stores that sign nothing: AWS, MinIO and Ceph spelling of the S3 event message structure.

The sender proves itself by a secret that it was given – as Bearer token, as Basic password, or as `token` in the push
URL's query, which is all that Ceph can keep.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.doors.bodies import open_body
from broker.doors.presented import in_authorization, require_one
from broker.ports import Envelope, Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class S3EventDoor:
    """A source of S3-shaped events.

    :param tokens: the secrets that the sender may present; two while one is being rotated.
    """

    destinations: Sequence[str]
    tokens: Sequence[str]

    async def open(self, envelope: Envelope) -> Opened:
        require_one((in_authorization(envelope), envelope.query.get("token", "")), self.tokens)
        return open_body(envelope.body)
