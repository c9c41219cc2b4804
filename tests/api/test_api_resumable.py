"""An upload by a URI over HTTP: minted, looked up, given again, closed; and a signing quota that is used up."""

import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from broker.contract import Level
from broker.domain.errors import SigningQuotaExhausted, StoreUnavailable
from broker.services.open_upload import OPENS_WITHIN
from tests.api.world import PAGE, PLACES, WISH, World, bearer, build
from tests.clock import FrozenClock
from tests.memory_bucket import ENFORCED
from tests.memory_resumable import MULTIPLE, PieceRefused

SIZE = 2 * MULTIPLE + 5
BY_URI = {"strategy": "resumable", "size_bytes": SIZE}
DRY = SigningQuotaExhausted("800 a second are signed for projects/p", retry_after=timedelta(seconds=3))


@pytest.fixture
async def world(clock: FrozenClock) -> AsyncIterator[World]:
    world = build(clock, is_resumable=True)
    async with world.client:
        yield world


def uri_in(session: dict[str, Any]) -> str:
    return str(session["upload"]["request"]["url"])


async def look(world: World, session: dict[str, Any]) -> dict[str, Any]:
    path = f"/upload-sessions/{session['id']}/completion"
    return dict((await world.client.post(path, headers=world.as_("app"))).json())


async def again(world: World, session: dict[str, Any], **headers: str) -> Any:
    path = f"/upload-sessions/{session['id']}/upload"
    return await world.client.post(path, headers=headers or world.as_("app"))


async def test_a_mint_answers_with_one_url_for_all_bytes_until_the_deadline(world: World) -> None:
    session = await world.mint(**BY_URI)
    request = session["upload"]["request"]
    assert (session["upload"]["strategy"], session["upload"]["chunk_multiple_bytes"]) == ("resumable", MULTIPLE)
    assert (request["method"], request["headers"], request["expires_at"]) == ("PUT", {}, session["expires_at"])
    world.bucket.resumables.send_by(uri_in(session))
    assert (await look(world, session))["state"] == "verified"


async def test_a_status_says_how_much_is_there_until_the_session_is_settled(world: World, clock: FrozenClock) -> None:
    session = await world.mint(**BY_URI)
    path = f"/upload-sessions/{session['id']}"
    for sent in (0, MULTIPLE):
        world.bucket.resumables.send_by(uri_in(session), sent)
        for who in (world.as_("app"), bearer(session["token"])):
            status = (await world.client.get(path, headers=who)).json()
            assert (status["offset_bytes"], "parts" in status) == (sent, False)
    world.bucket.trouble = StoreUnavailable()
    answer = await world.client.get(path, headers=world.as_("app"))
    assert (answer.status_code, "offset_bytes" in answer.json()) == (200, False)
    world.bucket.trouble = None
    world.bucket.resumables.send_by(uri_in(session))
    clock.advance(timedelta(seconds=2))
    await look(world, session)
    assert "offset_bytes" not in (await world.client.get(path, headers=world.as_("app"))).json()


async def test_a_put_has_no_offset(world: World) -> None:
    session = await world.mint()
    status = (await world.client.get(f"/upload-sessions/{session['id']}", headers=world.as_("app"))).json()
    assert "offset_bytes" not in status


async def test_it_is_given_again_as_long_as_the_store_knows_it(world: World) -> None:
    session = await world.mint(**BY_URI)
    world.bucket.resumables.send_by(uri_in(session), MULTIPLE)
    for headers in (world.as_("app"), bearer(session["token"])):
        answer = await again(world, session, **headers)
        assert answer.status_code == 200, answer.text
        assert uri_in(answer.json()) == uri_in(session)
    world.bucket.resumables.forget(session["object"]["key"])
    another = uri_in((await again(world, session)).json())
    assert another != uri_in(session)
    world.bucket.resumables.send_by(another)
    assert (await look(world, session))["state"] == "verified"


async def test_nobody_else_is_given_it(world: World) -> None:
    session = await world.mint(**BY_URI)
    assert (await again(world, session, **world.as_("neighbour"))).status_code == 404
    assert (await again(world, session, **world.as_("worker"))).status_code == 403
    assert (await again(world, session, **bearer(session["token"][:-1] + "~"))).status_code == 401


async def test_one_that_is_whole_is_409_and_looked_at(world: World, clock: FrozenClock) -> None:
    session = await world.mint(**BY_URI)
    world.bucket.resumables.send_by(uri_in(session))
    answer = await again(world, session)
    assert (answer.status_code, answer.json()["code"], answer.json()["is_retryable"]) == (
        409,
        "completion-in-progress",
        True,
    )
    assert int(answer.headers["retry-after"]) >= 1
    assert await world.ledger.next_due() == clock.now()


async def test_an_idempotency_key_finds_the_same_url(world: World) -> None:
    headers = {**world.as_("app"), "Idempotency-Key": "one"}
    first = await world.client.post("/upload-sessions", json={**WISH, **BY_URI}, headers=headers)
    second = await world.client.post("/upload-sessions", json={**WISH, **BY_URI}, headers=headers | {"Origin": PAGE})
    assert (first.status_code, second.status_code, second.headers["idempotency-replayed"]) == (201, 200, "true")
    assert uri_in(second.json()) == uri_in(first.json())


async def test_a_store_that_opens_nothing_now_is_503_and_the_session_waits(world: World, clock: FrozenClock) -> None:
    headers = {**world.as_("app"), "Idempotency-Key": "one"}
    world.bucket.trouble = StoreUnavailable("https://bucket.test/upload?upload_id=bearer-secret-0")
    answer = await world.client.post("/upload-sessions", json={**WISH, **BY_URI}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (503, "store-unavailable")
    assert "bearer-secret" not in answer.text
    world.bucket.trouble = None
    answer = await world.client.post("/upload-sessions", json={**WISH, **BY_URI}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency-in-flight")
    clock.advance(OPENS_WITHIN)
    answer = await world.client.post("/upload-sessions", json={**WISH, **BY_URI}, headers=headers)
    assert answer.status_code == 200, answer.text


async def test_an_abort_closes_it(world: World) -> None:
    session = await world.mint(**BY_URI)
    answer = await world.client.delete(f"/upload-sessions/{session['id']}", headers=bearer(session["token"]))
    assert (answer.status_code, answer.json()["state"]) == (200, "aborted")
    await look(world, session)
    with pytest.raises(PieceRefused):
        world.bucket.resumables.send_by(uri_in(session))
    answer = await again(world, session)
    assert (answer.status_code, answer.json()["code"]) == (409, "session-settled")


async def test_it_has_no_parts(world: World) -> None:
    session = await world.mint(**BY_URI)
    path = f"/upload-sessions/{session['id']}/parts"
    answer = await world.client.post(path, json={"numbers": [1]}, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (409, "not-multipart")


# --- refusals


@pytest.mark.parametrize(
    ("changes", "code", "pointer"),
    [
        ({"size_bytes": 0}, "strategy-too-weak", "/strategy"),
        (
            {"destinations": ["default", "other"], "checksum": {"md5": "CY9rzUYh03PK3k6DJie09g=="}},
            "strategy-too-weak",
            "/strategy",
        ),
        ({"destinations": ["default", "other"]}, "strategy-too-weak", "/strategy"),
        ({"origin": "https://evil.example"}, "origin-not-allowed", "/origin"),
        ({"origin": "null"}, "origin-not-allowed", "/origin"),
        ({"origin": ""}, "invalid-input", "/origin"),
        ({"origin": PAGE + "\r\nx: y"}, "invalid-input", "/origin"),
        ({"origin": None}, "invalid-input", "/origin"),
        ({"origin": "https://evil.example", "strategy": "put"}, "origin-not-allowed", "/origin"),
        ({"origin": "https://evil.example", "destinations": ["default", "other"]}, "origin-not-allowed", "/origin"),
    ],
)
async def test_what_cannot_be_is_422(world: World, changes: dict[str, Any], code: str, pointer: str) -> None:
    wish = {**WISH, **BY_URI, **changes}
    answer = await world.client.post("/upload-sessions", json=wish, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    batch = {"sessions": [{**WISH}, wish]}
    answer = await world.client.post("/upload-sessions/batch", json=batch, headers=world.as_("app"))
    assert answer.json()["sessions"][1]["problem"]["errors"][0]["pointer"] == f"/sessions/1{pointer}"
    assert world.bucket.resumables.opened == 0


async def test_a_store_that_opens_none_says_so(clock: FrozenClock) -> None:
    world = build(clock)
    async with world.client:
        answer = await world.client.post("/upload-sessions", json={**WISH, **BY_URI}, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (422, "strategy-too-weak")


# --- whose page


@pytest.mark.parametrize(
    ("field", "header", "told"),
    [
        (PAGE, None, PAGE),
        (None, PAGE, PAGE),
        (PAGE, "https://other.example", PAGE),
        (None, "https://evil.example", None),
        (None, "null", None),
        (None, None, None),
    ],
)
async def test_the_store_shows_its_answers_to_the_page_that_will_send(
    world: World, field: str | None, header: str | None, told: str | None
) -> None:
    wish = {**WISH, **BY_URI, **({"origin": field} if field else {})}
    headers = {**world.as_("app"), **({"Origin": header} if header else {})}
    answer = await world.client.post("/upload-sessions", json=wish, headers=headers)
    assert answer.status_code == 201, answer.text
    answer = await world.client.post("/upload-sessions/batch", json={"sessions": [wish]}, headers=headers)
    assert "session" in answer.json()["sessions"][0]
    assert [held.origin for held in world.bucket.resumables.held.values()] == [told, told]


# --- a signing quota


async def test_a_quota_that_is_used_up_is_429_for_who_names_a_put(world: World) -> None:
    world.bucket.sign_trouble = DRY
    answer = await world.client.post("/upload-sessions", json={**WISH, "strategy": "put"}, headers=world.as_("app"))
    told = (answer.status_code, answer.json()["code"], answer.json()["is_retryable"], answer.headers["retry-after"])
    assert told == (429, "signing-quota-exhausted", True, "3")
    assert await world.session_count() == 0


async def test_who_leaves_it_open_gets_an_upload_that_is_as_strong(world: World) -> None:
    world.bucket.sign_trouble = DRY
    assert (await world.mint())["upload"]["strategy"] == "resumable"
    require = PLACES["default"].policy.require
    assert "create_only" in require
    world.bucket.resumables.guarantees = type(ENFORCED)(
        size=Level.ENFORCED, content_type=Level.ENFORCED, create_only=Level.NONE, checksum=Level.ENFORCED
    )
    answer = await world.client.post("/upload-sessions", json=WISH, headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (429, "signing-quota-exhausted")


async def test_in_a_batch_it_is_a_problem_in_its_place(world: World) -> None:
    world.bucket.sign_trouble = DRY
    items = [WISH, {**WISH, "strategy": "put"}]
    answer = await world.client.post("/upload-sessions/batch", json={"sessions": items}, headers=world.as_("app"))
    first, second = answer.json()["sessions"]
    assert first["session"]["upload"]["strategy"] == "resumable"
    assert (second["problem"]["status"], second["problem"]["code"]) == (429, "signing-quota-exhausted")


async def test_reads_come_later_and_nothing_is_lost(world: World, clock: FrozenClock) -> None:
    session = await world.verified()
    job = await world.lease()
    world.bucket.sign_trouble = DRY
    path, lease = f"/upload-sessions/{session['id']}/content", {"lease": job["lease"]["token"], "epoch": 1}
    for answer in (
        await world.client.get(path, headers=world.as_("app")),
        await world.client.get(f"{path}?redirect=1", headers=world.as_("app")),
        await world.client.post(f"/jobs/{session['id']}/renew", json=lease, headers=world.as_("worker")),
    ):
        told = (answer.status_code, answer.json()["code"], answer.headers["retry-after"])
        assert told == (429, "signing-quota-exhausted", "3")
    released = await world.client.post(f"/jobs/{session['id']}/release", json=lease, headers=world.as_("worker"))
    assert released.status_code == 200
    answer = await world.client.post("/jobs/lease", json={"worker": "w"}, headers=world.as_("worker"))
    assert (answer.status_code, answer.json()["jobs"]) == (200, [])
    world.bucket.sign_trouble = None
    clock.advance(timedelta(minutes=1))
    again = await world.lease()
    assert (again["id"], again["attempts"]["failures"]) == (session["id"], 0)


# --- a secret, counted calls


async def test_the_url_stands_in_no_other_answer_and_in_no_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="broker")
    session = await world.mint(**BY_URI, batch="b")
    world.bucket.resumables.send_by(uri_in(session), MULTIPLE)
    path, who = f"/upload-sessions/{session['id']}", world.as_("app")
    texts = [
        (await world.client.get(path, headers=who)).text,
        (await world.client.get("/upload-sessions?batch=b", headers=who)).text,
        (await world.client.post("/upload-sessions/status", json={"ids": [session["id"]]}, headers=who)).text,
        (await world.client.post(f"{path}/completion", headers=who)).text,
        (await world.client.get(f"{path}/events", headers=who)).text,
        (await world.client.delete(path, headers=who)).text,
        (await world.client.get("/metrics", headers=world.as_("prometheus"))).text,
        *(repr(vars(record)) for record in caplog.records),
    ]
    record = await world.ledger.get(session["id"])
    assert record is not None
    assert record.facts.resumable is not None
    for text in texts:
        assert "bearer-secret" not in text
        assert not record.facts.resumable.sealed_uri or record.facts.resumable.sealed_uri not in text


async def test_calls_are_counted_by_name(world: World) -> None:
    session = await world.mint(**BY_URI)
    await again(world, session)
    await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    await look(world, session)
    told = (await world.client.get("/metrics", headers=world.as_("prometheus"))).text
    for name in ("open_resumable", "offset", "cancel"):
        assert f'"{name}"' in told
    assert 'strategy="resumable"' in told


async def test_the_broker_says_that_it_knows_the_strategy(world: World) -> None:
    assert (await world.client.get("/")).json()["strategies"] == ["put", "multipart", "resumable"]
