"""Every field of every route but the mint's (`test_api_bad_input`), wrong in every way, on a session that is live.

A refusal names its field, and neither ledger nor store notices: they are compared whole, byte for byte.
"""

import json
import pickle
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.api.operations import OPERATIONS
from tests.api.world import DOOR_TOKEN, World, bearer, event
from tests.clock import FrozenClock

MIB = 2**20
DEEP: Any = None
for _ in range(200):
    DEEP = [DEEP]
HUGE = 10**25
HOSTILE = ["a\x00b", "\u202egpj.exe", "a\nb", "\u2028"]
NO_TEXT: list[Any] = [None, 7, 1.5, True, [], {}, DEEP]
NO_NUMBER: list[Any] = [None, "1", "", True, [], {}, DEEP, "\x00"]
PATHS = ["../../etc/passwd", "..\\x", "/", "%2e%2e"]

PROOF = {"lease": "…", "epoch": 0}  # the live ones stand in when the test runs
GOOD: dict[str, dict[str, Any]] = {
    "remintUpload": {"destination": "default"},
    "mintParts": {"numbers": [1, 2]},
    "leaseJobs": {"max": 1, "wait_seconds": 0, "worker": "w1"},
    "renewLease": PROOF,
    "finishJob": {
        **PROOF,
        "outcome": "failed",
        "result": {"rows": 1},
        "reason": {"code": "broken", "message": "It is."},
        "retry_after_seconds": 1,
    },
    "releaseJob": {**PROOF, "cause": "drain"},
}
_PROOF: dict[str, list[Any]] = {"lease": NO_TEXT, "epoch": [*NO_NUMBER, 1.5, 1e300]}
WRONG: dict[str, dict[str, list[Any]]] = {
    # None is a good destination there: the session's own.
    "remintUpload": {"destination": [*NO_TEXT[1:], "", "x" * 65, "x" * 100_000, "nowhere", *HOSTILE, *PATHS]},
    "mintParts": {
        "numbers": [None, 1, "1", {}, [], [None], ["1"], [True], [1.5], [0], [-1], [10_001], [HUGE], [[1]], DEEP, [9]]
    },
    "leaseJobs": {
        "max": [*NO_NUMBER, 0, -1, 101, 1.5, HUGE],
        "wait_seconds": [*NO_NUMBER, -1, -0.001, 30.1, 1e300, HUGE],
        "worker": [*NO_TEXT, "x" * 129, "x" * 100_000, *HOSTILE],
    },
    "renewLease": _PROOF,
    "finishJob": {
        **_PROOF,
        "outcome": [*NO_TEXT, "", "done", "PROCESSED", "x" * 100_000, *HOSTILE, *PATHS],
        "result": [DEEP, "x" * 65_537],
        "reason": [7, "x", True, [], {}, DEEP, {"code": 1, "message": "x"}, {"code": "x", "message": None}],
        "retry_after_seconds": [*NO_NUMBER[1:], -1, 86_401, 1e300, HUGE],
    },
    "releaseJob": {**_PROOF, "cause": [*NO_TEXT, "", "whim", "x" * 100_000, *HOSTILE, *PATHS]},
}
FIELDS = [(name, field) for name, fields in WRONG.items() for field in fields]
REQUIRED = [(name, field) for name, field in FIELDS if field in {"numbers", "lease", "epoch", "outcome"}]
BY_ID = {operation.id: operation for operation in OPERATIONS}


def cases() -> Iterator[Any]:
    for name, fields in WRONG.items():
        for field, values in fields.items():
            for number, value in enumerate(values):
                yield pytest.param(name, field, value, id=f"{name}-{field}-{number}")


class Live:
    """One session that an operation would serve, if the request were right."""

    def __init__(self, world: World, name: str, session_id: str, who: str, proof: dict[str, Any]) -> None:
        self.world, self.name, self.who = world, name, who
        self.path = BY_ID[name].path.format(session_id=session_id, job_id=session_id)
        self.good = {field: proof.get(field, value) for field, value in GOOD[name].items()}

    async def send(self, body: Any) -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {**self.world.as_(self.who), "content-type": "application/json"}
        return await self.world.client.post(self.path, content=content, headers=headers)

    async def refused(self, body: Any, *, status: int = 422) -> dict[str, Any]:
        before = everything(self.world)
        answer = await self.send(body)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert everything(self.world) == before
        return dict(answer.json())


def everything(world: World) -> bytes:
    """All that a refusal must leave as it was."""
    store = world.bucket
    return pickle.dumps((world.ledger._shards, store.stored, store.removed, store.signed, store.uploads.signed))  # type: ignore[attr-defined]


async def live(world: World, name: str) -> Live:
    if name == "remintUpload":
        return Live(world, name, (await world.mint())["id"], "app", {})
    if name == "mintParts":
        session = await world.mint(strategy="multipart", size_bytes=33 * MIB)
        return Live(world, name, session["id"], "app", {})
    session = await world.verified()
    if name == "leaseJobs":
        return Live(world, name, session["id"], "worker", {})
    lease = (await world.lease())["lease"]
    return Live(world, name, session["id"], "worker", {"lease": lease["token"], "epoch": lease["epoch"]})


@pytest.mark.parametrize(("name", "field", "value"), list(cases()))
async def test_each_field_is_named_when_it_is_wrong(world: World, name: str, field: str, value: Any) -> None:
    target = await live(world, name)
    problem = await target.refused({**target.good, field: value})
    (fault,) = problem["errors"]
    assert fault["pointer"] == f"/{field}" or fault["pointer"].startswith(f"/{field}/")


@pytest.mark.parametrize(("name", "field"), REQUIRED)
async def test_a_required_field_is_named_when_it_is_missing(world: World, name: str, field: str) -> None:
    target = await live(world, name)
    problem = await target.refused({key: value for key, value in target.good.items() if key != field})
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [(f"/{field}", "missing")]


@pytest.mark.parametrize(("name", "field"), FIELDS)
async def test_a_field_that_stands_twice_is_named(world: World, name: str, field: str) -> None:
    target = await live(world, name)
    members = json.dumps(target.good)[1:-1]
    problem = await target.refused(f"{{{members},{json.dumps(field)}:{json.dumps(target.good[field])}}}".encode())
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [(f"/{field}", "repeated")]


@pytest.mark.parametrize(("name", "field"), FIELDS)
async def test_a_lone_surrogate_is_named(world: World, name: str, field: str) -> None:
    target = await live(world, name)
    problem = await target.refused(json.dumps({**target.good, field: "a\ud800"}).encode())
    assert [fault["pointer"] for fault in problem["errors"]] == [f"/{field}"]


@pytest.mark.parametrize("name", GOOD)
async def test_an_unknown_field_is_named(world: World, name: str) -> None:
    target = await live(world, name)
    problem = await target.refused({**target.good, "../key": 1})
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [("/..~1key", "unknown-field")]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("body", [None, 7, "x", [], [{}], True])
async def test_a_body_that_is_no_object_is_refused(world: World, name: str, body: Any) -> None:
    problem = await (await live(world, name)).refused(body)
    assert [fault["pointer"] for fault in problem["errors"]] == [""]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("body", [b"nope", b"{", b"{}{}", b"\xff", b"[" * 100_000, b'{"a":NaN}', b"\x00"])
async def test_what_is_not_json_is_refused(world: World, name: str, body: bytes) -> None:
    target = await live(world, name)
    before = everything(world)
    assert (await target.send(body)).status_code in {400, 422}
    assert everything(world) == before


@pytest.mark.parametrize("name", GOOD)
async def test_a_body_of_5_6_mb_is_refused(world: World, name: str) -> None:
    target = await live(world, name)
    problem = await target.refused({**target.good, "note": "x" * 5_600_000}, status=413)
    assert problem["code"] == "body-too-large"


@pytest.mark.parametrize("name", ["renewLease", "finishJob", "releaseJob"])
@pytest.mark.parametrize(
    "changes",
    [{"lease": text} for text in ("", "ul_", "é", "x" * 100_000, *HOSTILE, *PATHS)]
    + [{"epoch": number} for number in (-1, 0, 2, 2**53, 2**63 - 1, HUGE, -HUGE)],
    ids=repr,
)
async def test_a_lease_that_is_not_the_live_one_is_lost(world: World, name: str, changes: dict[str, Any]) -> None:
    target = await live(world, name)
    assert (await target.refused({**target.good, **changes}, status=409))["code"] == "lease-lost"


@pytest.mark.parametrize("name", GOOD)
async def test_what_is_right_is_served(world: World, clock: FrozenClock, name: str) -> None:
    """Or else the refusals above would prove nothing."""
    target = await live(world, name)
    before = everything(world)
    clock.advance(timedelta(seconds=1))
    answer = await target.send(target.good)
    assert answer.status_code == 200, answer.text
    assert everything(world) != before


HOSTILE_IDS = ["x", "%00", "..%2f..", "%ed%a0%80", "%e2%80%ae", "a" * 10_000, "00" + "A" * 26, "zz" + "a" * 26, "%0a"]


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if "{" in one.path], ids=lambda one: one.id)
@pytest.mark.parametrize("session_id", HOSTILE_IDS)
async def test_what_cannot_be_in_a_path_finds_nothing(world: World, operation: Any, session_id: str) -> None:
    await world.mint()
    before = everything(world)
    path = operation.path.format(session_id=session_id, job_id=session_id, source=session_id)
    body = {"lease": "ul_x", "epoch": 1, "outcome": "processed"} if operation.id == "finishJob" else None
    body = {"lease": "ul_x", "epoch": 1} if operation.id in {"renewLease", "releaseJob"} else body
    answer = await world.client.request(operation.method, path, json=body, headers=world.as_("root"))
    assert answer.status_code in {404, 405, 409, 422}, answer.text
    assert everything(world) == before


GARBAGE = [
    *(b"", b"Bearer", b"Bearer \x00", b"Bearer \xff\xfe", b"Basic Og==", b"Bearer " + b"x" * 60_000, b"Bearer us_-1_x"),
    *(b"Bearer us_" + b"f" * 5_000 + b"_x", b"Bearer ub_app_", b"Bearer ub__", b"Bearer \xe2\x80\xae"),
]


@pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.access.schemes], ids=lambda one: one.id)
@pytest.mark.parametrize("given", GARBAGE)
async def test_garbage_in_authorization_opens_nothing(world: World, operation: Any, given: bytes) -> None:
    session = await world.mint()
    before = everything(world)
    path = operation.path.format(session_id=session["id"], job_id=session["id"])
    answer = await world.client.request(operation.method, path, headers=[(b"authorization", given)])
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert everything(world) == before


@pytest.mark.parametrize("key", [b"", b"x" * 256, b"a\x00", b"\xff", "é".encode(), b"a\tb", b"\xe2\x80\xae", b"\x7f"])
async def test_an_idempotency_key_that_is_none_is_refused(world: World, key: bytes) -> None:
    before = everything(world)
    headers = [(name.encode(), text.encode()) for name, text in world.as_("app").items()]
    answer = await world.client.post(
        "/upload-sessions", json={"filename": "a", "size_bytes": 1}, headers=[*headers, (b"idempotency-key", key)]
    )
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-invalid")
    assert everything(world) == before


@pytest.mark.parametrize("given", [b"", b"x" * 129, b"a b", b"\x00", b"\xff", "é".encode(), b"a\r\nset-cookie: x"])
async def test_a_request_id_that_is_none_is_replaced(world: World, given: bytes) -> None:
    answer = await world.client.get("/healthz", headers=[(b"x-request-id", given)])
    assert (answer.status_code, len(answer.headers["x-request-id"])) == (200, 16)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    "query", ["redirect=2", "redirect=", "redirect=%00", "redirect=-1", "redirect=" + "1" * 10_000]
)
async def test_a_query_that_is_none_is_refused(world: World, query: str) -> None:
    session = await world.verified()
    before = everything(world)
    answer = await world.client.get(f"/upload-sessions/{session['id']}/content?{query}", headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")
    assert everything(world) == before


def notices(session: dict[str, Any]) -> Iterator[bytes]:
    """What an authentic sender should not have sent."""
    yield from (b"", b"nope", b"\xff", b"[]", b"null", b"7", b'"x"', b"{}", b"[" * 100_000, b'{"Records":{}}')
    yield from (b'{"Records":[null,7,"x",[],{},true]}', b'{"Records":[' + b"[" * 900 + b"]" * 900 + b"]}")
    for bad in (None, 7, "", "\x00", "..", "../x", "\ud800", "\u202e", "x" * 100_000, [], {}, DEEP, "uploads//x"):
        yield json.dumps(event(session, key=bad)).encode()
        yield json.dumps(event(session, bucket=bad)).encode()
    good = event(session)["Records"][0]
    yield from (json.dumps({"Records": [{**good, "eventName": bad}]}).encode() for bad in (None, 7, [], DEEP))
    yield from (json.dumps({"Records": [{**good, "s3": bad}]}).encode() for bad in (None, 7, [], {}, {"bucket": {}}))


async def test_an_authentic_notice_that_says_nothing_is_counted_and_moves_nothing(world: World) -> None:
    session = await world.mint()
    before = everything(world)
    for body in notices(session):
        answer = await world.client.post("/notifications/bucket", content=body, headers=bearer(DOOR_TOKEN))
        assert (answer.status_code, answer.json()["accepted"]) == (200, 0), (body[:200], answer.text)
        assert everything(world) == before, body[:200]


async def test_a_notice_of_5_6_mb_is_refused(world: World) -> None:
    before = everything(world)
    answer = await world.client.post("/notifications/bucket", content=b"x" * 5_600_000, headers=bearer(DOOR_TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")
    assert everything(world) == before
