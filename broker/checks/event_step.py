"""Whether the bucket's own event reaches a door of the broker: the one step that goes through ledger and `serve`.

The probe is a session that its owner gave up before its bytes come. An event of such a one is noted in its record like
any other, and never makes a job; and should this process die, the sweeper and the looker know the object for a dead
session's and remove it.
"""

import asyncio
import time
from datetime import timedelta
from random import randrange

from broker.checks.bench import LIFETIME, Bench, spec_of
from broker.checks.findings import Finding, failed, passed, skipped
from broker.checks.probe import EventProbe
from broker.checks.site import Site
from broker.checks.steps import STEP_TIMEOUT, Step
from broker.checks.stranger import Sent
from broker.domain.capsule import capsule_of
from broker.domain.keys import new_session_id, object_key
from broker.domain.sessions import Facts, Session, abort, begin

PRINCIPAL = "upload-broker-check"
_ASK_EVERY_SECONDS = 0.2
LONGEST_WAIT = timedelta(hours=1)


async def event(bench: Bench[Site]) -> Finding:
    probe = bench.events
    if not isinstance(probe, EventProbe):
        return skipped(probe)
    hindrance = await probe.hinder()
    if hindrance:
        return skipped(hindrance)
    session = await _given_up(bench, probe)
    bench.leftovers.note(session.facts.key)
    reply = await bench.stranger.send(await _signed(bench, probe, session))
    if not reply.is_ok:
        return bench.site.explained(bench.site.put, reply.status, reply.code)
    begun = time.monotonic()
    if await _is_heard(probe, session.id):
        return passed(f"after {time.monotonic() - begun:.1f} s, by {' or '.join(probe.sources)}")
    return failed(
        f"none within {probe.timeout.total_seconds():g} s",
        f"compare the bucket's notification with `{bench.site.setup}`, and see that what "
        f"takes it ({', '.join(probe.sources)}) runs with this ledger; until then uploads are found by looking",
    )


async def _given_up(bench: Bench[Site], probe: EventProbe) -> Session:
    """Recorded and aborted before a byte is sent: between the two nothing can be heard."""
    place, now = bench.site.bucket.destination, bench.clock.now()
    session_id = new_session_id(randrange(probe.shards))  # noqa: S311 - spreads load, as in `mint`
    spec = spec_of(bench.body)
    facts = Facts(
        principal=PRINCIPAL,
        destination=place.name,
        bucket=place.bucket,
        key=object_key(place.prefix, session_id, spec.filename),
        spec=spec,
        guarantees=bench.site.bucket.put.binds(spec),
        created_at=now,
        expires_at=now + LIFETIME,
        requests_end_at=now + LIFETIME,
    )
    session = begin(session_id, facts, now)
    await probe.sessions.create(session, look_at=now + LIFETIME, idempotency=None)
    change = abort(session, place, now)
    await probe.sessions.apply(change)
    return change.after


async def _signed(bench: Bench[Site], probe: EventProbe, session: Session) -> Sent:
    facts = session.facts
    capsule = probe.sealer.seal(capsule_of(session.id, facts), bucket=facts.bucket, key=facts.key)
    request = await bench.site.bucket.put.sign_put(
        facts.key, facts.spec, capsule, now=facts.created_at, ends=facts.requests_end_at
    )
    return Sent.of(request, bench.body)


async def _is_heard(probe: EventProbe, session_id: str) -> bool:
    end = time.monotonic() + probe.timeout.total_seconds()
    while True:
        session = await probe.sessions.get(session_id)
        if session is not None and session.progress.is_heard:
            return True
        if time.monotonic() >= end:
            return False
        await asyncio.sleep(_ASK_EVERY_SECONDS)  # nobody tells another process than those that serve


STEPS = (
    Step(code="event", tried="the bucket's event reaches a door of the broker", attempt=event, after=("put",),
         timeout=LONGEST_WAIT + STEP_TIMEOUT),
)  # fmt: skip
