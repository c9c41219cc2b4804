"""The OpenAPI 3.1 document, made from the table of operations, the contract and the error tree: nothing is said twice.

Spec: https://spec.openapis.org/oas/v3.1.1. Sorted and indented, so that a change of the wire is a readable diff.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any

import msgspec

from broker import __version__
from broker.api.auth import API_KEY, SESSION_TOKEN
from broker.api.operations import (
    EVENT_STREAM,
    LOCATION,
    OPERATIONS,
    REPLAYED,
    RETRY_AFTER,
    Body,
    Operation,
    Parameter,
    Reply,
)
from broker.api.problems import CHALLENGED, ROWS, default_text, is_retry_told, problem
from broker.api.webhooks import ABOUT, webhooks
from broker.contract import Problem, WebhookEvent
from broker.domain.errors import BrokerError

Json = dict[str, Any]

_JSON = "application/json"
_PROBLEM_JSON = "application/problem+json"
_REQUEST_ID = "X-Request-Id"
_CHALLENGE = "WWW-Authenticate"
_PATH_PARAMETER = re.compile(r"{(\w+)}")

_HEADERS: dict[str, Json] = {
    _REQUEST_ID: {"description": "Names this request in the log.", "schema": {"type": "string"}},
    _CHALLENGE: {"description": "RFC 9110 section 11.6.1.", "schema": {"type": "string"}},
    RETRY_AFTER: {"description": "Seconds to wait before asking again.", "schema": {"type": "integer", "minimum": 1}},
    LOCATION: {"description": "The session, or the signed URL.", "schema": {"type": "string"}},
    REPLAYED: {"description": "The session is not new.", "schema": {"type": "string", "enum": ["true"]}},
}
_PATH_SCHEMAS: dict[str, Json] = {
    "session_id": {"type": "string", "pattern": "^[0-9a-f]{2}[a-z2-7]{26}$"},
    "job_id": {"type": "string", "pattern": "^[0-9a-f]{2}[a-z2-7]{26}$"},
    "source": {"type": "string", "minLength": 1},
}
_SCHEMES: Json = {
    API_KEY: {
        "type": "http",
        "scheme": "bearer",
        "description": "`ub_<id>_<secret>`: a key of one role, or an admin's.",
    },
    SESSION_TOKEN: {"type": "http", "scheme": "bearer", "description": "`us_…`: one session, until its deadline."},
}
_ABOUT = """\
Clients ask for permission to upload, send the bytes straight to the bucket, and the bucket's own notification
starts the processing.

Every refusal is an RFC 9457 problem. Programs compare `code`:

| code | status | retryable | meaning |
|---|--:|---|---|
"""


def openapi_document() -> bytes:
    """Deterministic; ends with a newline."""
    document = {
        "openapi": "3.1.1",
        "info": {
            "title": "upload-broker",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": _ABOUT + "".join(_problem_line(kind) for kind in _by_code(ROWS)),
        },
        "servers": [{"url": "/"}],
        "tags": _tags(),
        "paths": _paths(),
        "webhooks": webhooks(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": _SCHEMES,
            "headers": _HEADERS,
            "examples": {kind.code: _problem_example(kind) for kind in ROWS},
            "parameters": {_REQUEST_ID: _request_id()},
            "responses": {"Unexpected": _problem_response([BrokerError])},
        },
        "x-problems": [_problem_row(kind) for kind in _by_code(ROWS)],
    }
    return msgspec.json.format(msgspec.json.encode(document, order="sorted"), indent=2) + b"\n"


def _tags() -> list[Json]:
    names = dict.fromkeys(operation.tag for operation in OPERATIONS)
    return [*({"name": tag} for tag in names), {"name": "webhooks", "description": ABOUT}]


def _paths() -> Json:
    paths: dict[str, Json] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return paths


def _operation(operation: Operation[Any]) -> Json:
    told: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [operation.tag],
        "security": [{scheme: []} for scheme in operation.access.schemes],
        "parameters": list(_parameters(operation)),
        "responses": _responses(operation),
    }
    if operation.text:
        told["description"] = operation.text
    if operation.body is not None:
        told["requestBody"] = _request_body(operation.body)
    return told


def _parameters(operation: Operation[Any]) -> Iterator[Json]:
    for name in _PATH_PARAMETER.findall(operation.path):
        yield {"name": name, "in": "path", "required": True, "schema": _PATH_SCHEMAS[name]}
    for parameter in operation.parameters:
        yield _parameter(parameter)
    yield {"$ref": f"#/components/parameters/{_REQUEST_ID}"}


def _parameter(parameter: Parameter) -> Json:
    return {
        "name": parameter.name,
        "in": parameter.place,
        "description": parameter.text,
        "schema": parameter.schema,
    }


def _request_id() -> Json:
    text = "Echoed in the answer and the log, if it is 1 to 128 visible ASCII characters; else another takes its place."
    return {"name": _REQUEST_ID, "in": "header", "description": text, "schema": {"type": "string"}}


def _request_body(body: Body) -> Json:
    if body.kind is None:
        content = {media: {"schema": {}, "example": body.example} for media in (_JSON, "text/plain")}
    else:
        content = {_JSON: {"schema": _ref(body.kind.__name__), "example": _plain(body.example)}}
    return {"required": body.is_required, "content": content}


def _responses(operation: Operation[Any]) -> Json:
    kinds = dict.fromkeys((*operation.access.problems, *operation.problems))
    by_status = sorted(kinds, key=lambda kind: (ROWS[kind].status, kind.code))
    responses: Json = {
        str(status): _problem_response(list(group))
        for status, group in groupby(by_status, key=lambda kind: ROWS[kind].status)
    }
    responses |= {str(reply.status): _reply(reply) for reply in operation.replies}
    return {**responses, "default": {"$ref": "#/components/responses/Unexpected"}}


def _reply(reply: Reply) -> Json:
    told: Json = {"description": reply.text, "headers": _headers(reply.headers)}
    if reply.media_type == EVENT_STREAM and reply.kind is not None:
        told["content"] = {EVENT_STREAM: _event(reply.kind, reply.example)}
    elif reply.kind is not None:
        told["content"] = {reply.media_type: {"schema": _ref(reply.kind.__name__), "example": _plain(reply.example)}}
    elif reply.example is not None:
        told["content"] = {reply.media_type: {"schema": {"type": "string"}, "example": reply.example}}
    return told


def _event(kind: type, example: Any) -> Json:
    """One event of a stream, field by field: until OpenAPI 3.2 and its `itemSchema` that is what `schema` describes."""
    data = {"type": "string", "contentMediaType": _JSON, "contentSchema": _ref(kind.__name__)}
    properties: Json = {"event": {"const": "state"}, "id": {"type": "string", "pattern": "^[0-9]{1,13}$"}, "data": data}
    said = {"event": "state", "id": "1795176004000", "data": msgspec.json.encode(example).decode()}
    return {"schema": {"type": "object", "required": [*properties], "properties": properties}, "example": said}


def _problem_response(kinds: list[type[BrokerError]]) -> Json:
    """All that may stand under one status, each code with its example."""
    names: list[str] = []
    if any(kind in CHALLENGED for kind in kinds):
        names.append(_CHALLENGE)
    if any(is_retry_told(kind) for kind in kinds):
        names.append(RETRY_AFTER)
    codes = {"properties": {"code": {"enum": [kind.code for kind in kinds]}}}
    examples = {kind.code: {"$ref": f"#/components/examples/{kind.code}"} for kind in kinds}
    return {
        "description": " ".join(dict.fromkeys(default_text(kind) for kind in kinds)),
        "headers": _headers(names),
        "content": {_PROBLEM_JSON: {"schema": {"allOf": [_ref("Problem"), codes]}, "examples": examples}},
    }


def _problem_example(kind: type[BrokerError]) -> Json:
    return {"value": _plain(problem(kind(), "5b3f0c9d2a7e4186"))}


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in (_REQUEST_ID, *names)}


def _schemas() -> Json:
    kinds: dict[type, None] = {Problem: None, WebhookEvent: None}
    for operation in OPERATIONS:
        if operation.body is not None and operation.body.kind is not None:
            kinds[operation.body.kind] = None
        kinds |= {reply.kind: None for reply in operation.replies if reply.kind is not None}
    _, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    # An item that is wrong does not make its batch wrong.
    wrong = {"description": "Anything else gets a problem in its place."}
    components["CreateUploadSessions"]["properties"]["sessions"]["items"] = {"anyOf": [_ref("BatchItem"), wrong]}
    return dict(components)


def _by_code(kinds: Iterable[type[BrokerError]]) -> list[type[BrokerError]]:
    return sorted(kinds, key=lambda kind: kind.code)


def _problem_line(kind: type[BrokerError]) -> str:
    retryable = "yes" if kind.is_retryable else "no"
    return f"| `{kind.code}` | {ROWS[kind].status} | {retryable} | {default_text(kind)} |\n"


def _problem_row(kind: type[BrokerError]) -> Json:
    status, title = ROWS[kind]
    return {"code": kind.code, "status": status, "title": title, "is_retryable": kind.is_retryable}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _plain(value: Any) -> Any:
    """As it looks on the wire."""
    return msgspec.json.decode(msgspec.json.encode(value))


if __name__ == "__main__":
    import sys

    sys.stdout.buffer.write(openapi_document())
