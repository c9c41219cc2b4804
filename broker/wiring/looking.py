"""Who looks: one HEAD and its judgement, for single uploads and for fan-outs, put together."""

from broker.domain.capsule import CapsuleSealer
from broker.domain.uris import UriSealer
from broker.ports import Buckets, Clock, Looks, Sessions
from broker.services.adopt import Adopt
from broker.services.assemble import Assemble
from broker.services.close_uri import CloseUri
from broker.services.look import Look
from broker.services.look_fan_out import LookFanOut
from broker.services.missing import Missing
from broker.services.settle import Settle


def look_of(
    *,
    buckets: Buckets,
    sessions: Sessions,
    looks: Looks,
    adopt: Adopt,
    settle: Settle,
    sealer: CapsuleSealer,
    uris: UriSealer,
    clock: Clock,
) -> Look:
    missing = Missing(buckets=buckets, sessions=sessions, looks=looks, settle=settle, clock=clock)
    look_fan_out = LookFanOut(
        buckets=buckets, sessions=sessions, looks=looks, missing=missing, settle=settle, sealer=sealer, clock=clock
    )
    return Look(
        buckets=buckets,
        sessions=sessions,
        looks=looks,
        assemble=Assemble(sessions=sessions, clock=clock),
        close_uri=CloseUri(sessions=sessions, uris=uris),
        adopt=adopt,
        missing=missing,
        sealer=sealer,
        clock=clock,
        settle=settle,
        look_fan_out=look_fan_out,
    )
