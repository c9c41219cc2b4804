"""A mint that is sent again finds the session that it made."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from broker.domain.errors import StoreUnavailable
from tests.api.world import WISH, World
from tests.clock import FrozenClock


async def post(world: World, body: dict[str, Any], key: str, who: str = "app") -> Any:
    headers = {**world.as_(who), "idempotency-key": key}
    return await world.client.post("/upload-sessions", json=body, headers=headers)


async def test_the_same_request_again_gets_the_same_session_and_fresh_requests(world: World) -> None:
    first, again = [await post(world, WISH, "key-1") for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    one, two = first.json(), again.json()
    assert (one["id"], one["token"]) == (two["id"], two["token"])
    assert one["upload"]["request"]["url"] != two["upload"]["request"]["url"]
    assert await world.session_count() == 1


async def test_the_same_body_in_other_words_is_the_same(world: World) -> None:
    first = await post(world, WISH, "key-1")
    spelled_out = {**dict(reversed(WISH.items())), "strategy": "auto", "checksum": {}, "owner": None}
    again = await post(world, spelled_out, "key-1")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])


async def test_another_body_with_the_same_key_is_refused(world: World) -> None:
    first = await post(world, WISH, "key-1")
    before = await world.state(first.json()["id"])
    other = await post(world, {**WISH, "size_bytes": 13}, "key-1")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert await world.state(first.json()["id"]) == before
    assert await world.session_count() == 1


async def test_another_principal_has_keys_of_its_own(world: World) -> None:
    first, other = await post(world, WISH, "key-1"), await post(world, WISH, "key-1", "neighbour")
    assert (first.status_code, other.status_code) == (201, 201)
    assert first.json()["id"] != other.json()["id"]


async def test_concurrent_twins_make_one_session(world: World) -> None:
    answers = await asyncio.gather(*(post(world, WISH, "key-1") for _ in range(16)))
    assert sorted(answer.status_code for answer in answers) == [200] * 15 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert await world.session_count() == 1


async def test_a_replay_of_a_settled_session_has_nothing_left_to_send(world: World, clock: FrozenClock) -> None:
    session = (await post(world, WISH, "key-1")).json()
    world.upload(session)
    clock.advance(timedelta(seconds=2))
    await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))
    again = await post(world, WISH, "key-1")
    assert (again.status_code, again.json()["state"]) == (200, "verified")
    assert "upload" not in again.json()


IN_PARTS = {**WISH, "strategy": "multipart"}


async def test_of_twins_in_parts_one_opens_and_the_others_are_told_to_come_again(world: World) -> None:
    answers: list[Any] = []

    async def meanwhile() -> None:
        answers.extend(await asyncio.gather(*(post(world, IN_PARTS, "key-1") for _ in range(15))))

    world.bucket.uploads.before_open = meanwhile
    first = await post(world, IN_PARTS, "key-1")
    assert first.status_code == 201
    for answer in answers:
        told = (answer.status_code, answer.json()["code"], answer.json()["is_retryable"], answer.headers["retry-after"])
        assert told == (409, "idempotency-in-flight", True, "1")
    again = await post(world, IN_PARTS, "key-1")
    assert (again.status_code, again.json()["id"]) == (200, first.json()["id"])
    assert again.headers["idempotency-replayed"] == "true"
    assert world.bucket.uploads.opened == await world.session_count() == 1


async def test_a_request_in_parts_that_never_finished_is_taken_up_after_a_while(
    world: World, clock: FrozenClock
) -> None:
    world.bucket.trouble = StoreUnavailable()
    assert (await post(world, IN_PARTS, "key-1")).status_code == 503
    world.bucket.trouble = None
    early = await post(world, IN_PARTS, "key-1")
    assert (early.status_code, early.json()["code"]) == (409, "idempotency-in-flight")
    clock.advance(timedelta(seconds=15))
    again = await post(world, IN_PARTS, "key-1")
    assert (again.status_code, again.json()["upload"]["strategy"]) == (200, "multipart")


@pytest.mark.parametrize("key", ["", "x" * 256, "caf\xe9", "a\tb"])
async def test_a_key_that_is_not_printable_ascii_is_refused(world: World, key: str) -> None:
    headers = {
        **{k.encode(): v.encode() for k, v in world.as_("app").items()},
        b"idempotency-key": key.encode("latin-1"),
    }
    answer = await world.client.post("/upload-sessions", json=WISH, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-invalid")
    assert await world.session_count() == 0
