"""The OpenAPI document: fresh, valid, and about exactly what is mounted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import jsonschema  # type: ignore[import-untyped]  # by way of openapi-spec-validator
import msgspec
import pytest
from litestar.routes import HTTPRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

from broker.api.openapi import openapi_document
from broker.api.operations import OPERATIONS
from broker.api.problems import ROWS
from broker.contract import WebhookEvent, WebhookType
from broker.domain.webhooks import headers_of, message_id, type_of
from tests.api.world import build
from tests.clock import START, FrozenClock

COMMITTED = Path(__file__).parents[3] / "openapi" / "openapi.json"
DOCUMENT: dict[str, Any] = json.loads(openapi_document())


def test_the_committed_document_is_fresh() -> None:
    assert COMMITTED.read_bytes() == openapi_document(), "stale: run `upload-broker openapi`"


def test_the_document_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_exactly_what_the_table_holds_is_mounted() -> None:
    app = build(FrozenClock()).app
    routes = [route for route in app.routes if isinstance(route, HTTPRoute)]
    assert len(routes) == len(app.routes)
    mounted = [handler.opt["operation"] for route in routes for handler in route.route_handlers if handler.opt]
    assert sorted(operation.id for operation in mounted) == sorted(operation.id for operation in OPERATIONS)
    paths = {route.path.replace(":str", "") for route in app.routes}
    assert paths == {operation.path for operation in OPERATIONS} == set(DOCUMENT["paths"])


def test_only_health_and_notifications_are_open() -> None:
    is_open = {operation.id for operation in OPERATIONS if not operation.access.schemes}
    assert is_open == {"notify", "live", "ready", "about"}


def _examples() -> Iterator[tuple[str, dict[str, Any], Any]]:
    for path, methods in {**DOCUMENT["paths"], **DOCUMENT["webhooks"]}.items():
        for method, told in methods.items():
            for where, holder in {"request": told.get("requestBody", {}), **told["responses"]}.items():
                for media in holder.get("content", {}).values():
                    if "example" in media:
                        yield f"{method} {path} {where}", media["schema"], media["example"]


@pytest.mark.parametrize(("schema", "example"), [pytest.param(*rest, id=name) for name, *rest in _examples()])
def test_each_example_fits_its_schema(schema: dict[str, Any], example: Any) -> None:
    jsonschema.validate(example, {**schema, "components": DOCUMENT["components"]}, jsonschema.Draft202012Validator)


def test_every_route_that_takes_or_gives_json_has_an_example() -> None:
    with_examples = {name for name, _, _ in _examples()}
    for path, methods in DOCUMENT["paths"].items():
        for method, told in methods.items():
            assert "requestBody" not in told or f"{method} {path} request" in with_examples


def test_every_code_is_listed_with_status_and_retryability() -> None:
    listed = {row["code"]: (row["status"], row["is_retryable"]) for row in DOCUMENT["x-problems"]}
    assert listed == {kind.code: (row.status, kind.is_retryable) for kind, row in ROWS.items()}
    for code in listed:
        assert f"| `{code}` |" in DOCUMENT["info"]["description"]


@pytest.mark.parametrize("kind", list(ROWS), ids=lambda kind: kind.code)
def test_each_problem_example_is_a_problem(kind: Any) -> None:
    example = DOCUMENT["components"]["examples"][kind.code]["value"]
    schema = {"$ref": "#/components/schemas/Problem", "components": DOCUMENT["components"]}
    jsonschema.validate(example, schema, jsonschema.Draft202012Validator)
    assert example["code"] == kind.code


def test_what_webhooks_are_told_is_what_the_contract_knows() -> None:
    assert tuple(DOCUMENT["webhooks"]) == tuple(sorted(get_args(WebhookType)))
    for name, methods in DOCUMENT["webhooks"].items():
        (content,) = methods["post"]["requestBody"]["content"].values()
        event = msgspec.convert(content["example"], WebhookEvent)
        assert (event.type, f"session.{event.data.state}") == (name, name)
        assert type_of(event.data.state, event.data.epoch) == name


def test_the_headers_that_webhooks_are_documented_with_are_those_that_are_sent() -> None:
    sent = headers_of((b"a" * 32, b"b" * 32), message_id("00" + "a" * 26, "1732100000000-7"), b"{}", START)
    for methods in DOCUMENT["webhooks"].values():
        told = {parameter["name"]: parameter["schema"]["pattern"] for parameter in methods["post"]["parameters"]}
        assert told.keys() == sent.keys() - {"content-type"}
        for name, pattern in told.items():
            assert re.search(pattern, sent[name]), name
