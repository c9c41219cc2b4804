"""Erasing over HTTP: who may, what it answers, and what everybody else is told afterwards."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.domain.errors import StoreRefused, StoreUnavailable
from tests.api.world import World, bearer
from tests.clock import FrozenClock


async def erase(world: World, session: dict[str, Any], who: str = "app") -> httpx.Response:
    return await world.client.delete(f"/upload-sessions/{session['id']}/object", headers=world.as_(who))


async def get(world: World, session: dict[str, Any], what: str = "") -> httpx.Response:
    return await world.client.get(f"/upload-sessions/{session['id']}{what}", headers=world.as_("app"))


async def test_the_object_is_gone_and_everybody_is_told(world: World) -> None:
    session = await world.verified()
    answer = await erase(world, session)
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]["code"]) == (200, "failed", "erased")
    assert answer.json()["erased_at"]
    assert world.bucket.stored == {}
    assert (await get(world, session)).json() == answer.json()
    for query in ("", "?redirect=1"):
        content = await get(world, session, f"/content{query}")
        assert (content.status_code, content.json()["code"]) == (410, "object-erased")
    again = await erase(world, session)
    assert (again.status_code, again.json()) == (200, answer.json())
    leased = await world.client.post("/jobs/lease", headers=world.as_("worker"))
    assert leased.json() == {"jobs": []}


async def test_a_session_that_was_not_erased_does_not_speak_of_it(world: World) -> None:
    assert "erased_at" not in (await get(world, await world.verified())).json()


async def test_a_consumer_at_work_is_told_that_its_lease_is_lost(world: World) -> None:
    session = await world.verified()
    job = await world.lease()
    assert (await erase(world, session)).json()["state"] == "failed"
    report = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"], "outcome": "processed", "result": {}}
    answer = await world.client.post(f"/jobs/{job['id']}/result", json=report, headers=world.as_("worker"))
    assert (answer.status_code, answer.json()["code"]) == (409, "lease-lost")
    assert "result" not in (await get(world, session)).json()


@pytest.mark.parametrize("trouble", [StoreUnavailable, StoreRefused], ids=lambda trouble: trouble.code)
async def test_while_the_store_does_not_do_it_the_answer_is_202(
    world: World, clock: FrozenClock, trouble: type[StoreUnavailable]
) -> None:
    session = await world.verified()
    world.bucket.trouble = trouble("secret of the store")
    for _ in range(2):
        answer = await erase(world, session)
        assert (answer.status_code, answer.json()["state"]) == (202, "failed")
        assert int(answer.headers["retry-after"]) >= 1
        assert "secret of the store" not in answer.text
        assert (await get(world, session, "/content")).status_code == 410
        clock.advance(timedelta(seconds=1))
    world.bucket.trouble = None
    assert (await erase(world, session)).status_code == 200
    assert world.bucket.stored == {}


async def test_a_pending_upload_and_one_without_an_object_are_refused(world: World) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    answer = await erase(world, session)
    assert (answer.status_code, answer.json()["code"]) == (409, "session-not-verified")
    assert "aborted" in answer.json()["detail"]
    assert await world.state(session["id"]) == before
    await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    answer = await erase(world, session)
    assert (answer.status_code, answer.json()["code"]) == (409, "session-settled")


async def test_it_takes_the_role_and_the_ownership_or_an_admin(world: World) -> None:
    session, small = await world.verified(), await world.mint("small", destination="other", size_bytes=3)
    before = await world.state(session["id"])
    assert (await erase(world, small, "small")).json()["code"] == "forbidden"  # it minted, but may not erase
    assert (await erase(world, session, "worker")).json()["code"] == "forbidden"
    assert (await erase(world, session, "neighbour")).json()["code"] == "session-not-found"
    path = f"/upload-sessions/{session['id']}/object"
    by_token = await world.client.delete(path, headers=bearer(session["token"]))
    assert (by_token.status_code, by_token.json()["code"]) == (401, "unauthenticated")
    assert await world.state(session["id"]) == before
    assert (await erase(world, session, "root")).status_code == 200
