"""Tenancy and capability: each refusal, and that it left everything as it was."""

from datetime import timedelta
from typing import Any

import pytest

from broker.api.auth import API_KEY
from broker.api.operations import OPERATIONS, Operation
from broker.domain.keys import new_session_id
from broker.domain.principals import Role, new_key_text
from tests.api.world import DOOR_TOKEN, WISH, World, bearer, event
from tests.clock import FrozenClock

KEYED = [operation for operation in OPERATIONS if operation.access.schemes]
OF_SESSION = [operation for operation in OPERATIONS if "{session_id}" in operation.path]
BY_TOKEN = [operation for operation in OF_SESSION if len(operation.access.schemes) == 2]
OF_JOBS = [operation for operation in OPERATIONS if operation.tag == "jobs"]
BODIES = {"mintParts": {"numbers": [1]}}
OF_CLIENTS = [operation for operation in KEYED if operation not in OF_JOBS]


def each(operations: list[Operation[Any]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations, ids=[operation.id for operation in operations])


async def call(
    world: World, operation: Operation[Any], headers: dict[str, str], *, session_id: str, body: Any = None
) -> tuple[int, str]:
    path = operation.path.format(session_id=session_id, job_id=session_id, source="bucket")
    answer = await world.client.request(operation.method, path, headers=headers, json=body or WISH)
    is_json = answer.headers["content-type"].endswith("json")
    return answer.status_code, answer.json().get("code", "") if is_json else ""


@each(KEYED)
async def test_nobody_is_nobody(world: World, operation: Operation[Any]) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    strangers: list[dict[Any, Any]] = [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer  "},
        {"authorization": f"Basic {world.secrets['root']}"},
        {"authorization": world.secrets["root"]},
        bearer("ub_app_wrong"),
        bearer(new_key_text("root")),
        bearer(new_key_text("unknown")),
        bearer(f"{world.secrets['root']}x"),
        bearer("us_"),
        bearer("us_zz_zz"),
        bearer(f"us_{'f' * 5000}_AAAA"),
        bearer("ul_AAAAAAAAAAAAAAAAAAAAAAAA"),
        {b"authorization": "Bearer ub_app_ключ".encode()},
    ]
    for headers in strangers:
        assert await call(world, operation, headers, session_id=session["id"]) == (401, "unauthenticated")
    assert await world.state(session["id"]) == before
    assert await world.session_count() == 1


async def test_a_refused_caller_is_told_the_scheme(world: World) -> None:
    answer = await world.client.get(f"/upload-sessions/{new_session_id(0)}")
    assert answer.headers["www-authenticate"] == 'Bearer realm="upload-broker"'


@each(OF_CLIENTS)
async def test_a_consumer_key_is_refused_on_client_routes(world: World, operation: Operation[Any]) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    assert await call(world, operation, world.as_("worker"), session_id=session["id"]) == (403, "forbidden")
    assert await world.state(session["id"]) == before
    assert await world.session_count() == 1


@each(OF_JOBS)
async def test_a_client_key_is_refused_on_job_routes(world: World, operation: Operation[Any]) -> None:
    session = await world.verified()
    before = await world.state(session["id"])
    assert await call(world, operation, world.as_("app"), session_id=session["id"]) == (403, "forbidden")
    assert await call(world, operation, bearer(session["token"]), session_id=session["id"]) == (401, "unauthenticated")
    assert await world.state(session["id"]) == before


@each(OF_SESSION)
async def test_a_neighbour_gets_the_same_answer_as_for_no_session(world: World, operation: Operation[Any]) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    path = operation.path.format(session_id=session["id"])
    missing = operation.path.format(session_id=new_session_id(0))
    answers = [
        await world.client.request(operation.method, where, headers={**world.as_("neighbour"), "x-request-id": "same"})
        for where in (path, missing)
    ]
    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].content == answers[1].content
    assert [*answers[0].headers.items()] == [*answers[1].headers.items()]
    assert answers[0].json()["code"] == "session-not-found"
    assert await world.state(session["id"]) == before


@each(OF_SESSION)
async def test_the_token_of_another_session_opens_nothing(world: World, operation: Operation[Any]) -> None:
    session, other = await world.mint(), await world.mint()
    before = await world.state(session["id"])
    for session_id in (session["id"], new_session_id(0)):
        assert await call(world, operation, bearer(other["token"]), session_id=session_id) == (401, "unauthenticated")
    assert await world.state(session["id"]) == before


@each(BY_TOKEN)
async def test_a_token_ends_with_its_session(world: World, clock: FrozenClock, operation: Operation[Any]) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    clock.advance(timedelta(hours=24, seconds=1))
    refused = await call(world, operation, bearer(session["token"]), session_id=session["id"])
    assert refused == (401, "unauthenticated")
    assert await world.state(session["id"]) == before


@each(BY_TOKEN)
async def test_a_token_cannot_be_prolonged(world: World, operation: Operation[Any]) -> None:
    session = await world.mint()
    _, end, mac = session["token"].split("_", 2)
    moment, _, generation = end.partition(".")
    for end_later in (f"{int(moment, 16) + 1:x}.{generation}", f"0{end}", f"+{end}", end.upper() + "_", f" {end}"):
        token = bearer(f"us_{end_later}_{mac}")
        assert await call(world, operation, token, session_id=session["id"]) == (401, "unauthenticated")


@each(BY_TOKEN)
async def test_a_token_opens_its_own_session(world: World, operation: Operation[Any]) -> None:
    session = await world.mint(strategy="multipart")
    body = BODIES.get(operation.id, {"destination": "default"})
    status, code = await call(world, operation, bearer(session["token"]), session_id=session["id"], body=body)
    assert (status, code) in {(200, ""), (202, "")}


async def test_a_token_does_not_mint_and_does_not_read_content(world: World) -> None:
    session = await world.verified()
    token = bearer(session["token"])
    minted = await world.client.post("/upload-sessions", json=WISH, headers=token)
    content = await world.client.get(f"/upload-sessions/{session['id']}/content", headers=token)
    assert (minted.status_code, content.status_code) == (401, 401)
    assert await world.session_count() == 1


@each(OF_SESSION)
async def test_an_admin_sees_every_session(world: World, operation: Operation[Any]) -> None:
    is_read = operation.id in {"readContent", "eraseObject"}
    session = await world.verified() if is_read else await world.mint(strategy="multipart")
    path = operation.path.format(session_id=session["id"])
    body = BODIES.get(operation.id)
    answer = await world.client.request(operation.method, path, headers=world.as_("root"), json=body)
    assert answer.status_code in {200, 202}, answer.text


async def test_a_key_stays_within_its_destinations_and_its_size(world: World) -> None:
    elsewhere = await world.client.post("/upload-sessions", json=WISH, headers=world.as_("small"))
    too_large = await world.client.post(
        "/upload-sessions", json={**WISH, "destination": "other"}, headers=world.as_("small")
    )
    assert [(answer.status_code, answer.json()["code"]) for answer in (elsewhere, too_large)] == [
        (422, "unknown-destination"),
        (422, "size-too-large"),
    ]
    assert await world.session_count() == 0
    assert (await world.mint("small", destination="other", size_bytes=10))["object"]["bucket"] == "acme-other"


@pytest.mark.parametrize("verb", ["renew", "result", "release"])
async def test_a_stale_lease_is_not_heard(world: World, clock: FrozenClock, verb: str) -> None:
    session = await world.verified()
    stale = await world.lease()
    clock.advance(timedelta(seconds=61))
    fresh = await world.lease()
    before = await world.state(session["id"])
    forged = {"lease": fresh["lease"]["token"], "epoch": stale["lease"]["epoch"]}
    future = {"lease": fresh["lease"]["token"], "epoch": 10**30}
    late = {"lease": stale["lease"]["token"], "epoch": stale["lease"]["epoch"]}
    guessed = {"lease": "ul_AAAAAAAAAAAAAAAAAAAAAAAA", "epoch": fresh["lease"]["epoch"]}
    for proof in (late, forged, future, guessed):
        body = {**proof, "outcome": "processed"} if verb == "result" else proof
        answer = await world.client.post(f"/jobs/{session['id']}/{verb}", json=body, headers=world.as_("worker"))
        assert (answer.status_code, answer.json()["code"]) == (409, "lease-lost")
    assert await world.state(session["id"]) == before


async def test_a_lease_opens_no_other_job(world: World) -> None:
    await world.verified()
    other = await world.verified()
    first, second = await world.lease(), await world.lease()
    before = await world.state(other["id"])
    target = next(job for job in (first, second) if job["id"] == other["id"])
    with_lease = next(job for job in (first, second) if job["id"] != other["id"])["lease"]
    for job_id in (target["id"], new_session_id(0), "..", "x" * 300):
        body = {"lease": with_lease["token"], "epoch": with_lease["epoch"], "outcome": "processed"}
        answer = await world.client.post(f"/jobs/{job_id}/result", json=body, headers=world.as_("worker"))
        assert answer.status_code in {404, 409}
    assert await world.state(other["id"]) == before


@pytest.mark.parametrize(
    "headers", [{}, bearer("wrong"), {"authorization": "Basic Zm9vOmJhcg=="}, {"authorization": "Basic ???"}]
)
async def test_a_forged_notification_has_no_effect(world: World, headers: dict[str, str]) -> None:
    session = await world.mint()
    before, due = await world.state(session["id"]), await world.ledger.next_due()
    answer = await world.client.post("/notifications/bucket?token=wrong", json=event(session), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "notification-not-authentic")
    assert answer.headers["www-authenticate"].startswith("Basic ")
    assert (await world.state(session["id"]), await world.ledger.next_due()) == (before, due)


async def test_an_unknown_source_is_not_found(world: World) -> None:
    answer = await world.client.post("/notifications/nobody", content=b"{}", headers=bearer(DOOR_TOKEN))
    assert (answer.status_code, answer.json()["code"]) == (404, "source-not-found")


@pytest.mark.parametrize(
    ("body", "malformed"),
    [(b"", 1), (b"\x00\xff", 1), (b"{}", 1), (b"[" * 100_000, 1), (b'{"Records":[{"s3":1}]}', 1)],
)
async def test_what_is_authentic_but_unreadable_is_counted(world: World, body: bytes, malformed: int) -> None:
    answer = await world.client.post("/notifications/bucket", content=body, headers=bearer(DOOR_TOKEN))
    assert (answer.status_code, answer.json()["malformed"]) == (200, malformed)


@pytest.mark.parametrize("changes", [{"bucket": "acme-other"}, {"bucket": "foreign"}, {"key": "elsewhere/x"}])
async def test_a_source_speaks_only_of_its_own_destinations(world: World, changes: dict[str, str]) -> None:
    session = await world.mint()
    due = await world.ledger.next_due()
    told = event(session, **changes)
    answer = await world.client.post("/notifications/bucket", json=told, headers=bearer(DOOR_TOKEN))
    assert (answer.status_code, answer.json()["accepted"]) == (200, 0)
    assert await world.ledger.next_due() == due


def test_the_two_roles_share_no_route() -> None:
    roles = {operation.id: getattr(operation.access, "role", Role.MINT) for operation in KEYED}
    assert {operation.id for operation in OF_JOBS} == {name for name, role in roles.items() if role is Role.CONSUME}
    assert all(API_KEY in operation.access.schemes for operation in KEYED)
