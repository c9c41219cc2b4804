"""A broker in one process: the real API and use cases over memory adapters, and the people who call it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, cast

import httpx
from litestar import Litestar
from litestar.types import ASGIApp

from broker.api.app import UseCases, create_app
from broker.api.watching import watched
from broker.contract import SignedRequest
from broker.domain.capsule import CapsuleSealer
from broker.domain.origins import Origins
from broker.domain.policy import Destination, Policy
from broker.domain.principals import ApiKey, Role, hash_of, new_key_text
from broker.domain.tokens import Tokens
from broker.domain.uris import UriSealer
from broker.doors.s3_event import S3EventDoor
from broker.ledger.identity import MemoryIdentity
from broker.ledger.memory import MemoryLedger
from broker.ledger.tombstones import MemoryTombstones
from broker.ports import ApiKeys, Clock, Ledger
from broker.services.abort import Abort
from broker.services.adopt import Adopt
from broker.services.complete import Complete
from broker.services.complete_many import CompleteMany
from broker.services.end_copies import EndCopies
from broker.services.erase import Erase
from broker.services.finish import EndLease, FinishJob, ReleaseJob
from broker.services.lease import LeaseJobs, RenewLease
from broker.services.look_at_many import LookAtMany
from broker.services.notify import Notify
from broker.services.read import Read
from broker.services.record_hints import RecordHints
from broker.services.settle import Settle
from broker.services.survey import Survey
from broker.services.survey_many import SurveyMany
from broker.services.turns import Turns
from broker.services.watch import Watch
from broker.telemetry.ledger import CountedJobs, CountedSessions
from broker.telemetry.metrics import Metrics
from broker.telemetry.scrape import Scrape
from broker.telemetry.stores import timed
from broker.telemetry.tracing import Tracing
from broker.telemetry.use_cases import CountedLook, CountedNotify
from broker.wiring import ConfiguredKeys
from broker.wiring.looking import look_of
from broker.wiring.minting import minting_of
from broker.workers.bells import LocalBell
from broker.workers.tail import Tail
from tests.memory_bucket import MemoryBucket

PAGE = "https://app.example"  # the one origin whose pages may upload
DOOR_TOKEN = "the-bucket-says-so"
LEASE_FOR = timedelta(seconds=60)
POLICY = Policy(max_size_bytes=1_000_000_000, content_types=("text/*", "application/octet-stream"))
PLACES = {
    "default": Destination(name="default", bucket="acme", prefix="uploads", policy=POLICY),
    "other": Destination(name="other", bucket="acme-other", prefix="", policy=POLICY),
}
WISH: dict[str, Any] = {"filename": "report.csv", "size_bytes": 12, "content_type": "text/csv"}

_ROLES = {
    "app": Role.MINT,
    "neighbour": Role.MINT,
    "worker": Role.CONSUME,
    "root": Role.ADMIN,
    "small": Role.MINT,
    "prometheus": Role.OBSERVE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """Everything a test may look at or meddle with."""

    app: Litestar
    use_cases: UseCases
    tail: Tail
    client: httpx.AsyncClient
    ledger: Ledger
    bucket: MemoryBucket
    clock: Clock
    secrets: Mapping[str, str]

    def as_(self, who: str) -> dict[str, str]:
        """Headers of one of the callers: app, neighbour, worker, root, small."""
        return bearer(self.secrets[who])

    async def mint(self, who: str = "app", **changes: Any) -> dict[str, Any]:
        answer = await self.client.post("/upload-sessions", json={**WISH, **changes}, headers=self.as_(who))
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    async def verified(self, who: str = "app", **changes: Any) -> dict[str, Any]:
        """A session whose bytes have arrived and were looked at."""
        session = await self.mint(who, **changes)
        self.upload(session)
        answer = await self.client.post(f"/upload-sessions/{session['id']}/completion", headers=self.as_(who))
        assert answer.json()["state"] == "verified", answer.text
        return session

    def upload(self, session: dict[str, Any]) -> None:
        request = session["upload"]["request"]
        self.bucket.send(SignedRequest(method="PUT", url=request["url"], headers={}, expires_at=self.clock.now()))

    async def lease(self) -> dict[str, Any]:
        answer = await self.client.post("/jobs/lease", json={"worker": "w1"}, headers=self.as_("worker"))
        assert answer.status_code == 200, answer.text
        return dict(answer.json()["jobs"][0])

    async def state(self, session_id: str) -> tuple[str, int, int]:
        """What a refusal must leave as it was."""
        session = await self.ledger.get(session_id)
        assert session is not None
        return session.state.value, session.progress.revision, session.progress.epoch

    async def session_count(self) -> int:
        """How many sessions were ever begun: each leaves an event."""
        seen = set()
        for shard in range(self.ledger.shards):
            seen |= {event.id async for event in self.ledger.read(shard)}
        return len(seen)


def bearer(text: str) -> dict[str, str]:
    return {"authorization": f"Bearer {text}"}


def event(session: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The bucket's notification about a session's object."""
    bucket = {"name": changes.get("bucket", session["object"]["bucket"])}
    key = changes.get("key", session["object"]["key"])
    return {"Records": [{"eventName": "ObjectCreated:Put", "s3": {"bucket": bucket, "object": {"key": key}}}]}


def build(
    clock: Clock,
    *,
    ledger: Ledger | None = None,
    listeners: int = 0,
    tracing: Tracing | None = None,
    is_resumable: bool = False,
) -> World:
    """:param listeners: how many may stay; none, and each stream of events ends with what is known by now.
    :param is_resumable: whether the store holds uploads open instead of taking parts.
    """
    ledger, tracing = ledger or MemoryLedger(clock), tracing or Tracing()
    secrets = {who: new_key_text(who) for who in _ROLES}
    keys = {who: _key(who, role, secrets[who]) for who, role in _ROLES.items()}
    bucket = MemoryBucket(clock=clock, is_resumable=is_resumable)
    known = ConfiguredKeys(configured=keys, ledger=cast("Any", ledger).api_keys)
    tail = Tail(events=ledger, keys=known, shards=ledger.shards, limit=listeners or 100)
    if not listeners:
        tail.close()
    use_cases = _use_cases(ledger, bucket, clock, known, tail, tracing)
    app = create_app(use_cases)
    client = client_of(watched(app, use_cases.scrape.metrics, tracing))
    return World(
        app=app,
        use_cases=use_cases,
        tail=tail,
        client=client,
        ledger=ledger,
        bucket=bucket,
        clock=clock,
        secrets=secrets,
    )


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    """In this very loop, so that what looks concurrent is; Litestar's test client runs one call after the other."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://broker.localhost")


def _key(who: str, role: Role, text: str) -> ApiKey:
    if who == "small":
        return ApiKey(
            id=who, hashes=(hash_of(text),), roles=frozenset({role}), destinations=("other",), max_size_bytes=10
        )
    roles = {role, Role.ERASE} if role is Role.MINT else {role}
    return ApiKey(id=who, hashes=(hash_of(text),), roles=frozenset(roles))


def _use_cases(
    ledger: Ledger, bucket: MemoryBucket, clock: Clock, keys: ApiKeys, tail: Tail, tracing: Tracing
) -> UseCases:
    secret = (b"k" * 32,)
    sealer, tokens, uris = CapsuleSealer(secret), Tokens(secret), UriSealer(secret)
    due, work = LocalBell(), LocalBell()
    metrics = Metrics(destinations=PLACES, sources=("bucket",), webhooks=("hook",))
    metrics.listened(lambda: tail.count)
    buckets = {name: timed(bucket.as_bucket(place), metrics, tracing) for name, place in PLACES.items()}
    sessions = CountedSessions(sessions=ledger, metrics=metrics, tracing=tracing)
    jobs = CountedJobs(jobs=ledger, metrics=metrics)
    adopt = Adopt(
        sessions=sessions, tombstones=MemoryTombstones(clock), identity=MemoryIdentity(), sealer=sealer, clock=clock
    )
    settle = Settle(sessions=sessions, clock=clock, work=work)
    judge = look_of(
        buckets=buckets,
        sessions=sessions,
        looks=ledger,
        adopt=adopt,
        settle=settle,
        sealer=sealer,
        uris=uris,
        clock=clock,
    )
    look = CountedLook(look=judge, metrics=metrics, tracing=tracing)
    turns = Turns()
    minting = minting_of(
        buckets=buckets,
        sessions=sessions,
        rates=cast("Any", ledger).rates,
        sealer=sealer,
        uris=uris,
        tokens=tokens,
        clock=clock,
        required="all",
        shards=ledger.shards,
        turns=turns,
        trace=tracing,
        origins=Origins([PAGE]),
    )
    end_copies = EndCopies(buckets=buckets, sessions=sessions, clock=clock)
    read = Read(buckets=buckets, clock=clock)
    end = EndLease(buckets=buckets, sessions=sessions, tokens=tokens, clock=clock, work=work)
    door = S3EventDoor(destinations=("default",), tokens=(DOOR_TOKEN,))
    survey_many = SurveyMany(sessions=ledger)
    return UseCases(
        keys=keys,
        tokens=tokens,
        clock=clock,
        sessions=ledger,
        schedule=ledger,
        mint=minting.mint,
        mint_batch=minting.mint_batch,
        survey_many=survey_many,
        complete_many=CompleteMany(
            survey_many=survey_many,
            sessions=sessions,
            look_at_many=LookAtMany(looks=ledger, look=look, clock=clock, due=due),
        ),
        listings=ledger,
        turns=turns,
        remint=minting.remint,
        remint_copy=minting.remint_copy,
        complete=Complete(sessions=sessions, looks=ledger, look=look, clock=clock),
        abort=Abort(buckets=buckets, sessions=sessions, clock=clock, end_copies=end_copies),
        erase=Erase(buckets=buckets, sessions=sessions, sealer=sealer, clock=clock, end_copies=end_copies),
        survey=Survey(buckets=buckets, sessions=ledger, uris=uris),
        read=read,
        lease=LeaseJobs(
            jobs=jobs, sessions=sessions, read=read, tokens=tokens, clock=clock, work=work, duration=LEASE_FOR
        ),
        renew=RenewLease(jobs=jobs, read=read, tokens=tokens, clock=clock, duration=LEASE_FOR),
        finish=FinishJob(end_lease=end),
        release=ReleaseJob(end_lease=end),
        notify=CountedNotify(
            notify=Notify(
                doors={"bucket": door}, record=RecordHints(buckets=buckets, looks=ledger, clock=clock, due=due)
            ),
            sources=("bucket",),
            metrics=metrics,
        ),
        scrape=Scrape(metrics=metrics, schedule=ledger, deliveries=MemoryLedger(clock).webhooks, clock=clock),
        watch=Watch(sessions=ledger, buckets=buckets, clock=clock),
        listeners=tail,
    )
