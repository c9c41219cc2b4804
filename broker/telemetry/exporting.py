"""Where traces go, by the standard's own environment ("OpenTelemetry Environment Variable Specification").

OTEL_EXPORTER_OTLP_ENDPOINT (or …_TRACES_ENDPOINT) turns tracing on, OTEL_SDK_DISABLED=true off again; the SDK reads the
rest itself: OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES, OTEL_TRACES_SAMPLER, OTEL_EXPORTER_OTLP_HEADERS, OTEL_BSP_….
"""

import asyncio
import os
import threading
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress

from broker import __version__
from broker.domain.errors import ConfigurationInvalid
from broker.telemetry.tracing import Tracing

SERVICE = "upload-broker"
GOODBYE_SECONDS = 3.0  # ours: for the last spans; a collector that is away must not keep a process from ending
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def open_tracing(environ: Mapping[str, str], stack: AsyncExitStack) -> Tracing:
    """On when an endpoint is named. What is still to be sent when `stack` closes gets a moment.

    :raises ConfigurationInvalid: it is named, and the SDK is not installed, or cannot speak what is asked for.
    """
    if not is_wanted(environ):
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
    resource = Resource.create({SERVICE_NAME: name, SERVICE_VERSION: __version__, "process.pid": os.getpid()})
    # Not the global provider: nobody else's spans go where these go.
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    stack.push_async_callback(_end, provider.shutdown)
    return Tracing(provider.get_tracer(SERVICE, __version__))


def is_wanted(environ: Mapping[str, str]) -> bool:
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    return environ.get("OTEL_TRACES_EXPORTER", "otlp") == "otlp" and any(environ.get(name) for name in ENDPOINTS)


async def _end(shut_down: Callable[[], object]) -> None:
    """Sends what is left. In a thread that keeps nobody waiting, because an exporter tries again and again."""
    loop, done = asyncio.get_running_loop(), asyncio.Event()

    def run() -> None:
        shut_down()
        with suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(done.set)

    threading.Thread(target=run, daemon=True).start()
    with suppress(TimeoutError):
        async with asyncio.timeout(GOODBYE_SECONDS):
            await done.wait()
