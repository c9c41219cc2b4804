"""An upload in parts over HTTP: minted page by page, listed, minted again, completed by the broker."""

from datetime import timedelta
from typing import Any

from broker.contract import SignedRequest
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
