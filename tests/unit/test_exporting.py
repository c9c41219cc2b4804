"""Tracing is turned on by the standard's environment; what cannot be is one sentence."""

import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

import consumer.tracing
from broker.domain.errors import ConfigurationInvalid
from broker.telemetry.exporting import open_tracing
from consumer import errors

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
OFF: list[dict[str, str]] = [
    {},
    {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
    {**ENDPOINT, "OTEL_SDK_DISABLED": "true"},
    {**ENDPOINT, "OTEL_SDK_DISABLED": "TRUE"},
    {**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"},
    {"OTEL_SERVICE_NAME": "uploads"},
]


@pytest.mark.parametrize("environ", OFF)
async def test_it_is_off_unless_an_endpoint_is_named(environ: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        assert not open_tracing(environ, stack).is_on
    assert consumer.tracing.open_tracing(environ).tracer is None


@pytest.mark.parametrize("name", ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
async def test_an_endpoint_turns_it_on(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "http://127.0.0.1:9")
    async with AsyncExitStack() as stack:
        assert open_tracing({name: "http://127.0.0.1:9"}, stack).is_on
    opened = consumer.tracing.open_tracing({name: "http://127.0.0.1:9"})
    assert opened.tracer is not None
    opened.close()


async def _of_broker(environ: dict[str, str]) -> None:
    async with AsyncExitStack() as stack:
        open_tracing(environ, stack)


async def _of_consumer(environ: dict[str, str]) -> None:
    consumer.tracing.open_tracing(environ)


each: Any = pytest.mark.parametrize(
    ("open_it", "trouble"), [(_of_broker, ConfigurationInvalid), (_of_consumer, errors.ConfigurationInvalid)]
)


@each
async def test_a_missing_sdk_is_one_sentence_that_names_the_extra(
    open_it: Callable[..., Any], trouble: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(trouble, match=r"upload-broker\[otel\]"):
        await open_it(ENDPOINT)


@each
async def test_a_protocol_that_we_do_not_speak_is_refused(
    open_it: Callable[..., Any], trouble: type[Exception]
) -> None:
    with pytest.raises(trouble, match="http/protobuf"):
        await open_it({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
