"""A batch: each item is answered as a call of its own would be, in its place, and spoils no other."""

import asyncio
import json
from datetime import timedelta
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.domain.errors import CredentialsUnavailable, LedgerUnavailable, StoreUnavailable
from broker.domain.keys import new_session_id
from broker.domain.multipart import MAX_PARTS_PER_CALL
from tests.api.test_api_bad_input import CASES
from tests.api.world import WISH, World, bearer
from tests.clock import FrozenClock

IN_PARTS = {**WISH, "strategy": "multipart", "size_bytes": 1_000_000_000}


async def post(world: World, sessions: Any, who: str = "app", **headers: str) -> httpx.Response:
    return await send(world, json.dumps({"sessions": sessions}).encode(), who, **headers)


async def send(world: World, body: bytes, who: str = "app", **headers: str) -> httpx.Response:
    sent = {"content-type": "application/json", **world.as_(who), **headers}
    return await world.client.post("/upload-sessions/batch", content=body, headers=sent)


async def minted(world: World, sessions: list[dict[str, Any]], who: str = "app") -> list[dict[str, Any]]:
    answer = await post(world, sessions, who)
    assert answer.status_code == 200, answer.text
    answers = answer.json()["sessions"]
    assert len(answers) == len(sessions)
    assert all(("session" in one) != ("problem" in one) for one in answers)
    return list(answers)


def codes(answers: list[dict[str, Any]]) -> list[str | None]:
    return [answer.get("problem", {}).get("code") for answer in answers]


# --- what is right


async def test_a_thousand_sessions_are_minted_in_order(world: World) -> None:
    answers = await minted(world, [{**WISH, "filename": f"{number}.csv"} for number in range(1_000)])
    sessions = [answer["session"] for answer in answers]
    assert [session["filename"] for session in sessions] == [f"{number}.csv" for number in range(1_000)]
    assert len({session["id"] for session in sessions}) == 1_000
    assert len({session["upload"]["request"]["url"] for session in sessions}) == 1_000
    assert await world.session_count() == 1_000


async def test_an_item_is_answered_as_a_call_of_its_own_is(world: World) -> None:
    wish = {**WISH, "owner": "o", "batch": "b", "metadata": {"a": "b"}, "object_metadata": {"c": "d"}}
    alone = await world.mint(**wish)
    (answer,) = await minted(world, [wish])
    together = answer["session"]
    for session in (alone, together):
        for secret in ("id", "token", "object", "upload"):
            assert session.pop(secret)
    assert together == alone
    assert "is_replayed" not in answer


async def test_what_a_batch_minted_can_be_uploaded_and_is_verified(world: World) -> None:
    answers = await minted(world, [WISH] * 3)
    for answer in answers:
        world.upload(answer["session"])
        path = f"/upload-sessions/{answer['session']['id']}/completion"
        done = await world.client.post(path, headers=bearer(answer["session"]["token"]))
        assert (done.status_code, done.json()["state"]) == (200, "verified")


async def test_items_may_go_to_several_destinations_by_several_strategies(world: World) -> None:
    answers = await minted(world, [WISH, {**WISH, "destination": "other"}, IN_PARTS, {**IN_PARTS, "size_bytes": 0}])
    assert codes(answers) == [None, None, None, "strategy-too-weak"]
    uploads = [answer["session"]["upload"] for answer in answers[:3]]
    assert [upload["strategy"] for upload in uploads] == ["put", "put", "multipart"]
    assert answers[1]["session"]["object"]["bucket"] == "acme-other"


async def test_many_uploads_in_parts_get_short_first_pages(world: World) -> None:
    few, many = await minted(world, [IN_PARTS] * 2), await minted(world, [IN_PARTS] * 200)
    assert [len(answer["session"]["upload"]["parts"]) for answer in few] == [60, 60]  # all there are
    assert {len(answer["session"]["upload"]["parts"]) for answer in many} == {MAX_PARTS_PER_CALL // 200}
    path = f"/upload-sessions/{many[7]['session']['id']}/parts"
    rest = await world.client.post(path, json={"numbers": [59, 60]}, headers=world.as_("app"))
    assert rest.status_code == 200


# --- what is wrong


@pytest.mark.parametrize(("name", "value", "pointer"), CASES)
async def test_a_bad_field_is_named_in_its_place_and_spoils_no_other(
    world: World, name: str, value: Any, pointer: str
) -> None:
    answers = await minted(world, [WISH, {**WISH, name: value}, WISH])
    assert [bool(code) for code in codes(answers)] == [False, True, False]
    problem = answers[1]["problem"]
    assert problem["status"] == 422
    (fault,) = problem["errors"]
    assert fault["pointer"] == f"/sessions/1{pointer}"
    assert await world.session_count() == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "é", "a\n", "\x00", 7, [], True])
async def test_a_bad_idempotency_key_is_named(world: World, key: Any) -> None:
    answers = await minted(world, [{**WISH, "idempotency_key": key}, WISH])
    assert [fault["pointer"] for fault in answers[0]["problem"]["errors"]] == ["/sessions/0/idempotency_key"]
    assert "session" in answers[1]


@pytest.mark.parametrize(
    ("item", "pointer"),
    [
        (b"7", ""),
        (b"null", ""),
        (b"[]", ""),
        (b'"sessions"', ""),
        (b"{}", "/filename"),
        (b'{"filename": "a"}', "/size_bytes"),
        (b'{"filename": "a", "size_bytes": 1, "x": 1}', "/x"),
        (b'{"filename": "a", "size_bytes": 1, "size_bytes": 2}', "/size_bytes"),
        (b'{"sessions": []}', "/sessions"),
    ],
)
async def test_what_is_no_item_is_a_problem_in_its_place(world: World, item: bytes, pointer: str) -> None:
    good = json.dumps(WISH).encode()
    answer = await send(world, b' { "sessions" : [ ' + good + b" , " + item + b" , " + good + b" ] } ")
    answers = answer.json()["sessions"]
    assert [bool(code) for code in codes(answers)] == [False, True, False]
    (fault,) = answers[1]["problem"]["errors"]
    assert fault["pointer"] == f"/sessions/1{pointer}"


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, None),
        (b"{", 400, None),
        (b"[]", 422, ""),
        (b"{}", 422, "/sessions"),
        (b'{"sessions": null}', 422, "/sessions"),
        (b'{"sessions": {}}', 422, "/sessions"),
        (b'{"sessions": []}', 422, "/sessions"),
        (b'{"sessions": [{}], "x": 1}', 422, "/x"),
        (b'{"sessions": [{}], "sessions": [{}]}', 422, "/sessions"),
        (b'{"sessions": [{"a": {}}], "sessions": [{}]}', 422, "/sessions"),
        (b'{"sessions": [{}], "\\u0073essions": [{"filename": "x"}]}', 422, "/sessions"),
        (b'{"sessions": [' + b"[" * 5_000 + b"]" * 5_000 + b"]}", 400, None),
        (b'{"sessions": [' + b",".join([b"{}"] * 1_001) + b"]}", 422, "/sessions"),
        (b'{"sessions": ["\xff"]}', 400, None),
        (b'{"sessions": [{}]} x', 400, None),
        # No Unicode text, so no JSON to cut into items (RFC 8259 section 8.2).
        (b'{"sessions": [{}, {"owner": "\\ud800"}]}', 422, "/sessions/1/owner"),
    ],
)
async def test_what_is_no_batch_is_refused_whole(world: World, body: bytes, status: int, pointer: str | None) -> None:
    answer = await send(world, body)
    assert answer.status_code == status, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ([] if pointer is None else [pointer])
    assert await world.session_count() == 0


async def test_a_batch_is_as_large_as_any_body(world: World) -> None:
    wish = {**WISH, "metadata": {"a": "x" * 4_000}}
    assert len(await minted(world, [wish] * 1_000)) == 1_000
    padded = json.dumps({"sessions": [WISH]}).encode() + b" " * 5_500_000
    assert (await send(world, padded)).status_code == 413


@settings(suppress_health_check=list(HealthCheck), max_examples=60, deadline=None)
@given(items=st.lists(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists), min_size=1))
async def test_no_item_makes_a_500(world: World, items: list[Any]) -> None:
    answer = await post(world, items)
    assert answer.status_code == 200
    assert None not in codes(answer.json()["sessions"])


@settings(suppress_health_check=list(HealthCheck), max_examples=150, deadline=None)
@given(body=st.binary() | st.text().map(str.encode) | st.binary().map(lambda some: b'{"sessions":[' + some + b"]}"))
async def test_no_body_makes_a_500(world: World, body: bytes) -> None:
    assert (await send(world, body)).status_code in {200, 400, 422}


# --- who asks


async def test_a_key_gets_what_it_may_and_problems_for_the_rest(world: World) -> None:
    wishes = [{**WISH, "destination": "other", "size_bytes": 10}, {**WISH, "destination": "other"}, WISH]
    answers = await minted(world, wishes, "small")
    assert codes(answers) == [None, "size-too-large", "unknown-destination"]


async def test_a_batch_belongs_to_the_key_that_minted_it(world: World) -> None:
    (answer,) = await minted(world, [WISH])
    path = f"/upload-sessions/{answer['session']['id']}"
    assert (await world.client.get(path, headers=world.as_("neighbour"))).status_code == 404
    assert (await world.client.get(path, headers=world.as_("app"))).status_code == 200


# --- again


def keyed(*keys: str, **changes: Any) -> list[dict[str, Any]]:
    return [{**WISH, **changes, "idempotency_key": key} for key in keys]


async def test_a_batch_that_is_sent_again_finds_its_sessions(world: World) -> None:
    keys = [f"key-{number}" for number in range(100)]
    first, again = await minted(world, keyed(*keys)), await minted(world, keyed(*keys, "new"))
    assert not any("is_replayed" in answer for answer in first)
    assert [answer.get("is_replayed", False) for answer in again] == [True] * 100 + [False]
    for one, two in zip(first, again, strict=False):
        assert (one["session"]["id"], one["session"]["token"]) == (two["session"]["id"], two["session"]["token"])
        assert one["session"]["upload"] != two["session"]["upload"]
    assert await world.session_count() == 101


async def test_a_call_and_an_item_with_one_key_are_one_request(world: World) -> None:
    headers = {**world.as_("app"), "idempotency-key": "key-1"}
    alone = await world.client.post("/upload-sessions", json=WISH, headers=headers)
    (together,) = await minted(world, keyed("key-1"))
    assert (together["session"]["id"], together["is_replayed"]) == (alone.json()["id"], True)
    (answer,) = await minted(world, keyed("key-2"))
    again = await world.client.post("/upload-sessions", json=WISH, headers={**headers, "idempotency-key": "key-2"})
    assert (again.status_code, again.json()["id"]) == (200, answer["session"]["id"])


async def test_twins_within_a_batch_make_one_session(world: World) -> None:
    answers = await minted(world, keyed(*["key-1", "key-2"] * 50))
    assert len({answer["session"]["id"] for answer in answers}) == 2
    assert [answer.get("is_replayed", False) for answer in answers] == [False] * 2 + [True] * 98
    assert await world.session_count() == 2


async def test_a_key_with_another_body_is_that_items_problem(world: World) -> None:
    answers = await minted(world, [*keyed("key-1"), *keyed("key-1", size_bytes=13), *keyed("key-2")])
    assert codes(answers) == [None, "idempotency-key-reused", None]
    assert await world.session_count() == 2


async def test_concurrent_batches_with_the_same_keys_make_each_session_once(world: World) -> None:
    batches = await asyncio.gather(*(minted(world, keyed(*(str(number) for number in range(50)))) for _ in range(8)))
    for place in range(50):
        assert len({batch[place]["session"]["id"] for batch in batches}) == 1
        assert sum("is_replayed" not in batch[place] for batch in batches) == 1
    assert await world.session_count() == 50


async def test_a_replay_of_a_settled_session_has_nothing_left_to_send(world: World, clock: FrozenClock) -> None:
    (answer,) = await minted(world, keyed("key-1"))
    world.upload(answer["session"])
    clock.advance(timedelta(seconds=2))
    path = f"/upload-sessions/{answer['session']['id']}/completion"
    await world.client.post(path, headers=world.as_("app"))
    (again,) = await minted(world, keyed("key-1"))
    assert again["session"]["state"] == "verified"
    assert "upload" not in again["session"]


# --- trouble


async def test_trouble_of_the_store_is_the_problem_of_what_needs_it(world: World, clock: FrozenClock) -> None:
    world.bucket.uploads.before_open = _raise(StoreUnavailable("s3 at 10.0.0.7 says no"))
    answers = await minted(world, [WISH, {**IN_PARTS, "idempotency_key": "key-1"}, WISH])
    assert codes(answers) == [None, "store-unavailable", None]
    assert answers[1]["problem"]["is_retryable"]
    assert "10.0.0.7" not in json.dumps(answers)
    world.bucket.uploads.before_open = _nothing
    clock.advance(timedelta(seconds=16))
    (again,) = await minted(world, [{**IN_PARTS, "idempotency_key": "key-1"}])
    assert again["is_replayed"]
    assert again["session"]["upload"]["strategy"] == "multipart"


async def test_a_credential_that_is_away_is_each_items_problem(world: World) -> None:
    world.bucket.sign_trouble = CredentialsUnavailable()
    answers = await minted(world, [WISH, {**WISH, "size_bytes": -1}])
    assert codes(answers) == ["credentials-unavailable", "invalid-input"]
    assert await world.session_count() == 0


async def test_a_ledger_that_is_away_is_each_items_problem(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: Any, items: list[Any], **__: Any) -> list[Any]:
        return [LedgerUnavailable()] * len(items)

    monkeypatch.setattr(type(world.ledger), "create_many", away)
    assert codes(await minted(world, [WISH, WISH])) == ["ledger-unavailable"] * 2


async def _nothing() -> None:
    return


def _raise(error: Exception) -> Any:
    async def trouble() -> None:
        raise error

    return trouble


# --- others


async def test_single_calls_are_served_while_batches_run(world: World) -> None:
    """No clock: how much of a batch is done when a single call has been answered."""
    batches = [asyncio.ensure_future(minted(world, [WISH] * 1_000)) for _ in range(3)]
    await asyncio.sleep(0)
    for _ in range(5):
        await world.mint()
    assert not any(batch.done() for batch in batches)
    for batch in batches:
        assert codes(await batch) == [None] * 1_000


# --- the status of many


async def statuses(world: World, ids: list[str], who: str = "app") -> list[dict[str, Any]]:
    answer = await world.client.post("/upload-sessions/status", json={"ids": ids}, headers=world.as_(who))
    assert answer.status_code == 200, answer.text
    return list(answer.json()["sessions"])


async def test_many_are_told_in_the_order_asked_for(world: World) -> None:
    verified, pending = await world.verified(metadata={"a": "b"}), await world.mint()
    ids = [pending["id"], verified["id"], pending["id"]] + [verified["id"]] * 200
    answers = await statuses(world, ids)
    assert [answer["session"]["id"] for answer in answers] == ids
    assert [answer["session"]["state"] for answer in answers[:3]] == ["pending", "verified", "pending"]
    told = answers[1]["session"]
    alone = (await world.client.get(f"/upload-sessions/{verified['id']}", headers=world.as_("app"))).json()
    assert {"timeline", "result", "upload", "token", "parts"}.isdisjoint(told)
    assert told == {name: value for name, value in alone.items() if name != "timeline"}


async def test_unknown_foreign_and_impossible_ids_are_answered_alike(world: World) -> None:
    mine, theirs = await world.mint(), await world.mint("neighbour")
    names = [theirs["id"], new_session_id(0), new_session_id(255), "", "../x", "\u202e", mine["id"].upper()]
    answers = await statuses(world, [*names, mine["id"]])
    assert answers[-1]["session"]["id"] == mine["id"]
    assert all(answer == answers[0] for answer in answers[:-1])
    assert answers[0]["problem"]["code"] == "session-not-found"
    assert answers[0]["problem"]["status"] == 404


async def test_an_admin_may_ask_about_anybodys_sessions(world: World) -> None:
    theirs = await world.mint("neighbour")
    assert "session" in (await statuses(world, [theirs["id"]], "root"))[0]


@pytest.mark.parametrize("ids", [None, [], "x", [1], [None], ["x" * 65], ["x"] * 1_001, [["x"]]])
async def test_what_is_no_list_of_ids_is_refused(world: World, ids: Any) -> None:
    answer = await world.client.post("/upload-sessions/status", json={"ids": ids}, headers=world.as_("app"))
    assert answer.status_code == 422
    (fault,) = answer.json()["errors"]
    assert fault["pointer"].startswith("/ids")
