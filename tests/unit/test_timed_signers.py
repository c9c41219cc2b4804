"""A signature is a call, timed and counted, where a provider has the key; elsewhere it is none."""

from datetime import timedelta

import pytest

from broker.domain.errors import SigningQuotaExhausted
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination
from broker.telemetry.metrics import Metrics
from broker.telemetry.stores import timed
from broker.telemetry.tracing import Tracing
from tests.clock import START, FrozenClock
from tests.memory_bucket import MemoryBucket

PLACE = Destination(name="scans", bucket="acme", prefix="uploads")
SPEC = UploadSpec(filename="report.csv", size_bytes=12, content_type="text/csv")
ENDS = START + timedelta(minutes=15)


def counted(metrics: Metrics, call: str, outcome: str) -> float | None:
    labels = {"destination": "scans", "call": call, "outcome": outcome}
    return metrics.registry.get_sample_value("broker_store_call_seconds_count", labels)


async def test_signatures_of_a_provider_are_counted_with_what_came_of_them() -> None:
    memory, metrics = MemoryBucket(clock=FrozenClock(), signs_afar=True), Metrics(destinations=["scans"])
    bucket = timed(memory.as_bucket(PLACE), metrics, Tracing())

    await bucket.put.sign_put("uploads/k", SPEC, "sealed", now=START, ends=ENDS)
    await bucket.get.sign_get("uploads/k", None, filename="report.csv", now=START, ends=ENDS)
    memory.sign_trouble = SigningQuotaExhausted()
    with pytest.raises(SigningQuotaExhausted):
        await bucket.put.sign_put("uploads/k", SPEC, "sealed", now=START, ends=ENDS)

    assert bucket.put.binds(SPEC) == memory.binds(SPEC)
    assert counted(metrics, "sign_put", "ok") == counted(metrics, "sign_get", "ok") == 1
    assert counted(metrics, "sign_put", "signing-quota-exhausted") == 1


async def test_signatures_by_our_own_key_are_no_calls() -> None:
    memory, metrics = MemoryBucket(clock=FrozenClock()), Metrics(destinations=["scans"])
    bucket = timed(memory.as_bucket(PLACE), metrics, Tracing())

    assert bucket.put is memory
    assert bucket.get is memory
