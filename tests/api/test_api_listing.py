"""The listing of one's own sessions: newest first, page by page, with filters that are combined."""

import base64
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.api.listing_query import cursor_of, position_in
from broker.domain.errors import InvalidInput
from broker.domain.keys import new_session_id
from broker.ports import Position
from tests.api.world import WISH, World, bearer
from tests.clock import START, FrozenClock


async def get(world: World, who: str = "app", **query: Any) -> Any:
    answer = await world.client.get("/upload-sessions", params=query, headers=world.as_(who))
    assert answer.status_code == 200, answer.text
    return answer.json()


async def listed(world: World, who: str = "app", **query: Any) -> list[str]:
    """Every page of it."""
    ids, page = [], await get(world, who, **query)
    for _ in range(100):
        ids += [session["id"] for session in page["sessions"]]
        if "cursor" not in page:
            return ids
        page = await get(world, who, **query, cursor=page["cursor"])
    raise AssertionError("a listing never ends")


async def some(world: World, clock: FrozenClock, count: int, **changes: Any) -> list[str]:
    """The newest last."""
    ids = []
    for _ in range(count):
        ids.append((await world.mint(**changes))["id"])
        clock.advance(timedelta(seconds=1))
    return ids


async def test_own_sessions_come_newest_first_page_by_page(world: World, clock: FrozenClock) -> None:
    ids = await some(world, clock, 7)
    await world.mint("neighbour")
    for limit in (1, 2, 7, 1_000):
        assert await listed(world, limit=limit) == ids[::-1]
    first = await get(world, limit=3)
    assert [session["id"] for session in first["sessions"]] == ids[:-4:-1]
    assert "cursor" not in await get(world, limit=7)


async def test_nobody_has_no_sessions(world: World) -> None:
    assert await get(world) == {"sessions": []}


async def test_a_page_is_a_hundred_unless_said_otherwise(world: World) -> None:
    await world.client.post("/upload-sessions/batch", json={"sessions": [WISH] * 150}, headers=world.as_("app"))
    assert len((await get(world))["sessions"]) == 100
    assert len(set(await listed(world))) == 150


async def test_what_is_minted_meanwhile_disturbs_no_page(world: World, clock: FrozenClock) -> None:
    ids = await some(world, clock, 6)
    first = await get(world, limit=3)
    await some(world, clock, 2)
    second = await get(world, limit=3, cursor=first["cursor"])
    assert [session["id"] for session in first["sessions"] + second["sessions"]] == ids[::-1]


async def test_filters_are_combined(world: World, clock: FrozenClock) -> None:
    both = await some(world, clock, 2, owner="o", batch="b")
    batch, owner = await some(world, clock, 1, batch="b"), await some(world, clock, 1, owner="o")
    assert await listed(world, batch="b") == [*batch, *both[::-1]]
    assert await listed(world, owner="o") == [*owner, *both[::-1]]
    assert await listed(world, owner="o", batch="b", limit=1) == both[::-1]
    assert await listed(world, owner="") == []
    await world.client.delete(f"/upload-sessions/{both[0]}", headers=world.as_("app"))
    assert await listed(world, state="aborted") == [both[0]]
    assert await listed(world, state="pending", batch="b", owner="o") == [both[1]]
    assert await listed(world, state="failed") == []


@pytest.mark.parametrize("label", ["ü / ? & = + %20", "日本", "a b", "x" * 256, "'; --", "{00}:*"])
async def test_any_label_can_be_asked_for(world: World, label: str) -> None:
    session = await world.mint(owner=label, batch=label)
    assert await listed(world, owner=label, batch=label) == [session["id"]]


async def test_no_secret_and_no_long_story_is_told(world: World) -> None:
    session = await world.mint(metadata={"case": "17"})
    (told,) = (await get(world))["sessions"]
    assert {"token", "upload", "timeline", "result", "parts"}.isdisjoint(told)
    assert told["metadata"] == {"case": "17"}
    assert session["token"] not in str(told)


async def test_an_admin_sees_his_own(world: World) -> None:
    await world.mint()
    mine = await world.mint("root")
    assert await listed(world, "root") == [mine["id"]]


async def test_a_session_token_lists_nothing(world: World) -> None:
    session = await world.mint()
    answer = await world.client.get("/upload-sessions", headers=bearer(session["token"]))
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("query", "name"),
    [
        *((f"limit={bad}", "limit") for bad in ("", "0", "-1", "1001", "x", "1.5", "9" * 30, "%00", "true")),
        *((f"state={bad}", "state") for bad in ("", "nowhere", "PENDING", "pending%0a", "pending,verified")),
        *((f"{label}={bad}", label) for label in ("owner", "batch") for bad in ("x" * 257, "a%0a", "%00", "%e2%80%ae")),
        *((f"cursor={bad}", "cursor") for bad in ("", "x", "=", "MTIz", "%00", "é", "x" * 129, "A" * 128)),
        ("colour=blue", "colour"),
        ("limit=1&limit=1", "limit"),
        ("%73tate=pending&state=pending", "state"),
    ],
)
async def test_a_bad_parameter_is_named(world: World, query: str, name: str) -> None:
    await world.mint()
    answer = await world.client.get(f"/upload-sessions?{query}", headers=world.as_("app"))
    assert answer.status_code == 422, answer.text
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [f"/{name}"]


@pytest.mark.parametrize("query", ["owner=%ff", "%ff=1", "cursor=%c3"])
async def test_a_query_that_is_no_text_is_refused(world: World, query: str) -> None:
    answer = await world.client.get(f"/upload-sessions?{query}", headers=world.as_("app"))
    assert answer.status_code == 422


@settings(suppress_health_check=list(HealthCheck), max_examples=200, deadline=None)
@given(query=st.text(st.characters(codec="ascii", exclude_characters="#")) | st.text())
async def test_no_query_makes_a_500(world: World, query: str) -> None:
    answer = await world.client.get("/upload-sessions", params={"cursor": query}, headers=world.as_("app"))
    assert answer.status_code in {200, 422}
    answer = await world.client.get("/upload-sessions", params={query: "x"}, headers=world.as_("app"))
    assert answer.status_code in {200, 422}


# --- the cursor


@given(milliseconds=st.integers(0, 16**11 - 1), shard=st.integers(0, 255))
def test_a_cursor_names_its_place(milliseconds: int, shard: int) -> None:
    start = START.replace(year=1970, month=1, day=1, hour=0)
    place = Position(created_at=start + timedelta(milliseconds=milliseconds), id=new_session_id(shard))
    cursor = cursor_of(place)
    assert position_in(cursor) == place
    assert cursor.isascii()
    assert len(cursor) <= 128


@given(st.text() | st.binary().map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_what_no_listing_gave_is_no_cursor(text: str) -> None:
    with pytest.raises(InvalidInput):
        position_in(text)


async def test_a_forged_cursor_shows_nothing_that_is_not_ones_own(world: World, clock: FrozenClock) -> None:
    await some(world, clock, 3)
    theirs = await world.mint("neighbour")
    forged = cursor_of(Position(created_at=clock.now() + timedelta(days=9), id=theirs["id"]))
    assert await listed(world, cursor=forged) == await listed(world)
    assert await listed(world, "neighbour", cursor=forged) == [theirs["id"]]
