"""Who mints: one session or many, again, and one copy again, put together."""

from dataclasses import dataclass

from broker.domain.capsule import CapsuleSealer
from broker.domain.fan_out import Required
from broker.domain.origins import Origins
from broker.domain.tokens import Tokens
from broker.domain.uris import UriSealer
from broker.ports import Buckets, Clock, Rates, Sessions, Trace
from broker.services.grant import Grant
from broker.services.limits import Limits
from broker.services.mint import Mint
from broker.services.mint_batch import MintBatch
from broker.services.mint_copies import MintCopies
from broker.services.open_upload import OpenUpload
from broker.services.open_uri import OpenUri
from broker.services.remint import Remint
from broker.services.remint_copy import RemintCopy
from broker.services.turns import Turns


@dataclass(frozen=True, slots=True, kw_only=True)
class Minting:
    """The use cases that hand out signed requests for new bytes."""

    mint: Mint
    mint_batch: MintBatch
    remint: Remint
    remint_copy: RemintCopy


def minting_of(
    *,
    buckets: Buckets,
    sessions: Sessions,
    rates: Rates,
    sealer: CapsuleSealer,
    uris: UriSealer,
    tokens: Tokens,
    clock: Clock,
    required: Required,
    shards: int,
    turns: Turns,
    trace: Trace,
    origins: Origins,
) -> Minting:
    grant, open_uri = Grant(sealer=sealer, uris=uris), OpenUri(sessions=sessions, sealer=sealer, uris=uris, clock=clock)
    open_upload = OpenUpload(sessions=sessions, sealer=sealer, clock=clock, open_uri=open_uri)
    remint = Remint(buckets=buckets, sessions=sessions, grant=grant, open_upload=open_upload, clock=clock)
    copies = MintCopies(
        buckets=buckets,
        sessions=sessions,
        remint=remint,
        grant=grant,
        open_upload=open_upload,
        required=required,
        shards=shards,
        trace=trace,
    )
    mint = Mint(
        buckets=buckets,
        sessions=sessions,
        remint=remint,
        grant=grant,
        open_upload=open_upload,
        tokens=tokens,
        clock=clock,
        shards=shards,
        limits=Limits(rates=rates),
        trace=trace,
        copies=copies,
        origins=origins,
    )
    return Minting(
        mint=mint,
        mint_batch=MintBatch(mint=mint, sessions=sessions, clock=clock, turns=turns),
        remint=remint,
        remint_copy=RemintCopy(buckets=buckets, sessions=sessions, remint=remint, copies=copies, clock=clock),
    )
