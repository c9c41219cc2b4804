"""`destinations` of a consume key: which jobs it is given, and that nothing else brings it a read of another zone."""

import asyncio
from dataclasses import replace as with_port
from datetime import timedelta
from typing import Any, cast

import pytest
from msgspec.structs import replace

from broker.api.app import create_app
from broker.clock import SystemClock
from broker.domain.principals import ApiKey, Role, hash_of, new_key_text
from broker.ports import ApiKeys
from tests.api.world import World, bearer, build, client_of
from tests.clock import FrozenClock

VERBS = ("renew", "result", "release")


async def a_key(world: World, *destinations: str, role: Role = Role.CONSUME) -> dict[str, str]:
    """Headers of a fresh key that may use these."""
    key_id = f"{role}-{'-'.join(destinations) or 'none'}".replace("*", "any").replace(",", ".")
    text = new_key_text(key_id)
    key = ApiKey(id=key_id, hashes=(hash_of(text),), roles=frozenset({role}), destinations=destinations)
    assert await keys_of(world).add(key)
    return bearer(text)


def keys_of(world: World) -> Any:
    return cast("Any", world.ledger).api_keys


async def lease(world: World, who: dict[str, str], **wish: Any) -> list[dict[str, Any]]:
    answer = await world.client.post("/jobs/lease", json={"max": 10, **wish}, headers=who)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["jobs"])


async def say(world: World, verb: str, job: dict[str, Any], who: dict[str, str]) -> tuple[int, dict[str, Any]]:
    body = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"]}
    if verb == "result":
        body |= {"outcome": "processed", "result": {"rows": 3}}
    answer = await world.client.post(f"/jobs/{job['id']}/{verb}", json=body, headers=who)
    return answer.status_code, dict(answer.json())


async def test_each_consumer_gets_the_jobs_of_its_destinations(world: World) -> None:
    here, there = await a_key(world, "default"), await a_key(world, "other")
    one, two = await world.verified(), await world.verified(destination="other")
    jobs = [await lease(world, there), await lease(world, here)]
    assert [[job["id"] for job in each] for each in jobs] == [[two["id"]], [one["id"]]]
    assert [job["destination"] for (job,) in jobs] == ["other", "default"]
    assert [await lease(world, who) for who in (here, there, world.as_("worker"))] == [[], [], []]


@pytest.mark.parametrize("destinations", [("*",), ("default", "other"), ("default", "*")])
async def test_a_consumer_of_all_gets_all(world: World, destinations: tuple[str, ...]) -> None:
    wanted = {(await world.verified())["id"], (await world.verified(destination="other"))["id"]}
    assert {job["id"] for job in await lease(world, await a_key(world, *destinations))} == wanted


@pytest.mark.parametrize("destinations", [(), ("elsewhere",), ("Default",), ("def",), ("default,other",)])
async def test_a_consumer_of_nothing_that_is_here_gets_nothing(world: World, destinations: tuple[str, ...]) -> None:
    await world.verified()
    await world.verified(destination="other")
    assert await lease(world, await a_key(world, *destinations)) == []


async def test_an_admin_is_bound_to_its_destinations_like_everybody(world: World) -> None:
    one, two = await world.verified(), await world.verified(destination="other")
    assert [job["id"] for job in await lease(world, await a_key(world, "other", role=Role.ADMIN))] == [two["id"]]
    assert [job["id"] for job in await lease(world, world.as_("root"))] == [one["id"]]


async def test_an_admin_of_one_destination_sees_and_reads_no_session_of_another(world: World) -> None:
    here, there = await world.verified(), await world.verified(destination="other")
    who = await a_key(world, "other", role=Role.ADMIN)
    for session, expected in ((here, 404), (there, 200)):
        place = f"/upload-sessions/{session['id']}"
        for path in (place, f"{place}/content"):
            assert (await world.client.get(path, headers=who)).status_code == expected
    assert (await world.client.delete(f"/upload-sessions/{here['id']}/object", headers=who)).status_code == 404
    answer = await world.client.post("/upload-sessions/status", json={"ids": [here["id"], there["id"]]}, headers=who)
    assert [item.get("session", {}).get("id") for item in answer.json()["sessions"]] == [None, there["id"]]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_does_nothing_in_the_hands_of_another_zone(world: World, verb: str) -> None:
    """Somebody got hold of a worker's key and of another worker's lease: together they open nothing."""
    session = await world.verified(destination="other")
    (job,) = await lease(world, await a_key(world, "other"))
    before, stranger = await world.state(session["id"]), await a_key(world, "default")
    status, answer = await say(world, verb, job, stranger)
    assert (status, answer["code"]) == (409, "lease-lost")
    assert "read" not in answer
    gone = {**job, "lease": {**job["lease"], "token": "ul_AAAAAAAAAAAAAAAAAAAAAAAA"}}
    _, of_none = await say(world, verb, gone, stranger)
    assert {**of_none, "request_id": ""} == {**answer, "request_id": ""}  # as if there were no such job
    assert await world.state(session["id"]) == before


@pytest.mark.parametrize("verb", VERBS)
async def test_a_lease_works_in_its_own_zone(world: World, verb: str) -> None:
    await world.verified(destination="other")
    who = await a_key(world, "other")
    (job,) = await lease(world, who)
    assert (await say(world, verb, job, who))[0] == 200


async def test_a_lease_of_another_zone_is_not_prolonged(world: World, clock: FrozenClock) -> None:
    await world.verified(destination="other")
    who = await a_key(world, "other")
    (job,) = await lease(world, who)
    clock.advance(timedelta(seconds=59))
    assert (await say(world, "renew", job, await a_key(world, "default")))[0] == 409
    clock.advance(timedelta(seconds=2))
    assert [again["lease"]["epoch"] for again in await lease(world, who)] == [2]


async def test_a_key_that_loses_a_zone_loses_its_jobs_there(world: World) -> None:
    await world.verified(destination="other")
    who = await a_key(world, "default", "other")
    (job,) = await lease(world, who)
    await narrow(world, "consume-default-other", "default")
    assert (await say(world, "renew", job, who))[1]["code"] == "lease-lost"


class Noting:
    """The keys, and how often one was looked up."""

    def __init__(self, keys: ApiKeys) -> None:
        self._keys = keys
        self._count = asyncio.Semaphore(0)

    async def find(self, key_id: str) -> ApiKey | None:
        found = await self._keys.find(key_id)
        self._count.release()
        return found

    async def is_asked(self) -> None:
        await self._count.acquire()


async def test_a_poll_under_way_follows_its_key() -> None:
    """It looks at its key once a second."""
    world = build(SystemClock())
    who, keys = await a_key(world, "default", "other"), Noting(world.use_cases.keys)
    async with asyncio.timeout(20), client_of(create_app(with_port(world.use_cases, keys=keys))) as client:
        poll = asyncio.create_task(client.post("/jobs/lease", json={"wait_seconds": 3}, headers=who, timeout=20))
        await keys.is_asked()
        await narrow(world, "consume-default-other", "default")
        await keys.is_asked()
        session = await world.verified(destination="other")
        assert (await poll).json()["jobs"] == []
    assert [job["id"] for job in await lease(world, world.as_("worker"))] == [session["id"]]
    await world.client.aclose()


async def narrow(world: World, key_id: str, *destinations: str) -> None:
    known = await keys_of(world).find(key_id)
    await keys_of(world).replace(replace(known, destinations=destinations))
