"""Many completions by one call, over HTTP: an answer for each id, in its place, whatever became of the others."""

import json
from datetime import timedelta
from typing import Any

import pytest

from broker.domain.errors import LedgerUnavailable, StoreUnavailable
from broker.domain.keys import new_session_id
from tests.api.test_api_metrics import samples, value
from tests.api.world import WISH, World, bearer
from tests.clock import FrozenClock

PATH = "/upload-sessions/completion"


async def completed(world: World, ids: list[str], who: str = "app") -> list[dict[str, Any]]:
    answer = await world.client.post(PATH, json={"ids": ids}, headers=world.as_(who))
    assert answer.status_code == 200, answer.text
    answers = answer.json()["sessions"]
    assert len(answers) == len(ids)
    assert all(("session" in one) != ("problem" in one) for one in answers)
    return list(answers)


def told(answers: list[dict[str, Any]]) -> list[tuple[str, bool]]:
    said = (one["session"]["state"] if "session" in one else one["problem"]["code"] for one in answers)
    return [(each, one["is_looked_at"]) for each, one in zip(said, answers, strict=True)]


async def minted(world: World, count: int, **changes: Any) -> list[dict[str, Any]]:
    body = {"sessions": [{**WISH, **changes}] * count}
    answer = await world.client.post("/upload-sessions/batch", json=body, headers=world.as_("app"))
    return [one["session"] for one in answer.json()["sessions"]]


async def test_a_thousand_are_answered_in_order(world: World) -> None:
    sessions = await minted(world, 1_000)
    for session in sessions[::2]:
        world.upload(session)
    ids = [session["id"] for session in sessions]
    answers = await completed(world, ids)
    assert [one["session"]["id"] for one in answers] == ids
    assert told(answers) == [("verified", True), ("pending", True)] * 500


async def test_an_answer_is_what_the_status_of_many_tells(world: World) -> None:
    session = (await minted(world, 1, metadata={"a": "b"}))[0]
    world.upload(session)
    (one,) = await completed(world, [session["id"]])
    answer = await world.client.post("/upload-sessions/status", json={"ids": [session["id"]]}, headers=world.as_("app"))
    assert one == {**answer.json()["sessions"][0], "is_looked_at": True}
    assert {"timeline", "result", "upload", "token", "parts"}.isdisjoint(one["session"])


async def test_unknown_foreign_and_impossible_ids_are_answered_alike_and_left_alone(world: World) -> None:
    mine, theirs = await world.mint(), await world.mint("neighbour")
    world.upload(theirs)
    names = [theirs["id"], new_session_id(0), new_session_id(255), "", "../x", "\u202e", mine["id"].upper()]
    answers = await completed(world, [*names, mine["id"]])
    assert told(answers) == [("session-not-found", False)] * 7 + [("pending", True)]
    assert all(answer == answers[0] for answer in answers[:-1])
    assert (await world.state(theirs["id"]))[:2] == ("pending", 0)
    assert told(await completed(world, [theirs["id"]], "root")) == [("verified", True)]


async def test_a_look_a_second_by_either_way(world: World, clock: FrozenClock) -> None:
    session = await world.mint()
    alone = await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))
    world.upload(session)
    assert alone.status_code == 202
    assert told(await completed(world, [session["id"]])) == [("pending", False)]
    clock.advance(timedelta(seconds=1))
    assert told(await completed(world, [session["id"]])) == [("verified", True)]


async def test_a_store_that_is_away_is_no_500_and_none_of_its_words_are_told(world: World, clock: FrozenClock) -> None:
    session = await world.mint()
    world.upload(session)
    world.bucket.trouble = StoreUnavailable("s3 at 10.0.0.7 says no")
    answers = await completed(world, [session["id"]])
    assert told(answers) == [("pending", False)]
    assert "10.0.0.7" not in json.dumps(answers)
    world.bucket.trouble = None
    clock.advance(timedelta(seconds=1))
    assert told(await completed(world, [session["id"]])) == [("verified", True)]


async def test_a_ledger_that_fails_at_some_is_their_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = await minted(world, 2)
    real = type(world.ledger).claim_one

    async def claim_one(ledger: Any, session_id: str, **words: Any) -> Any:
        if session_id == first["id"]:
            raise LedgerUnavailable("redis at 10.0.0.8")
        return await real(ledger, session_id, **words)

    monkeypatch.setattr(type(world.ledger), "claim_one", claim_one)
    answers = await completed(world, [first["id"], second["id"]])
    assert told(answers) == [("ledger-unavailable", False), ("pending", True)]
    assert answers[0]["problem"]["is_retryable"]
    assert "10.0.0.8" not in json.dumps(answers)


async def test_looks_are_counted_like_those_of_single_calls(world: World) -> None:
    sessions = await minted(world, 3)
    for session in sessions[:2]:
        world.upload(session)
    await completed(world, [session["id"] for session in sessions])
    found = await samples(world)
    looks = "broker_looks_total"
    assert value(found, looks, destination="default", result="verified") == 2
    assert value(found, looks, destination="default", result="waiting") == 1


async def test_who_holds_no_key_that_mints_may_not_ask(world: World) -> None:
    session = await world.mint()
    body = {"ids": [session["id"]]}
    for headers, status in [({}, 401), (bearer(session["token"]), 401), (world.as_("worker"), 403)]:
        assert (await world.client.post(PATH, json=body, headers=headers)).status_code == status


@pytest.mark.parametrize("ids", [None, [], "x", [1], [None], ["x" * 65], ["x"] * 1_001, [["x"]]])
async def test_what_is_no_list_of_ids_is_refused(world: World, ids: Any) -> None:
    answer = await world.client.post(PATH, json={"ids": ids}, headers=world.as_("app"))
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"].startswith("/ids")
