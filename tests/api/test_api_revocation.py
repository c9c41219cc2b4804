"""The kill switch: from one moment on a revoked key, and all that it ever minted, opens nothing."""

import asyncio
from contextlib import aclosing
from dataclasses import replace as with_port
from typing import Any, cast

import pytest

from broker.api.app import create_app
from broker.api.operations import Operation
from broker.clock import SystemClock
from broker.domain.keys import new_session_id
from broker.domain.principals import ApiKey, Role, hash_of, new_key_text
from broker.ledger.api_keys import MemoryApiKeys
from broker.ports import ApiKeys
from tests.api.test_api_access import BODIES, BY_TOKEN, KEYED, call, each
from tests.api.test_api_events import serving_events
from tests.api.world import WISH, World, bearer, build, client_of
from tests.clock import FrozenClock

REFUSED = (401, "unauthenticated")


def keeper(world: World) -> MemoryApiKeys:
    return cast("MemoryApiKeys", cast("Any", world.ledger).api_keys)


@each(BY_TOKEN)
async def test_a_token_is_void_with_the_key_that_minted_it_and_stays_so(
    world: World, operation: Operation[Any]
) -> None:
    session = await world.mint(strategy="multipart")
    before, token = await world.state(session["id"]), bearer(session["token"])
    body = BODIES.get(operation.id, {"destination": "default"})
    assert await keeper(world).revoke("app")
    assert await call(world, operation, token, session_id=session["id"], body=body) == REFUSED
    assert await keeper(world).restore("app")
    assert await call(world, operation, token, session_id=session["id"], body=body) == REFUSED
    assert await world.state(session["id"]) == before
    fresh = await world.mint(strategy="multipart")
    status, _ = await call(world, operation, bearer(fresh["token"]), session_id=fresh["id"], body=body)
    assert status in {200, 202}


@each(KEYED)
async def test_a_revoked_key_of_any_role_opens_nothing(world: World, operation: Operation[Any]) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    for who in ("app", "worker", "root"):
        assert await keeper(world).revoke(who)
        assert await call(world, operation, world.as_(who), session_id=session["id"]) == REFUSED
    assert await world.state(session["id"]) == before
    assert await world.session_count() == 1


async def test_a_key_that_takes_the_id_of_a_revoked_one_sees_its_sessions_and_revives_no_token(world: World) -> None:
    first, second = new_key_text("guest"), new_key_text("guest")
    keys = keeper(world)
    assert await keys.add(ApiKey(id="guest", hashes=(hash_of(first),), roles=frozenset({Role.MINT})))
    session = (await world.client.post("/upload-sessions", json=WISH, headers=bearer(first))).json()
    path = f"/upload-sessions/{session['id']}"
    assert (await world.client.get(path, headers=bearer(session["token"]))).status_code == 200
    assert await keys.revoke("guest")
    assert await keys.add(ApiKey(id="guest", hashes=(hash_of(second),), roles=frozenset({Role.MINT})))
    answers = [
        (await world.client.get(path, headers=bearer(by))).status_code for by in (first, session["token"], second)
    ]
    assert answers == [401, 401, 200]
    again = await world.client.post(f"{path}/upload", headers=bearer(second))
    assert again.status_code == 200
    assert (await world.client.get(path, headers=bearer(again.json()["token"]))).status_code == 200
    assert (await world.client.get(path, headers=bearer(session["token"]))).status_code == 401


async def test_an_admin_who_mints_again_for_a_revoked_key_gets_no_token(world: World) -> None:
    session = await world.mint()
    await keeper(world).revoke("app")
    again = await world.client.post(f"/upload-sessions/{session['id']}/upload", headers=world.as_("root"))
    assert (again.status_code, "token" in again.json()) == (200, False)


async def test_the_generation_that_a_token_says_cannot_be_changed(world: World) -> None:
    session = await world.mint()
    await keeper(world).revoke("app")
    await keeper(world).restore("app")
    kind, end, mac = session["token"].split("_", 2)
    moment, _, generation = end.partition(".")
    assert generation == "0"
    for changed in (f"{moment}.1", f"{moment}.", moment, f"{moment}.0.1", f"{moment}.-1"):
        answer = await world.client.get(f"/upload-sessions/{session['id']}", headers=bearer(f"{kind}_{changed}_{mac}"))
        assert (answer.status_code, answer.json()["code"]) == REFUSED


async def test_a_revoked_minter_says_nothing_about_which_sessions_exist(world: World) -> None:
    session = await world.mint()
    await keeper(world).revoke("app")
    forged = world.use_cases.tokens.for_session(new_session_id(0), world.clock.now(), 0)
    for path, token in ((session["id"], session["token"]), (session["id"], forged), (new_session_id(0), forged)):
        answer = await world.client.get(f"/upload-sessions/{path}", headers=bearer(token))
        assert (answer.status_code, answer.json()["code"]) == REFUSED


async def test_what_was_sent_before_a_revocation_is_still_verified_and_processed(world: World) -> None:
    """The kill switch stops callers. Bytes that a signed request put there are looked at like any others."""
    session = await world.mint()
    world.upload(session)
    await keeper(world).revoke("app")
    answer = await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("root"))
    assert answer.json()["state"] == "verified"
    assert (await world.lease())["id"] == session["id"]


@pytest.mark.parametrize("by", ["key", "token"])
async def test_who_listens_by_a_revoked_key_is_sent_home_and_others_stay(clock: FrozenClock, by: str) -> None:
    world = build(clock, listeners=10)
    session = await world.mint()
    headers = world.as_("app") if by == "key" else bearer(session["token"])
    async with (
        serving_events(world) as place,
        place.listen(session, **headers) as stream,
        place.listen(session, **world.as_("root")) as other,
        aclosing(stream.events()) as events,
        aclosing(other.events()) as others,
    ):
        assert [(await anext(events))["state"], (await anext(others))["state"]] == ["pending", "pending"]
        await keeper(world).revoke("app")
        assert [event async for event in events] == []
        await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("root"))
        assert (await anext(others))["state"] == "aborted"
    await world.client.aclose()


class Noting:
    """The keys, and whether somebody was admitted by one."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self.has_admitted = asyncio.Event()

    async def find(self, key_id: str) -> ApiKey | None:
        self.has_admitted.set()
        return await self._keys.find(key_id)


async def test_a_consumer_that_waits_is_sent_home_when_its_key_is_revoked() -> None:
    world = build(SystemClock())
    keys = Noting(world.use_cases.keys)
    async with asyncio.timeout(10), client_of(create_app(with_port(world.use_cases, keys=keys))) as client:
        wish = client.post("/jobs/lease", json={"wait_seconds": 30}, headers=world.as_("worker"), timeout=30)
        polling = asyncio.create_task(wish)
        await keys.has_admitted.wait()
        await keeper(world).revoke("worker")
        answer = await polling
    await world.client.aclose()
    assert (answer.status_code, answer.json()["code"]) == REFUSED
