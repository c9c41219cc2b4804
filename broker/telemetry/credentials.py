"""Credentials, counted: whether their sources answer, and until when what is held may be used."""

from collections.abc import Sequence
from datetime import datetime

from prometheus_client import Counter, Gauge

from broker.telemetry.metrics import Metrics


class CredentialMetrics:
    """Labels are places of the configuration, `destinations.eu.credentials.write`; nothing of a credential is one."""

    def __init__(self, metrics: Metrics) -> None:
        self._asked = Counter(
            "broker_credential_refreshes_total",
            "Requests for a fresh credential.",
            ("credential", "outcome"),
            registry=metrics.registry,
        )
        self._expires = Gauge(
            "broker_credential_expires_timestamp_seconds",
            "When the credential expires that is held; infinite for one that does not.",
            ("credential",),
            registry=metrics.registry,
        )

    def asked(self, places: Sequence[str], expires_at: datetime | None, *, is_ok: bool) -> None:
        """:param expires_at: of what is held now; None for never, or because nothing is."""
        for place in places:
            self._asked.labels(place, "ok" if is_ok else "failed").inc()
            if expires_at is not None:
                self._expires.labels(place).set(expires_at.timestamp())
            elif is_ok:
                self._expires.labels(place).set(float("inf"))
