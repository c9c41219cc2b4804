"""Trouble of ours, and of strangers at a door: told in few words, with a status, and never by a 500 of theirs."""

import json
import socket
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.api.app import UseCases, create_app
from broker.api.problems import ROWS
from broker.clock import SystemClock
from broker.domain.errors import BrokerError, CredentialsUnavailable, StoreRefused
from broker.ledger.redis import RedisLedger
from broker.ports import Checkup, Schedule
from tests.api.world import DOOR_TOKEN, WISH, World, build, client_of, event
from tests.clock import FrozenClock


async def test_a_ledger_that_is_away_is_503_everywhere() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    ledger = RedisLedger(f"redis://127.0.0.1:{port}/0")
    world = build(SystemClock(), ledger=ledger)
    session = {"object": {"bucket": "acme", "key": f"uploads/00{'a' * 26}/x"}}
    path = f"/upload-sessions/00{'a' * 26}"
    async with world.client as client:
        answers = [
            await client.post("/upload-sessions", json=WISH, headers=world.as_("app")),
            await client.get(path, headers=world.as_("app")),
            await client.delete(path, headers=world.as_("app")),
            await client.post("/jobs/lease", headers=world.as_("worker")),
            await client.post(f"/notifications/bucket?token={DOOR_TOKEN}", json=event(session)),
        ]
        ready, live = await client.get("/readyz"), await client.get("/healthz")
    await ledger.close()
    for answer in answers:
        told = (answer.status_code, answer.json()["code"], answer.json()["is_retryable"])
        assert told == (503, "ledger-unavailable", True)
        assert int(answer.headers["retry-after"]) >= 1
        assert str(port) not in answer.text
    assert (ready.status_code, ready.json()["is_ready"], live.status_code) == (503, False, 200)
    assert ready.json()["problems"]
    assert int(ready.headers["retry-after"]) >= 1


async def test_a_store_that_refuses_us_is_told_without_its_words(world: World, clock: FrozenClock) -> None:
    session = await world.mint()
    clock.advance(timedelta(seconds=2))
    world.bucket.trouble = StoreRefused("AccessDenied for arn:aws:iam::123456789012:role/broker")
    answer = await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    world.bucket.sign_trouble = CredentialsUnavailable("sts said no to key AKIA123")
    answer = await world.client.post(f"/upload-sessions/{session['id']}/upload", headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (
        503,
        "credentials-unavailable",
        "5",
    )
    assert "AKIA" not in answer.text


class _Broken(Schedule):
    async def check(self) -> Checkup:
        raise RuntimeError("secret of the house")

    async def next_due(self) -> None:
        return None


@dataclass(frozen=True, slots=True)
class _Raising(_Broken):
    error: type[BrokerError]

    async def check(self) -> Checkup:
        raise self.error("10.0.0.7 said no")


@pytest.mark.parametrize("kind", list(ROWS), ids=lambda kind: kind.code)
async def test_each_error_leaves_as_its_problem(world: World, kind: type[BrokerError]) -> None:
    async with client_of(create_app(replace(world.use_cases, schedule=_Raising(kind)))) as client:
        answer = await client.get("/readyz", headers={"x-request-id": "find-me"})
    problem, (status, title) = answer.json(), ROWS[kind]
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem == {
        "type": f"/problems/{kind.code}",
        "title": title,
        "status": status,
        "code": kind.code,
        "detail": (kind.__doc__ or "").strip() if status >= 500 else "10.0.0.7 said no",
        "request_id": "find-me",
        "is_retryable": kind.is_retryable,
        "errors": [],
    }
    assert answer.status_code == status
    assert ("retry-after" in answer.headers) == kind.is_retryable
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_no_notification_makes_a_500(world: World) -> None:
    """Whatever comes to a door, authentic or not, it is answered, and no session moves."""
    session = await world.mint()
    before = await world.state(session["id"])
    found: list[tuple[bytes, str, bytes]] = []

    @settings(max_examples=200, deadline=None)
    @given(_MESSAGES, st.sampled_from([DOOR_TOKEN, "", "wrong", "%ff", "%00"]), st.binary(max_size=40))
    def collect(body: bytes, token: str, credentials: bytes) -> None:
        found.append((body, token, credentials.replace(b"\r", b"").replace(b"\n", b"")))

    collect()
    for body, token, credentials in found:
        headers = {b"authorization": credentials, b"x-odd": credentials}
        answer = await world.client.post(f"/notifications/bucket?token={token}", content=body, headers=headers)
        assert answer.status_code == (200 if token == DOOR_TOKEN else 401), (body, token, answer.text)
    assert await world.state(session["id"]) == before
    assert await world.session_count() == 1


_SCRAPS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Records", "Event", "s3", "bucket", "object", "key", "name", "eventName"]), inner
        )
    ),
    max_leaves=12,
)
_MESSAGES = st.binary(max_size=200) | _SCRAPS.map(lambda value: json.dumps(value).encode())


async def test_a_500_reveals_nothing_and_is_logged_with_its_request_id(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken: UseCases = replace(world.use_cases, schedule=_Broken())
    async with client_of(create_app(broken)) as client:
        answer = await client.get("/readyz", headers={"x-request-id": "find-me"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["request_id"]) == (500, "error", "find-me")
    assert "secret of the house" not in answer.text
    logged = [record for record in caplog.records if record.getMessage() == "request.failed"]
    assert [record.__dict__["request_id"] for record in logged] == ["find-me"]
    assert logged[0].exc_info is not None
