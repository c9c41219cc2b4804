"""OpenTelemetry of a consumer: each try is a span of the trace in which the upload was asked for.

On when OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) is set, by the extra `otel`; a bare install has no
OpenTelemetry and hands on what the job brought. Attributes are ids, states and codes, as in a log line.
"""

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from broker import __version__, contract
from consumer.errors import ConfigurationInvalid

SERVICE = "upload-consumer"
GOODBYE_SECONDS = 3.0  # ours: a collector that is away must not keep a worker from ending
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

# W3C Trace Context, section 3.2.2
_TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


@dataclass(frozen=True, slots=True)
class Try:
    """One try in its trace. `traceparent` is what its calls and its processor hand on; empty when there is none."""

    traceparent: str
    span: Any = None

    @property
    def trace_id(self) -> str | None:
        return self.traceparent[3:35] or None

    def tell(self, outcome: str, code: str | None) -> None:
        if self.span is not None:
            self.span.set_attribute("job.outcome", outcome)
            if code is not None:
                self.span.set_attribute("job.code", code)


UNTRACED = Try("")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tracing:
    """:param tracer: OpenTelemetry's; None: nobody follows."""

    tracer: Any = None
    close: Callable[[], None] = lambda: None

    @contextmanager
    def of(self, job: contract.Job) -> Iterator[Try]:
        given = job.traceparent or ""
        parent = given if _TRACEPARENT.fullmatch(given) else ""
        if self.tracer is None:
            yield Try(parent)
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 – a bare install has none
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        words = TraceContextTextMapPropagator()
        attributes = {
            "upload.session_id": job.id,
            "upload.destination": job.destination,
            "job.epoch": job.lease.epoch,
            "upload.size_bytes": job.size_bytes,
        }
        with self.tracer.start_as_current_span(
            "process upload",
            context=words.extract({"traceparent": parent}),
            kind=SpanKind.CONSUMER,
            attributes=attributes,
            record_exception=False,
        ) as span:
            carrier: dict[str, str] = {}
            words.inject(carrier)
            yield Try(carrier.get("traceparent", parent) if span.is_recording() else parent, span)


def open_tracing(environ: Mapping[str, str]) -> Tracing:
    """
    :raises ConfigurationInvalid: traces are asked for, and the SDK is not installed or cannot speak so.
    """
    if not _is_wanted(environ):
        return Tracing()
    spoken = next((environ[name] for name in PROTOCOLS if environ.get(name)), "http/protobuf")
    if spoken != "http/protobuf":
        raise ConfigurationInvalid(f"OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is spoken, not {spoken!r}")
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ModuleNotFoundError as exc:
        raise ConfigurationInvalid(
            "traces are asked for (OTEL_EXPORTER_OTLP_ENDPOINT) and the OpenTelemetry SDK is not installed: "
            "install upload-broker[otel], or set OTEL_SDK_DISABLED=true"
        ) from exc
    name = environ.get("OTEL_SERVICE_NAME") or SERVICE
    provider = TracerProvider(
        resource=Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__, "process.pid": os.getpid()}),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(tracer=provider.get_tracer(SERVICE, __version__), close=lambda: _end(provider.shutdown))


def _is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp" and any(environ.get(name) for name in ENDPOINTS)


def _end(shut_down: Callable[[], object]) -> None:
    """Sends what is left; in a thread that keeps nobody waiting, because an exporter tries again and again."""
    sending = threading.Thread(target=shut_down, daemon=True)
    sending.start()
    sending.join(GOODBYE_SECONDS)
