"""An upload in parts over HTTP: minted page by page, listed, minted again, completed by the broker."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from broker.contract import SignedRequest
from broker.domain.errors import CredentialsUnavailable, StoreRefused, StoreUnavailable, Unavailable
from broker.services.open_upload import OPENS_WITHIN
from tests.api.world import World, bearer
from tests.clock import FrozenClock

MIB = 2**20
PART = 16 * MIB
WISH = {"strategy": "multipart", "size_bytes": 2 * PART + 5, "content_type": "text/csv"}


def send(world: World, part: dict[str, Any]) -> None:
    request = SignedRequest(method="PUT", url=part["request"]["url"], headers={}, expires_at=world.clock.now())
    world.bucket.uploads.send(request)


async def test_a_mint_in_parts_answers_with_the_cut_and_the_first_page(world: World) -> None:
    upload = (await world.mint(**WISH))["upload"]
    assert (upload["strategy"], upload["part_size_bytes"], upload["part_count"]) == ("multipart", PART, 3)
    assert [(part["number"], part["offset_bytes"], part["size_bytes"]) for part in upload["parts"]] == [
        (1, 0, PART),
        (2, PART, PART),
        (3, 2 * PART, 5),
    ]
    assert {part["request"]["method"] for part in upload["parts"]} == {"PUT"}


async def test_parts_are_minted_again_in_the_order_asked_for(world: World) -> None:
    session = await world.mint(**WISH)
    path = f"/upload-sessions/{session['id']}/parts"
    for who in (world.as_("app"), bearer(session["token"])):
        answer = await world.client.post(path, json={"numbers": [3, 1, 3]}, headers=who)
        assert answer.status_code == 200, answer.text
        assert [part["number"] for part in answer.json()["parts"]] == [3, 1, 3]
        assert [part["size_bytes"] for part in answer.json()["parts"]] == [5, PART, 5]


async def test_a_status_says_what_is_missing_until_the_session_is_settled(world: World, clock: FrozenClock) -> None:
    session = await world.mint(**WISH)
    path, parts = f"/upload-sessions/{session['id']}", session["upload"]["parts"]
    send(world, parts[1])
    status = (await world.client.get(path, headers=world.as_("app"))).json()
    assert status["parts"] == {
        "part_size_bytes": PART,
        "part_count": 3,
        "stored_count": 1,
        "stored_bytes": PART,
        "missing": [1, 3],
    }
    for part in (parts[0], parts[2]):
        send(world, part)
    clock.advance(timedelta(seconds=2))
    done = await world.client.post(f"{path}/completion", headers=world.as_("app"))
    assert (done.status_code, done.json()["state"]) == (200, "verified")
    assert "parts" not in (await world.client.get(path, headers=world.as_("app"))).json()


async def test_a_fresh_mint_holds_what_is_missing(world: World) -> None:
    session = await world.mint(**WISH)
    send(world, session["upload"]["parts"][0])
    answer = await world.client.post(f"/upload-sessions/{session['id']}/upload", headers=world.as_("app"))
    assert [part["number"] for part in answer.json()["upload"]["parts"]] == [2, 3]


async def test_auto_cuts_what_is_large(world: World) -> None:
    small, large = [await world.mint(size_bytes=size) for size in (64 * MIB, 64 * MIB + 1)]
    assert (small["upload"]["strategy"], large["upload"]["strategy"]) == ("put", "multipart")


BAD_NUMBERS = [
    ({}, "/numbers"),
    ({"numbers": None}, "/numbers"),
    ({"numbers": 1}, "/numbers"),
    ({"numbers": []}, "/numbers"),
    ({"numbers": ["1"]}, "/numbers/0"),
    ({"numbers": [1.5]}, "/numbers/0"),
    ({"numbers": [True]}, "/numbers/0"),
    ({"numbers": [0]}, "/numbers/0"),
    ({"numbers": [-1]}, "/numbers/0"),
    ({"numbers": [10_001]}, "/numbers/0"),
    ({"numbers": [2**70]}, "/numbers/0"),
    ({"numbers": [1] * 1_001}, "/numbers"),
    ({"numbers": [1, 3, 4]}, "/numbers/2"),
    ({"numbers": [1], "key": "x"}, "/key"),
]


@pytest.mark.parametrize(("body", "pointer"), BAD_NUMBERS)
async def test_a_number_that_is_none_is_named(world: World, body: Any, pointer: str) -> None:
    session = await world.mint(**WISH)
    before, signed = await world.state(session["id"]), world.bucket.uploads.signed
    path = f"/upload-sessions/{session['id']}/parts"
    answer = await world.client.post(path, json=body, headers=world.as_("app"))
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert (await world.state(session["id"]), world.bucket.uploads.signed) == (before, signed)


async def test_a_single_put_has_no_parts(world: World) -> None:
    session = await world.mint()
    path = f"/upload-sessions/{session['id']}"
    answer = await world.client.post(f"{path}/parts", json={"numbers": [1]}, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (409, "not-multipart")
    assert "parts" not in (await world.client.get(path, headers=world.as_("app"))).json()


async def test_a_settled_session_gives_no_parts(world: World) -> None:
    session = await world.mint(**WISH)
    path = f"/upload-sessions/{session['id']}"
    await world.client.delete(path, headers=world.as_("app"))
    answer = await world.client.post(f"{path}/parts", json={"numbers": [1]}, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (409, "session-settled")


async def test_an_empty_object_is_not_cut(world: World) -> None:
    body = {**WISH, "filename": "empty", "size_bytes": 0}
    answer = await world.client.post("/upload-sessions", json=body, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (422, "strategy-too-weak")
    assert answer.json()["errors"][0]["pointer"] == "/strategy"


async def test_while_it_is_completed_others_are_told_to_ask_again(world: World, clock: FrozenClock) -> None:
    session = await world.mint(**WISH)
    path, who = f"/upload-sessions/{session['id']}", world.as_("app")
    for part in session["upload"]["parts"]:
        send(world, part)
    answers: list[httpx.Response] = []

    async def meanwhile() -> None:
        clock.advance(timedelta(seconds=2))
        answers.append(await world.client.post(f"{path}/completion", headers=who))
        answers.append(await world.client.delete(path, headers=who))
        answers.append(await world.client.post(f"{path}/upload", headers=who))
        answers.append(await world.client.post(f"{path}/parts", json={"numbers": [1]}, headers=who))

    world.bucket.uploads.before_complete = meanwhile
    done = await world.client.post(f"{path}/completion", headers=who)
    assert (done.status_code, done.json()["state"]) == (200, "verified")
    again, *refused = answers
    assert (again.status_code, again.json()["state"], again.headers["retry-after"]) == (202, "pending", "1")
    for answer in refused:
        told = (answer.status_code, answer.json()["code"], answer.json()["is_retryable"], answer.headers["retry-after"])
        assert told == (409, "completion-in-progress", True, "1")
    assert world.bucket.uploads.completed == ["upload-1"]


async def test_while_parts_are_missing_completion_waits(world: World) -> None:
    session = await world.mint(**WISH)
    send(world, session["upload"]["parts"][0])
    path = f"/upload-sessions/{session['id']}/completion"
    answer = await world.client.post(path, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["state"], answer.headers["retry-after"]) == (202, "pending", "1")
    assert world.bucket.uploads.completed == []


async def test_a_status_does_without_parts_while_the_store_is_away(world: World) -> None:
    session = await world.mint(**WISH)
    world.bucket.trouble = StoreUnavailable()
    answer = await world.client.get(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    assert (answer.status_code, answer.json()["state"]) == (200, "pending")
    assert "parts" not in answer.json()


@pytest.mark.parametrize("trouble", [StoreUnavailable(), StoreRefused(), CredentialsUnavailable()])
async def test_a_store_that_begins_nothing_is_a_503_and_the_same_request_is_good_later(
    world: World, clock: FrozenClock, trouble: Unavailable
) -> None:
    headers = {**world.as_("app"), "idempotency-key": "key-1"}
    body = {**WISH, "filename": "large"}
    world.bucket.trouble = trouble
    refused = await world.client.post("/upload-sessions", json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (503, trouble.code)
    assert "retry-after" in refused.headers
    world.bucket.trouble = None
    clock.advance(OPENS_WITHIN)
    answer = await world.client.post("/upload-sessions", json=body, headers=headers)
    assert (answer.status_code, len(answer.json()["upload"]["parts"])) == (200, 3)
    assert await world.session_count() == 1


async def test_an_aborted_upload_leaves_nothing_in_the_store(world: World) -> None:
    session = await world.mint(**WISH)
    send(world, session["upload"]["parts"][0])
    answer = await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
    await world.client.post(f"/upload-sessions/{session['id']}/completion", headers=world.as_("app"))
    assert world.bucket.uploads.unfinished == {}
