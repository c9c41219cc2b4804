"""The broker as an ASGI application: use cases in, routes out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler

from broker.api.auth import Gate
from broker.api.batches import Batches
from broker.api.health import Health
from broker.api.jobs import Jobs
from broker.api.metrics import MetricsRoute
from broker.api.notifications import Notifications
from broker.api.problems import refuse
from broker.api.session_events import SessionEvents
from broker.api.upload_sessions import UploadSessions
from broker.domain.tokens import Tokens
from broker.ports import ApiKeys, Clock, Listeners, Listings, Schedule, Sessions
from broker.services.abort import Abort
from broker.services.complete import Complete
from broker.services.complete_many import CompleteMany
from broker.services.erase import Erase
from broker.services.finish import FinishJob, ReleaseJob
from broker.services.lease import LeaseJobs, RenewLease
from broker.services.mint import Mint
from broker.services.mint_batch import MintBatch
from broker.services.read import Read
from broker.services.remint import Remint
from broker.services.remint_copy import RemintCopy
from broker.services.survey import Survey
from broker.services.survey_many import SurveyMany
from broker.services.turns import Turns
from broker.services.watch import Watch
from broker.telemetry.scrape import Scrape
from broker.telemetry.use_cases import Notifying

Lifespan = Callable[[Litestar], AbstractAsyncContextManager[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """All that the API may do."""

    keys: ApiKeys
    tokens: Tokens
    clock: Clock
    sessions: Sessions
    schedule: Schedule
    mint: Mint
    mint_batch: MintBatch
    survey_many: SurveyMany
    complete_many: CompleteMany
    listings: Listings
    turns: Turns
    remint: Remint
    remint_copy: RemintCopy
    complete: Complete
    abort: Abort
    erase: Erase
    survey: Survey
    read: Read
    lease: LeaseJobs
    renew: RenewLease
    finish: FinishJob
    release: ReleaseJob
    notify: Notifying
    scrape: Scrape
    watch: Watch
    listeners: Listeners


class Watched(Protocol):
    """What it takes to answer those who ask how a process is."""

    @property
    def keys(self) -> ApiKeys: ...
    @property
    def tokens(self) -> Tokens: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def sessions(self) -> Sessions: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def scrape(self) -> Scrape: ...


def create_app(use_cases: UseCases, *, lifespan: Sequence[Lifespan] = ()) -> Litestar:
    """Litestar's own OpenAPI and logging stay off: ours are `broker.api.openapi` and `broker.logs`."""
    do = use_cases
    gate = _gate(do)
    upload_sessions = UploadSessions(
        mint=do.mint,
        remint=do.remint,
        remint_copy=do.remint_copy,
        complete=do.complete,
        abort=do.abort,
        erase=do.erase,
        survey=do.survey,
        read=do.read,
        tokens=do.tokens,
        keys=do.keys,
    )
    batches = Batches(
        mint_batch=do.mint_batch,
        survey_many=do.survey_many,
        complete_many=do.complete_many,
        listings=do.listings,
        turns=do.turns,
    )
    jobs = Jobs(lease=do.lease, renew=do.renew, finish=do.finish, release=do.release, keys=do.keys)
    notifications = Notifications(notify=do.notify)
    session_events = SessionEvents(watch=do.watch, listeners=do.listeners, clock=do.clock)
    routes = [
        *upload_sessions.routes(gate),
        *batches.routes(gate),
        *session_events.routes(gate),
        *jobs.routes(gate),
        *notifications.routes(gate),
        *_health_routes(do, gate),
    ]
    return _litestar(routes, lifespan)


def create_health_app(watched: Watched) -> Litestar:
    """What a process without the API answers to those who watch it."""
    return _litestar(_health_routes(watched, _gate(watched)))


def _gate(do: Watched) -> Gate:
    return Gate(keys=do.keys, tokens=do.tokens, clock=do.clock, sessions=do.sessions)


def _health_routes(do: Watched, gate: Gate) -> list[HTTPRouteHandler]:
    return [*Health(schedule=do.schedule).routes(gate), *MetricsRoute(scrape=do.scrape).routes(gate)]


def _litestar(routes: Sequence[HTTPRouteHandler], lifespan: Sequence[Lifespan] = ()) -> Litestar:
    return Litestar(
        routes,
        exception_handlers={Exception: refuse},
        lifespan=list(lifespan),
        logging_config=None,
        openapi_config=None,
    )
