"""Upload sessions with `destinations` over HTTP: one answer, a copy for each; what is wrong is named by its pointer."""

from typing import Any

import pytest

from broker.contract import SignedRequest
from tests.api.world import World, event
from tests.unit.domain.samples import digest

BOTH = ["default", "other"]
CHECKSUM = {"sha256": digest("sha256")}


async def minted(world: World, who: str = "app", **changes: Any) -> dict[str, Any]:
    return await world.mint(who, destinations=BOTH, checksum=CHECKSUM, **changes)


def send(world: World, copy: dict[str, Any]) -> None:
    request = copy["upload"]["request"]
    world.bucket.send(SignedRequest(method="PUT", url=request["url"], headers={}, expires_at=world.clock.now()))


async def call(world: World, session: dict[str, Any], path: str = "", body: Any = None, who: str = "app") -> Any:
    url = f"/upload-sessions/{session['id']}{path}"
    if body is None:
        return await world.client.get(url, headers=world.as_(who))
    return await world.client.post(url, json=body, headers=world.as_(who))


async def verified(world: World) -> dict[str, Any]:
    session = await minted(world)
    for copy in session["copies"]:
        send(world, copy)
    answer = await call(world, session, "/completion", {})
    assert (answer.status_code, answer.json()["state"]) == (200, "verified")
    return session


async def test_a_fan_out_has_what_stands_in_its_copies_nowhere_else(world: World) -> None:
    session = await minted(world, metadata={"case": "17"}, owner="user-17")
    assert {"id", "state", "token", "copies", "metadata", "owner", "checksum"} <= session.keys()
    assert not {"object", "guarantees", "upload", "parts"} & session.keys()
    for copy, name in zip(session["copies"], BOTH, strict=True):
        assert copy.keys() == {"destination", "state", "object", "guarantees", "upload"}
        assert (copy["destination"], copy["state"], copy["object"]["destination"]) == (name, "pending", name)
        assert copy["upload"]["request"]["method"] == "PUT"


async def test_nothing_secret_is_told_twice(world: World) -> None:
    session = await minted(world)
    told = (await call(world, session)).json()
    assert "token" not in told
    assert all("upload" not in copy for copy in told["copies"])
    listing = (await world.client.get("/upload-sessions", headers=world.as_("app"))).json()
    assert [each["id"] for each in listing["sessions"]] == [session["id"]]
    assert [copy["state"] for copy in listing["sessions"][0]["copies"]] == ["pending", "pending"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"destinations": ["default"]}, "/destinations"),
        ({"destinations": ["default"] * 17}, "/destinations"),
        ({"destinations": "default"}, "/destinations"),
        ({"destinations": ["default", 1]}, "/destinations/1"),
        ({"destinations": ["default", ""]}, "/destinations/1"),
        ({"destinations": ["default", "default"]}, "/destinations/1"),
        ({"destinations": ["default", "nowhere"]}, "/destinations/1"),
        ({"destinations": BOTH, "destination": "default"}, "/destinations"),
        ({"destinations": BOTH, "checksum": {}}, "/checksum"),
        ({"destinations": BOTH, "size_bytes": 10**12}, "/size_bytes"),
        ({"destinations": BOTH, "content_type": "image/png"}, "/content_type"),
    ],
)
async def test_what_is_wrong_is_named(world: World, changes: dict[str, Any], pointer: str) -> None:
    wish = {"filename": "a.csv", "size_bytes": 12, "content_type": "text/csv", "checksum": CHECKSUM, **changes}
    answer = await world.client.post("/upload-sessions", json=wish, headers=world.as_("app"))
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]
    assert await world.session_count() == 0


async def test_a_batch_may_hold_fan_outs(world: World) -> None:
    wish = {"filename": "a.csv", "size_bytes": 12, "content_type": "text/csv", "checksum": CHECKSUM}
    items = [wish, {**wish, "destinations": BOTH}, {**wish, "destinations": ["default", "nowhere"]}]
    answer = await world.client.post("/upload-sessions/batch", json={"sessions": items}, headers=world.as_("app"))
    one, two, three = answer.json()["sessions"]
    assert "upload" in one["session"]
    assert [copy["upload"]["strategy"] for copy in two["session"]["copies"]] == ["put", "put"]
    assert [fault["pointer"] for fault in three["problem"]["errors"]] == ["/sessions/2/destinations/1"]


async def test_the_same_request_again_gives_fresh_requests_for_the_same_copies(world: World) -> None:
    wish = {"filename": "a.csv", "size_bytes": 12, "destinations": BOTH, "checksum": CHECKSUM}
    headers = {**world.as_("app"), "idempotency-key": "twin"}
    first = await world.client.post("/upload-sessions", json=wish, headers=headers)
    again = await world.client.post("/upload-sessions", json=wish, headers=headers)
    assert (first.status_code, again.status_code, again.headers["idempotency-replayed"]) == (201, 200, "true")
    for one, other in zip(first.json()["copies"], again.json()["copies"], strict=True):
        assert one["object"] == other["object"]
        assert one["upload"] != other["upload"]
    answer = await world.client.post("/upload-sessions", json={**wish, "destinations": BOTH[::-1]}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency-key-reused")


async def test_an_event_verifies_its_own_copy_and_the_last_one_the_session(world: World) -> None:
    session = await minted(world)
    send(world, session["copies"][0])
    notice = event({"object": session["copies"][0]["object"]})
    answer = await world.client.post("/notifications/bucket?token=the-bucket-says-so", json=notice)
    assert answer.json()["accepted"] == 1
    answer = await call(world, session, "/completion", {"destination": "default"})
    assert (answer.status_code, [copy["state"] for copy in answer.json()["copies"]]) == (202, ["verified", "pending"])
    assert answer.json()["copies"][0]["stored"]["size_bytes"] == 12


async def test_completion_is_about_one_copy_or_all(world: World) -> None:
    session = await verified(world)
    assert (await world.lease())["id"] == session["id"]


@pytest.mark.parametrize("path", ["/upload", "/completion"])
async def test_a_copy_that_is_not_there_is_named(world: World, path: str) -> None:
    fan_out, plain = await minted(world), await world.mint()
    for session, name in ((fan_out, "nowhere"), (plain, "other")):
        answer = await call(world, session, path, {"destination": name})
        assert (answer.status_code, answer.json()["code"]) == (422, "unknown-destination")
        assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/destination"]


async def test_of_a_fan_out_the_copy_that_is_minted_again_must_be_named(world: World) -> None:
    session = await minted(world)
    for path, body in (("/upload", {}), ("/parts", {"numbers": [1]})):
        answer = await call(world, session, path, body)
        assert (answer.status_code, [fault["pointer"] for fault in answer.json()["errors"]]) == (422, ["/destination"])


async def test_one_copy_is_minted_again_with_the_session_s_token(world: World) -> None:
    session = await minted(world)
    answer = await world.client.post(
        f"/upload-sessions/{session['id']}/upload",
        json={"destination": "other"},
        headers={"authorization": f"Bearer {session['token']}"},
    )
    assert answer.status_code == 200
    one, other = answer.json()["copies"]
    assert "upload" not in one
    assert other["upload"]["request"]["url"] != session["copies"][1]["upload"]["request"]["url"]


async def test_parts_are_asked_for_by_copy(world: World) -> None:
    size = 200 * 2**20
    session = await minted(world, size_bytes=size, strategy="multipart")
    assert {copy["upload"]["strategy"] for copy in session["copies"]} == {"multipart"}
    answer = await call(world, session, "/parts", {"numbers": [2], "destination": "other"})
    assert [part["number"] for part in answer.json()["parts"]] == [2]
    told = (await call(world, session)).json()
    assert [copy["parts"]["stored_count"] for copy in told["copies"]] == [0, 0]


async def test_its_owner_reads_any_copy(world: World) -> None:
    session = await verified(world)
    for name, copy in zip(BOTH, session["copies"], strict=True):
        answer = await call(world, session, f"/content?destination={name}")
        assert copy["object"]["key"] in answer.json()["url"]
    assert session["copies"][0]["object"]["key"] in (await call(world, session, "/content")).json()["url"]
    for query in ("destination=nowhere", "destination=default&destination=other"):
        assert (await call(world, session, f"/content?{query}")).status_code == 422


async def test_a_copy_s_id_is_nobody_s_session(world: World) -> None:
    session = await verified(world)
    copy = {"id": session["copies"][0]["object"]["key"].split("/")[-2]}
    for who in ("app", "root"):
        for path, body in (("", None), ("/content", None), ("/events", None), ("/upload", {}), ("/completion", {})):
            assert (await call(world, copy, path, body, who)).status_code == 404
        answer = await world.client.delete(f"/upload-sessions/{copy['id']}", headers=world.as_(who))
        assert answer.status_code == 404
        answer = await world.client.delete(f"/upload-sessions/{copy['id']}/object", headers=world.as_(who))
        assert answer.status_code in {403, 404}


async def test_erasing_takes_all_copies(world: World) -> None:
    session = await verified(world)
    answer = await world.client.delete(f"/upload-sessions/{session['id']}/object", headers=world.as_("root"))
    assert (answer.status_code, answer.json()["state"]) == (200, "failed")
    assert world.bucket.stored == {}


async def test_an_aborted_fan_out_says_so_of_every_copy(world: World) -> None:
    session = await minted(world)
    answer = await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    assert [copy["state"] for copy in answer.json()["copies"]] == ["aborted", "aborted"]
    answer = await call(world, session, "/upload", {"destination": "other"})
    assert (answer.status_code, answer.json()["code"]) == (409, "session-settled")


async def test_the_stream_of_events_tells_of_the_session_alone(world: World) -> None:
    session = await verified(world)
    answer = await call(world, session, "/events")
    assert answer.text.count('"state":"verified"') == 1
    assert await world.session_count() == 1
