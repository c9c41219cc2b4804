"""What Prometheus is told: every metric of the broker in one registry, and one verb for each thing that happens.

Names and units follow Prometheus, "Metric and label naming". Labels hold names of the configuration and words of ours –
operation, state, error code –, never an id, a key or an address: how many series there are is known at start-up. A
series of a configured name stands there from the start, so that a rate knows its first event.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import product

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, Info, ProcessCollector

from broker import __version__
from broker.contract import NotificationReceipt, State, StoredObject
from broker.domain.jobs import has_taken_over
from broker.domain.sessions import Change, Session, is_cut_short
from broker.domain.webhooks import Attempt
from broker.ports import Delivery
from broker.telemetry.families import Family
from broker.telemetry.times import Times

GONE = "(gone)"  # a destination that is in a record and no longer in the configuration

HTTP_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
CALL_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
UPLOAD_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 86_400)
NOTICE_BUCKETS = (1, 2, 5, 10, 30, 60, 120, 300, 900, 3_600)
JOB_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 21_600, 86_400)

SETTLED = (State.VERIFIED, State.REJECTED, State.EXPIRED, State.ABORTED)
RESULTS = ("accepted", "ignored", "malformed")
TOLD = ("delivered", "failed", "given-up", "dropped")
ENDINGS = ("processed", "failed", "rejected", "retried", "released", "postponed", "erased")


class Metrics:
    """One process's counts. Nothing here waits or raises.

    :param destinations: `sources` and `webhooks` too: the configured names, the only ones that ever become labels.
    """

    def __init__(
        self, *, destinations: Iterable[str] = (), sources: Iterable[str] = (), webhooks: Iterable[str] = ()
    ) -> None:
        self.registry = registry = CollectorRegistry()
        self._destinations = frozenset(destinations)
        self.webhooks = tuple(webhooks)
        ProcessCollector(registry=registry)
        GCCollector(registry=registry)
        Info("broker_build", "What is running.", registry=registry).info({"version": __version__})

        def counter(name: str, text: str, *labels: str) -> Family[Counter]:
            return Family(Counter(name, text, labels, registry=registry))

        def histogram(name: str, text: str, buckets: Iterable[float], *labels: str) -> Family[Histogram]:
            return Family(Histogram(name, text, labels, buckets=tuple(buckets), registry=registry))

        self._requests = Times("broker_http_request_seconds", "Requests answered.", HTTP_BUCKETS, registry=registry)
        self._begun = counter("broker_upload_sessions_total", "Sessions minted or adopted.", "destination", "strategy")
        self._uploads = counter("broker_uploads_total", "Sessions settled by a look.", "destination", "outcome")
        self._verified = histogram(
            "broker_upload_verified_seconds", "From mint to verified.", UPLOAD_BUCKETS, "destination"
        )
        self._noticed = histogram(
            "broker_upload_noticed_seconds",
            "From the store's Last-Modified (whole seconds) to verified, single PUTs.",
            NOTICE_BUCKETS,
            "destination",
        )
        self._witnessed = counter(
            "broker_uploads_witnessed_total",
            "Verified uploads of which the bucket had told (event), or that a look found (look).",
            "destination",
            "witness",
        )
        self._bytes = counter("broker_upload_bytes_total", "Bytes verified.", "destination")
        self._rejections = counter("broker_upload_rejections_total", "Why a look rejected.", "destination", "reason")
        self._leases = counter("broker_leases_total", "Jobs handed out.", "destination")
        self._lost = counter("broker_leases_lost_total", "Jobs handed out again, as a lease ran out.", "destination")
        self._jobs = counter("broker_jobs_total", "How leases ended.", "destination", "outcome")
        self._job_seconds = histogram(
            "broker_job_seconds", "From verified to a consumer's last word.", JOB_BUCKETS, "outcome"
        )
        self._looks = counter("broker_looks_total", "Looks at a session, by what they led to.", "destination", "result")
        self._records = counter(
            "broker_notification_records_total", "Records of authentic notifications.", "source", "result"
        )
        self._refused = counter("broker_notifications_refused_total", "Notifications not authentic.", "source")
        self._calls = histogram(
            "broker_store_call_seconds", "The broker's own calls.", CALL_BUCKETS, "destination", "call", "outcome"
        )
        self._told = counter("broker_webhook_attempts_total", "Attempts to tell a webhook.", "webhook", "outcome")
        self._told_after = histogram(
            "broker_webhook_told_seconds", "From what happened, or its replay, to told.", UPLOAD_BUCKETS, "webhook"
        )
        self._expect(sources)
        for webhook in self.webhooks:
            self._told_after.labels(webhook)
            for outcome in TOLD:
                self._told.labels(webhook, outcome)

    def listened(self, count: Callable[[], int]) -> None:
        """:param count: asked at each scrape: how many listen to streams of events."""
        Gauge("broker_listeners", "Open streams of events.", registry=self.registry).set_function(count)

    def _expect(self, sources: Iterable[str]) -> None:
        for destination in self._destinations:
            for family in (self._verified, self._noticed, self._bytes, self._leases, self._lost):
                family.labels(destination)
            for state in SETTLED:
                self._uploads.labels(destination, state.value)
            for witness in ("event", "look"):
                self._witnessed.labels(destination, witness)
            for ending in ENDINGS:
                self._jobs.labels(destination, ending)
        for source, result in product(sources, RESULTS):
            self._records.labels(source, result)
            self._refused.labels(source)

    # --- requests

    def answered(self, operation: str, status: int, seconds: float) -> None:
        self._requests.observe(operation, status, seconds)

    # --- sessions and jobs

    def begun(self, destination: str, strategy: str, count: int = 1) -> None:
        """The ledger has new sessions."""
        self._begun.labels(self._name(destination), strategy).inc(count)

    def applied(self, change: Change) -> None:
        """The ledger took a change."""
        if not change.is_told:
            return
        before, after = change.before.state, change.after.state
        if before is State.PROCESSING:
            self._ended(change)
        elif before in {State.PENDING, State.EXPIRED}:
            self._settled(change.after)
        elif after is not State.VERIFIED:  # somebody else's reason to end it
            outcome = "erased" if is_cut_short(change.after) else after.value
            self._uploads.labels(self._name(change.after.facts.destination), outcome).inc()

    def _settled(self, session: Session) -> None:
        facts, at = session.facts, session.progress.changed_at
        destination = self._name(facts.destination)
        self._uploads.labels(destination, session.state.value).inc()
        if session.state is State.REJECTED and facts.reason:
            self._rejections.labels(destination, facts.reason.code).inc()
        if session.state is not State.VERIFIED or facts.stored is None:
            return
        self._bytes.labels(destination).inc(facts.stored.size_bytes)
        self._verified.labels(destination).observe(_seconds(at - facts.created_at))
        self._witnessed.labels(destination, "event" if session.progress.is_heard else "look").inc()
        if (came := _came_at(session, facts.stored)) is not None:
            self._noticed.labels(destination).observe(_seconds(at - came))

    def leased(self, session: Session) -> None:
        """A job was handed out."""
        destination = self._name(session.facts.destination)
        self._leases.labels(destination).inc()
        if has_taken_over(session):
            self._lost.labels(destination).inc()

    def _ended(self, change: Change) -> None:
        """How a lease ended by somebody's word."""
        after = change.after
        ending = _ending(change)
        self._jobs.labels(self._name(after.facts.destination), ending).inc()
        verified_at = next((step.at for step in after.facts.steps if step.state is State.VERIFIED), None)
        if after.state is not State.VERIFIED and verified_at is not None:
            self._job_seconds.labels(ending).observe(_seconds(after.progress.changed_at - verified_at))

    # --- looks, events, stores

    def looked(self, destination: str, result: str) -> None:
        """:param result: what `Look` led to, in a word of ours."""
        self._looks.labels(self._name(destination), result).inc()

    def noticed(self, source: str, receipt: NotificationReceipt) -> None:
        for result in RESULTS:
            if count := getattr(receipt, result):
                self._records.labels(source, result).inc(count)

    def refused(self, source: str) -> None:
        self._refused.labels(source).inc()

    def called(self, destination: str, call: str, outcome: str, seconds: float) -> None:
        """The broker asked a store. `outcome` is "ok" or the code of an error."""
        self._calls.labels(destination, call, outcome).observe(seconds)

    def told(self, delivery: Delivery, attempt: Attempt) -> None:
        """A webhook was told, or not."""
        self._told.labels(delivery.webhook, attempt.outcome).inc()
        if attempt.outcome == "delivered":
            self._told_after.labels(delivery.webhook).observe(_seconds(attempt.at - delivery.since))

    def _name(self, destination: str) -> str:
        return destination if destination in self._destinations else GONE


def _ending(change: Change) -> str:
    """The consumer's words, told apart where the state alone does not."""
    before, after = change.before.progress, change.after.progress
    if is_cut_short(change.after):
        return "erased"
    if after.state is not State.VERIFIED:
        return after.state.value
    if after.failures > before.failures:
        return "retried"
    return "postponed" if after.infrastructure > before.infrastructure else "released"


def _came_at(session: Session, stored: StoredObject) -> datetime | None:
    """When the bytes were there. Of an object in parts S3 tells when its upload began ("Object metadata")."""
    return None if session.facts.multipart else stored.last_modified


def _seconds(duration: timedelta) -> float:
    """Clocks differ: nothing took less than no time."""
    return max(duration.total_seconds(), 0.0)
