"""Each route, once, doing what it is for."""

from datetime import timedelta

import pytest

from broker import __version__
from tests.api.world import DOOR_TOKEN, WISH, World, bearer, event
from tests.clock import FrozenClock


async def test_a_mint_answers_with_the_session_its_token_and_a_signed_request(world: World) -> None:
    answer = await world.client.post(
        "/upload-sessions",
        json={**WISH, "metadata": {"case": "17"}, "owner": "user-17", "batch": "today"},
        headers=world.as_("app"),
    )
    body = answer.json()
    assert answer.status_code == 201
    assert answer.headers["location"] == f"/upload-sessions/{body['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert body["state"] == "pending"
    assert body["object"] == {"destination": "default", "bucket": "acme", "key": f"uploads/{body['id']}/report.csv"}
    assert body["upload"]["strategy"] == "put"
    assert body["upload"]["request"]["method"] == "PUT"
    assert body["token"].startswith("us_")
    assert (body["metadata"], body["owner"], body["batch"]) == ({"case": "17"}, "user-17", "today")
    assert set(body["guarantees"].values()) == {"enforced"}


async def test_what_was_not_declared_is_not_echoed(world: World) -> None:
    body = await world.mint()
    assert body.keys().isdisjoint({"checksum", "metadata", "owner", "batch", "timeline", "result", "reason"})


async def test_a_status_shows_the_timeline_and_no_secret(world: World) -> None:
    session = await world.mint()
    answer = await world.client.get(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    body = answer.json()
    assert answer.status_code == 200
    assert [step["state"] for step in body["timeline"]] == ["pending"]
    assert body["attempts"] == {"leases": 0, "failures": 0, "lost_leases": 0, "infrastructure": 0}
    assert body.keys().isdisjoint({"token", "upload"})


async def test_a_pending_session_can_be_minted_again(world: World) -> None:
    session = await world.mint()
    path = f"/upload-sessions/{session['id']}/upload"
    answers = [
        await world.client.post(path, headers=world.as_("app")),
        await world.client.post(path, json={"destination": "default"}, headers=bearer(session["token"])),
    ]
    assert [answer.status_code for answer in answers] == [200, 200]
    urls = {session["upload"]["request"]["url"], *(answer.json()["upload"]["request"]["url"] for answer in answers)}
    assert len(urls) == 3
    assert answers[1].json()["token"] == session["token"]


async def test_completion_waits_while_nothing_is_there_and_settles_when_it_is(world: World, clock: FrozenClock) -> None:
    session = await world.mint()
    path = f"/upload-sessions/{session['id']}/completion"
    early = await world.client.post(path, headers=world.as_("app"))
    assert (early.status_code, early.headers["retry-after"], early.json()["state"]) == (202, "1", "pending")
    world.upload(session)
    clock.advance(timedelta(seconds=2))
    late = await world.client.post(path, headers=world.as_("app"))
    assert (late.status_code, late.json()["state"]) == (200, "verified")
    assert late.json()["stored"]["size_bytes"] == WISH["size_bytes"]


async def test_a_pending_session_can_be_aborted_twice(world: World) -> None:
    session = await world.mint()
    for _ in range(2):
        answer = await world.client.delete(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
        assert (answer.status_code, answer.json()["state"]) == (200, "aborted")


async def test_content_is_a_signed_get_pinned_to_what_was_verified(world: World) -> None:
    session = await world.verified()
    answer = await world.client.get(f"/upload-sessions/{session['id']}/content", headers=world.as_("app"))
    etag = world.bucket.stored[session["object"]["key"]].etag
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["headers"] == {"if-match": f'"{etag}"'}


async def test_content_redirects_where_the_url_alone_is_enough(world: World) -> None:
    session = await world.verified()
    answer = await world.client.get(
        f"/upload-sessions/{session['id']}/content?redirect=1", headers=world.as_("app"), follow_redirects=False
    )
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("https://bucket.test/uploads/")
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("outcome", ["processed", "failed", "rejected"])
async def test_a_job_is_leased_renewed_and_finished_as_reported(world: World, outcome: str) -> None:
    session = await world.verified(metadata={"case": "17"})
    job = await world.lease()
    assert (job["id"], job["metadata"], job["read"]["method"]) == (session["id"], {"case": "17"}, "GET")
    proof = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"]}
    renewed = await world.client.post(f"/jobs/{job['id']}/renew", json=proof, headers=world.as_("worker"))
    assert renewed.status_code == 200
    assert renewed.json()["lease"]["epoch"] == job["lease"]["epoch"]
    report = {**proof, "outcome": outcome, "result": {"lines": 3}}
    done = await world.client.post(f"/jobs/{job['id']}/result", json=report, headers=world.as_("worker"))
    assert (done.status_code, done.json()) == (200, {"id": job["id"], "state": outcome})
    status = await world.client.get(f"/upload-sessions/{session['id']}", headers=world.as_("app"))
    assert status.json()["result"] == {"lines": 3}
    states = [step["state"] for step in status.json()["timeline"]]
    assert states == ["pending", "verified", "processing", outcome]


async def test_a_job_that_failed_for_now_comes_back(world: World, clock: FrozenClock) -> None:
    await world.verified()
    job = await world.lease()
    report = {"lease": job["lease"]["token"], "epoch": 1, "outcome": "retry", "retry_after_seconds": 5}
    answer = await world.client.post(f"/jobs/{job['id']}/result", json=report, headers=world.as_("worker"))
    assert answer.json()["state"] == "verified"
    clock.advance(timedelta(seconds=6))
    assert (await world.lease())["attempts"]["failures"] == 1


async def test_a_released_job_is_there_at_once(world: World) -> None:
    await world.verified()
    job = await world.lease()
    proof = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"]}
    answer = await world.client.post(f"/jobs/{job['id']}/release", json=proof, headers=world.as_("worker"))
    assert (answer.status_code, answer.json()["state"]) == (200, "verified")
    assert (await world.lease())["lease"]["epoch"] == 2


async def test_no_work_is_an_empty_list(world: World) -> None:
    answer = await world.client.post("/jobs/lease", headers=world.as_("worker"))
    assert (answer.status_code, answer.json()) == (200, {"jobs": []})


async def test_an_event_moves_the_next_look_to_now_and_settles_nothing(world: World) -> None:
    session = await world.mint()
    due = await world.ledger.next_due()
    answer = await world.client.post("/notifications/bucket", json=event(session), headers=bearer(DOOR_TOKEN))
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1, "ignored": 0, "malformed": 0})
    assert due is not None
    assert await world.ledger.next_due() == world.clock.now() < due
    assert (await world.state(session["id"]))[0] == "pending"


async def test_health_readiness_and_limits_are_open_to_all(world: World) -> None:
    live, ready, about = [await world.client.get(path) for path in ("/healthz", "/readyz", "/")]
    assert (live.status_code, live.text) == (200, "ok\n")
    assert (ready.status_code, ready.json()) == (200, {"is_ready": True, "problems": [], "warnings": []})
    assert (about.status_code, about.json()["version"]) == (200, __version__)
    assert about.json()["limits"]["max_body_bytes"] == 5_500_000
