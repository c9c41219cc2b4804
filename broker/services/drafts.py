"""Drafts: sessions that are about to be recorded, and what their minting comes to."""

from msgspec import Struct

from broker.contract import Reason, Upload
from broker.domain.principals import ApiKey
from broker.domain.sessions import Session
from broker.ports import Bucket, NewSession
from broker.services.admission import Strategy


class CopyDraft(Struct, frozen=True, kw_only=True):
    """A copy that is about to be recorded. `upload` is None where the store must begin it first, or with `problem`."""

    new: NewSession
    bucket: Bucket
    upload: Upload | None = None
    problem: Reason | None = None


class Draft(Struct, frozen=True, kw_only=True):
    """A session that is about to be recorded. `upload` is None where the store must begin it first, or of a fan-out,
    and until it is signed. `strategy` and `origin` are what was asked for."""

    api_key: ApiKey
    new: NewSession
    bucket: Bucket
    upload: Upload | None = None
    copies: tuple[CopyDraft, ...] = ()
    strategy: Strategy = "auto"
    origin: str | None = None

    @property
    def is_put(self) -> bool:
        """Whether one signature is all that it takes."""
        facts = self.new.session.facts
        return not (self.copies or facts.multipart or facts.resumable)

    @property
    def is_signed_afar(self) -> bool:
        """Whether to sign it takes calls to a provider."""
        buckets = [copy.bucket for copy in self.copies] or [self.bucket]
        return any(bucket.signs_afar for bucket in buckets)


class MintedCopy(Struct, frozen=True, kw_only=True):
    """What a client is given to send to one destination; or why not, this time."""

    destination: str
    upload: Upload | None = None
    problem: Reason | None = None


class Minted(Struct, frozen=True, kw_only=True):
    """`upload` is None when a replayed session has settled since: there is nothing left to send. `copies` are those of
    a fan-out that were minted now."""

    session: Session
    upload: Upload | None
    token: str
    is_replay: bool
    copies: tuple[MintedCopy, ...] = ()
