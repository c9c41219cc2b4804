"""Where the steps of one check work: its site, its stranger, and names for what they make.

Keys lie under the destination's prefix, so that its policies and events apply, and are none of a session: no hint and
no listing takes them for an upload.
"""

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Generic, TypeVar

from broker.checks.leftovers import Leftovers
from broker.checks.probe import EventProbe
from broker.checks.site import Site
from broker.checks.stranger import Reply, Sent, Stranger
from broker.contract import Checksum, SignedRequest
from broker.domain.keys import MARK_NAME
from broker.domain.objects import ObjectInfo, UploadSpec
from broker.ports import Clock

SIZE_BYTES = 1_024
CAPSULE = "check"  # opens nothing: what is left behind by accident can never become a session
LIFETIME = timedelta(minutes=5)

S_co = TypeVar("S_co", bound=Site, covariant=True)


def _body() -> bytes:
    return secrets.token_bytes(SIZE_BYTES)


@dataclass(slots=True, kw_only=True)
class Bench(Generic[S_co]):
    """`stored` is the object that later steps read, once `put` has left one. `events` is what it takes to hear of an
    event, or why nobody will."""

    site: S_co
    stranger: Stranger
    clock: Clock
    events: EventProbe | str
    body: bytes = field(default_factory=_body, repr=False)
    leftovers: Leftovers = field(default_factory=Leftovers)
    stored: ObjectInfo | None = None
    upload_id: str | None = None
    _run: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def folder(self) -> str:
        return f"{self.site.bucket.destination.prefix}/{MARK_NAME}-check/{self._run}"

    def key(self, name: str) -> str:
        return f"{self.folder}/{name}"

    async def sign(self, key: str, checksum: Checksum | None = None) -> SignedRequest:
        """The PUT of this check's 1 KiB, by the signer that serves."""
        now = self.clock.now()
        spec = spec_of(self.body, checksum)
        return await self.site.bucket.put.sign_put(key, spec, CAPSULE, now=now, ends=now + LIFETIME)

    async def put(self, key: str) -> Reply:
        """Exactly as signed."""
        return await self.stranger.send(Sent.of(await self.sign(self.leftovers.note(key)), self.body))

    async def head(self, key: str) -> ObjectInfo | None:
        return await self.site.bucket.objects.head(key)


def spec_of(body: bytes, checksum: Checksum | None = None) -> UploadSpec:
    return UploadSpec(
        filename="check.bin",
        size_bytes=len(body),
        content_type="application/x-upload-broker-check",
        checksum=checksum or Checksum(),
    )
