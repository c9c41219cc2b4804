"""Webhooks of stores that sign nothing: AWS, MinIO and Ceph spelling of the S3 event message structure.

The sender proves itself by a secret that it was given – as Bearer token, as Basic password, or as `token` in the push
URL's query, which is all that Ceph can keep.
"""

import base64
import binascii
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from broker.domain.errors import NotAuthentic
from broker.doors.bodies import open_body
from broker.ports import Envelope, Opened


@dataclass(frozen=True, slots=True, kw_only=True)
class S3EventDoor:
    """A source of S3-shaped events.

    :param tokens: the secrets that the sender may present; two while one is being rotated.
    """

    destinations: Sequence[str]
    tokens: Sequence[str]

    async def open(self, envelope: Envelope) -> Opened:
        self._authenticate(envelope)
        return open_body(envelope.body)

    def _authenticate(self, envelope: Envelope) -> None:
        given = [text.encode(errors="replace") for text in _presented(envelope) if text]
        known = [token.encode() for token in self.tokens]
        if not any([hmac.compare_digest(a, b) for a in given for b in known]):  # noqa: C419 - every pair, always
            raise NotAuthentic


def _presented(envelope: Envelope) -> Iterator[str]:
    scheme, _, rest = envelope.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        yield rest.strip()
    elif scheme.lower() == "basic":
        yield _basic_password(rest)
    if "token" in envelope.query:
        yield envelope.query["token"]


def _basic_password(text: str) -> str:
    """RFC 7617; the user name is the sender's own business."""
    try:
        return base64.b64decode(text.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, ValueError):
        return ""
