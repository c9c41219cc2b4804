"""What one key may have, of mints a second and of what is pending; and that every way out of pending gives it back."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest

from broker.domain.policy import Policy
from broker.domain.principals import ApiKey, Role, hash_of, new_key_text
from broker.ports import Usage
from tests.api.test_api_revocation import keeper
from tests.api.world import WISH, World, bearer
from tests.clock import FrozenClock


async def key_with(world: World, **limits: Any) -> str:
    text = new_key_text("limited")
    wish = ApiKey(id="limited", hashes=(hash_of(text),), roles=frozenset({Role.MINT}), **limits)
    assert await keeper(world).add(wish)
    return text


async def mint(world: World, key: str, *, idempotency_key: str | None = None, **changes: Any) -> httpx.Response:
    headers = bearer(key) | ({"idempotency-key": idempotency_key} if idempotency_key else {})
    return await world.client.post("/upload-sessions", json={**WISH, **changes}, headers=headers)


async def statuses(world: World, key: str, count: int) -> list[int]:
    return [(await mint(world, key)).status_code for _ in range(count)]


async def test_a_burst_is_served_and_then_the_rate_and_the_answer_says_when(world: World, clock: FrozenClock) -> None:
    key = await key_with(world, sessions_per_second=0.4, burst=3)
    assert await statuses(world, key, 3) == [201, 201, 201]
    refused = await mint(world, key)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "3")  # 2.5 s, in whole seconds
    problem = refused.json()
    assert (problem["code"], problem["is_retryable"]) == ("rate-limited", True)
    assert "0.4 sessions a second" in problem["detail"]
    assert "2.500 s" in problem["detail"]
    clock.advance(timedelta(seconds=2.5))
    assert await statuses(world, key, 2) == [201, 429]
    assert (await mint(world, world.secrets["app"])).status_code == 201  # others are not concerned
    assert await world.session_count() == 5


async def test_whoever_asks_is_counted(world: World) -> None:
    key = await key_with(world, sessions_per_second=0.01, burst=3)
    assert (await mint(world, key, idempotency_key="a")).status_code == 201
    assert (await mint(world, key, idempotency_key="a")).status_code == 200
    assert (await mint(world, key, size_bytes=10**12)).status_code == 422
    assert (await mint(world, key)).status_code == 429


async def test_without_a_burst_it_is_what_a_second_gives(world: World) -> None:
    key = await key_with(world, sessions_per_second=2.5)
    assert await statuses(world, key, 4) == [201, 201, 201, 429]


async def upload(world: World, session: dict[str, Any], **tampered: Any) -> None:
    world.upload(session)
    if tampered:
        world.bucket.tamper(session["object"]["key"], **tampered)
    await complete(world, session)


async def complete(world: World, session: dict[str, Any]) -> None:
    path = f"/upload-sessions/{session['id']}/completion"
    answer = await world.client.post(path, headers=bearer(world.secrets["root"]))
    assert answer.json()["state"] != "pending", answer.text


async def verify(world: World, session: dict[str, Any]) -> None:
    await upload(world, session)


async def reject(world: World, session: dict[str, Any]) -> None:
    await upload(world, session, size_bytes=13)


async def expire(world: World, session: dict[str, Any]) -> None:
    cast("FrozenClock", world.clock).advance(Policy().deadline + timedelta(hours=1))
    await complete(world, session)


async def abort(world: World, session: dict[str, Any]) -> None:
    path = f"/upload-sessions/{session['id']}"
    assert (await world.client.delete(path, headers=world.as_("root"))).status_code == 200


LIMITS = {"max_pending_sessions": 2}, {"max_pending_bytes": 2 * WISH["size_bytes"] + 5}


@pytest.mark.parametrize("limits", LIMITS, ids=["sessions", "bytes"])
@pytest.mark.parametrize("leave", [verify, reject, expire, abort])
async def test_what_is_no_longer_pending_makes_room_for_exactly_as_much(
    world: World, limits: dict[str, int], leave: Callable[[World, dict[str, Any]], Awaitable[None]]
) -> None:
    key = await key_with(world, **limits)
    first = (await mint(world, key)).json()
    assert await statuses(world, key, 2) == [201, 429]
    refused = await mint(world, key)
    assert (refused.json()["code"], refused.headers["retry-after"]) == ("quota-exceeded", "5")
    assert refused.json()["is_retryable"] is True
    assert str(*limits.values()) in refused.json()["detail"]
    await leave(world, first)
    assert await statuses(world, key, 2) == [201, 429]
    assert (await world.ledger.usage("limited")).sessions == 2


async def test_who_is_at_his_quota_still_finds_and_sends_what_he_has(world: World) -> None:
    key = await key_with(world, max_pending_sessions=1, max_pending_bytes=1_000)
    session = (await mint(world, key, idempotency_key="a")).json()
    assert (await mint(world, key, idempotency_key="a")).json()["id"] == session["id"]
    again = await world.client.post(f"/upload-sessions/{session['id']}/upload", headers=bearer(key))
    assert again.status_code == 200
    assert await world.ledger.usage("limited") == Usage(sessions=1, size_bytes=WISH["size_bytes"])


async def test_a_refused_session_leaves_nothing(world: World) -> None:
    key = await key_with(world, max_pending_sessions=0)
    refused = await mint(world, key, idempotency_key="a", strategy="multipart")
    assert refused.status_code == 429
    assert await world.session_count() == 0
    assert world.bucket.uploads.unfinished == {}


async def test_many_at_once_never_have_more_than_the_quota(world: World) -> None:
    key = await key_with(world, max_pending_sessions=7)
    answers = await asyncio.gather(*(mint(world, key) for _ in range(60)))
    assert sorted(answer.status_code for answer in answers) == [201] * 7 + [429] * 53
