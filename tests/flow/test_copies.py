"""One upload to three buckets, by the real thing: minted, sent, told by each bucket, one job, read in its zone."""

import asyncio
import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from tests.flow.test_readme import block

BODY = b"one,two\n" * 1_000
PLACES = ["default", "eu", "us"]


@pytest.fixture(scope="module", params=["s3", "gcs"])
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    # Only the buckets' own events bring a look: who waits for the first one by the clock waits too long.
    options = StackOptions(
        provider=request.param,
        directory=tmp_path_factory.mktemp("stack") / "dev",
        more_destinations=("eu", "us", "ap"),
        policy={"first_look": "5m"},
        consumers=0,
        log_level="debug",
    )
    running = start_stack(options)
    yield running
    running.stop()


@pytest.fixture
async def client(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {stack.about.api_key}"}
    async with httpx.AsyncClient(base_url=stack.about.broker, headers=headers, timeout=30) as client:
        yield client


def key_of(stack: Stack, zone: str) -> dict[str, str]:
    """A consumer's key for the jobs of one destination, as an operator makes it."""
    argv = ["keys", "add", f"worker-{zone}", "--role", "consume", "--destination", zone]
    done = subprocess.run(
        [sys.executable, "-m", "broker", *argv, "--config", str(stack.options.directory / "broker.toml")],
        env=dict(os.environ) | stack.broker.env,
        capture_output=True,
        text=True,
        timeout=40,
        check=True,
    )
    return {"authorization": f"Bearer {done.stdout.strip().splitlines()[-1]}"}


def declared(stack: Stack) -> dict[str, str]:
    """A digest that the store of this provider proves by itself."""
    name = "md5" if stack.options.provider == "gcs" else "sha256"
    return {name: base64.b64encode(hashlib.new(name, BODY, usedforsecurity=False).digest()).decode()}


async def minted(stack: Stack, client: httpx.AsyncClient) -> dict[str, Any]:
    wish = {
        "filename": "report.csv",
        "size_bytes": len(BODY),
        "content_type": "text/csv",
        "destinations": PLACES,
        "checksum": declared(stack),
    }
    answer = await client.post("/upload-sessions", json=wish)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


async def put(copy: dict[str, Any], body: bytes = BODY) -> int:
    request = copy["upload"]["request"]
    async with httpx.AsyncClient(timeout=30) as outside:
        answer = await outside.put(request["url"], headers=request["headers"], content=body)
        return answer.status_code


async def lease(client: httpx.AsyncClient, key: dict[str, str], *, wait: float = 0) -> list[dict[str, Any]]:
    answer = await client.post("/jobs/lease", json={"wait_seconds": wait, "max": 10}, headers=key)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["jobs"])


async def test_three_buckets_tell_and_one_job_is_read_in_the_zone_of_its_consumer(
    stack: Stack, client: httpx.AsyncClient
) -> None:
    here, elsewhere = await asyncio.gather(*(asyncio.to_thread(key_of, stack, zone) for zone in ("us", "ap")))
    session = await minted(stack, client)
    url = f"/upload-sessions/{session['id']}"
    assert [copy["destination"] for copy in session["copies"]] == PLACES
    assert not {"object", "upload", "guarantees"} & session.keys()
    for copy in session["copies"][:2]:
        assert await put(copy) == 200
    assert await put(session["copies"][2], b"x" * len(BODY)) == 400  # the store proves the digest by itself
    assert await lease(client, here, wait=1) == []
    assert await put(session["copies"][2]) == 200

    (job,) = await lease(client, here, wait=20)
    assert (job["id"], job["destination"], job["prove"]) == (session["id"], "us", [])
    assert await lease(client, elsewhere) == []
    async with httpx.AsyncClient(timeout=30) as outside:
        read = await outside.get(job["read"]["url"], headers=job["read"]["headers"])
    assert read.content == BODY
    assert session["copies"][2]["object"]["key"] in job["read"]["url"]
    report = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"], "outcome": "processed", "result": 1}
    done = await client.post(f"/jobs/{job['id']}/result", json=report, headers=here)
    assert done.json()["state"] == "processed"

    told = (await client.get(url)).json()
    assert told["state"] == "processed"
    assert [copy["state"] for copy in told["copies"]] == ["verified"] * 3
    assert [step["state"] for step in told["timeline"]] == ["pending", "verified", "processing", "processed"]
    for place in PLACES:
        read = (await client.get(f"{url}/content", params={"destination": place})).json()
        async with httpx.AsyncClient(timeout=30) as outside:
            assert (await outside.get(read["url"], headers=read["headers"])).content == BODY


async def test_a_copy_is_no_session_of_its_own_for_anybody(stack: Stack, client: httpx.AsyncClient) -> None:
    session = await minted(stack, client)
    copy_id = session["copies"][0]["object"]["key"].split("/")[-2]
    url = f"/upload-sessions/{copy_id}"
    for call in (client.get(url), client.delete(url), client.post(f"{url}/upload"), client.post(f"{url}/completion")):
        answer = await call
        assert (answer.status_code, answer.json()["code"]) == (404, "session-not-found")
    statuses = (await client.post("/upload-sessions/status", json={"ids": [copy_id]})).json()
    assert statuses["sessions"][0]["problem"]["code"] == "session-not-found"
    listing = (await client.get("/upload-sessions", params={"limit": 1_000})).json()
    assert copy_id not in json.dumps([each["id"] for each in listing["sessions"]])


async def test_an_aborted_fan_out_takes_no_copy_any_more(stack: Stack, client: httpx.AsyncClient) -> None:
    session = await minted(stack, client)
    url = f"/upload-sessions/{session['id']}"
    assert (await client.delete(url)).json()["state"] == "aborted"
    answer = await client.post(f"{url}/upload", json={"destination": "eu"})
    assert (answer.status_code, answer.json()["code"]) == (409, "session-settled")


def test_the_readme_s_line_asks_for_copies(stack: Stack) -> None:
    line = block("One upload to several destinations", "sh")
    env = {"PATH": "/usr/local/bin:/usr/bin:/bin", "BROKER_URL": stack.about.broker}
    env["BROKER_API_KEY"] = stack.about.api_key
    done = subprocess.run(["sh", "-ec", line], env=env, capture_output=True, text=True, timeout=60, check=True)
    assert [copy["destination"] for copy in json.loads(done.stdout)["copies"]] == ["eu", "us"]
