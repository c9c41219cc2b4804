"""The whole loop on Cloud Storage: mint, upload, look, lease, read – with impersonation at every step."""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import yarl

from tests.gcs_world import BUCKET, PAGE, READER, WRITER, GcsWorld, gcs_world

SECONDS = 30
CHUNK = 262_144
SMALL = b"case,value\n17,42\n"
LARGE = bytes(range(256)) * 2_048  # two pieces of 256 KiB


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsWorld]:
    with gcs_world(tmp_path_factory.mktemp("gcs")) as world:
        yield world


@dataclass(frozen=True, slots=True)
class Client:
    world: GcsWorld
    http: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None, *, key: str = "", wants: int = 0) -> Any:
        headers = {"authorization": f"Bearer {key or self.world.api_key}"}
        async with self.http.request(method, self.world.url + path, json=body, headers=headers) as answer:
            said = await answer.json(content_type=None) if answer.content_length != 0 else None
            assert answer.status == wants if wants else answer.ok, (path, answer.status, said)
            return said

    async def mint(self, body: bytes, **more: object) -> Any:
        wish = {"filename": "ä b+.csv", "size_bytes": len(body), "content_type": "text/csv", **more}
        return await self.call("POST", "/upload-sessions", wish, wants=201)

    async def send(self, request: Mapping[str, Any], body: bytes, **headers: str) -> tuple[int, Mapping[str, str]]:
        told = {**request["headers"], **{name.replace("_", "-"): value for name, value in headers.items()}}
        url = yarl.URL(request["url"], encoded=True)
        async with self.http.request(request["method"], url, data=body, headers=told, allow_redirects=False) as answer:
            await answer.read()
            return answer.status, dict(answer.headers)

    async def piece(self, request: Mapping[str, Any], first: int, size: int = CHUNK) -> int:
        """Bytes of LARGE."""
        last = first + size - 1
        status, _ = await self.send(
            request, LARGE[first : last + 1], content_range=f"bytes {first}-{last}/{len(LARGE)}"
        )
        return status

    async def hint(self, session: Mapping[str, Any]) -> str:
        """The client says that it is done; the state that HEAD makes of it."""
        said = await self.call("POST", f"/upload-sessions/{session['id']}/completion")
        return str(said["state"])

    async def status(self, session: Mapping[str, Any]) -> Any:
        return await self.call("GET", f"/upload-sessions/{session['id']}")

    async def work(self, session: Mapping[str, Any]) -> bytes:
        """A consumer leases the job, reads what was verified, and reports."""
        key = self.world.consumer_key
        said = await self.call("POST", "/jobs/lease", {"max": 1, "wait_seconds": 10, "worker": "w"}, key=key)
        (job,) = said["jobs"]
        assert job["id"] == session["id"]
        read = job["read"]
        async with self.http.get(yarl.URL(read["url"], encoded=True), headers=read["headers"]) as answer:
            assert answer.status == 200
            assert "attachment" in answer.headers["content-disposition"]
            body = await answer.read()
        lease = {"lease": job["lease"]["token"], "epoch": job["lease"]["epoch"]}
        report = {**lease, "outcome": "processed", "result": {"bytes": len(body)}}
        await self.call("POST", f"/jobs/{job['id']}/result", report, key=key)
        return body


@pytest.fixture
async def client(world: GcsWorld) -> AsyncIterator[Client]:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield Client(world, http)


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    ends = time.monotonic() + SECONDS
    while not await is_so():
        assert time.monotonic() < ends
        await asyncio.sleep(0.05)


def md5_of(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


async def test_one_signed_put_becomes_one_job_that_reads_the_same_bytes(client: Client) -> None:
    session = await client.mint(SMALL, checksum={"md5": md5_of(SMALL)}, object_metadata={"case": "17"})

    request = session["upload"]["request"]
    assert session["upload"]["strategy"] == "put"
    assert set(session["guarantees"].values()) == {"enforced"}
    parts = urlsplit(request["url"])
    assert f"{parts.scheme}://{parts.netloc}" == client.world.public
    assert parse_qs(parts.query)["X-Goog-Credential"][0].startswith(f"{WRITER}/")
    assert (await client.send(request, SMALL + b"!"))[0] == 400
    assert (await client.send(request, SMALL, content_type="text/html"))[0] == 403
    assert await client.hint(session) == "pending"
    assert (await client.send(request, SMALL))[0] == 200
    assert (await client.send(request, SMALL))[0] == 412
    await eventually(lambda: _hinted(client, session, "verified"))
    assert await client.work(session) == SMALL
    settled = await client.status(session)
    assert settled["state"] == "processed"
    assert settled["stored"]["version"].isdecimal()
    read = await client.call("GET", f"/upload-sessions/{session['id']}/content")
    query = parse_qs(urlsplit(read["url"]).query)
    assert query["generation"] == [settled["stored"]["version"]]
    assert query["X-Goog-Credential"][0].startswith(f"{READER}/")


async def test_a_resumable_upload_goes_on_where_it_broke_off_and_becomes_one_job(client: Client) -> None:
    session = await client.mint(LARGE, checksum={"md5": md5_of(LARGE)})

    upload = session["upload"]
    assert (upload["strategy"], upload["chunk_multiple_bytes"]) == ("resumable", CHUNK)
    assert session["guarantees"] == {
        "size": "at_head",
        "content_type": "at_head",
        "create_only": "at_head",
        "checksum": "at_head",
    }
    assert upload["request"]["url"].startswith(f"{client.world.public}/upload/storage/v1/b/{BUCKET}/o?")
    assert await client.piece(upload["request"], 0) == 308
    assert (await client.status(session))["offset_bytes"] == CHUNK
    again = await client.call("POST", f"/upload-sessions/{session['id']}/upload")
    assert again["upload"]["request"]["url"] == upload["request"]["url"]
    assert await client.piece(upload["request"], CHUNK) == 200
    await eventually(lambda: _hinted(client, session, "verified"))
    assert await client.work(session) == LARGE


async def test_what_readers_would_get_decompressed_is_never_a_job(client: Client) -> None:
    """Nobody signs for content-encoding, so Cloud Storage takes it; a reader would get other bytes than were judged."""
    session = await client.mint(SMALL)

    assert (await client.send(session["upload"]["request"], SMALL, content_encoding="gzip"))[0] == 200

    await eventually(lambda: _hinted(client, session, "rejected"))
    assert (await client.status(session))["reason"]["code"] == "content-type-mismatch"


@pytest.mark.parametrize("name", ["x_goog_meta_upload_session", "x_goog_hash"])
async def test_what_comes_with_the_last_bytes_is_not_believed(client: Client, name: str) -> None:
    """The holder of the URI may bring metadata and a digest of his own: a capsule that is none, another's checksum."""
    session = await client.mint(LARGE, strategy="resumable", checksum={"md5": md5_of(LARGE)})
    other = LARGE[::-1]
    body, word = (LARGE, "forged") if "meta" in name else (other, f"md5={md5_of(other)}")
    span = f"bytes 0-{len(body) - 1}/{len(body)}"

    await client.send(session["upload"]["request"], body, content_range=span, **{name: word})

    await eventually(lambda: _hinted(client, session, "rejected"))
    expected = "foreign-object" if "meta" in name else "checksum-mismatch"
    assert (await client.status(session))["reason"]["code"] == expected


async def test_a_strategy_that_the_store_has_not_is_refused(client: Client) -> None:
    wish = {"filename": "x", "size_bytes": 1, "strategy": "multipart"}
    refused = await client.call("POST", "/upload-sessions", wish, wants=422)
    assert refused["code"] == "strategy-too-weak"


async def test_at_its_deadline_an_upload_is_cancelled_and_nothing_more_can_come_by_it(client: Client) -> None:
    session = await client.mint(LARGE, destination="brief", strategy="resumable")
    request = session["upload"]["request"]
    assert await client.piece(request, 0) == 308

    await eventually(lambda: _is(client, session, "expired"))

    assert await client.piece(request, CHUNK) == 404
    assert (await client.status(session))["state"] == "expired"


async def test_an_upload_that_its_client_gives_up_is_cancelled(client: Client) -> None:
    session = await client.mint(LARGE, strategy="resumable")
    request = session["upload"]["request"]
    assert await client.piece(request, 0) == 308

    await client.call("DELETE", f"/upload-sessions/{session['id']}")

    async def is_dead() -> bool:
        status, _ = await client.send(request, b"", content_range=f"bytes */{len(LARGE)}")
        return status == 404

    await eventually(is_dead)
    assert await client.piece(request, CHUNK) == 404
    assert (await client.status(session))["state"] == "aborted"


async def test_a_page_uploads_from_the_origin_that_it_named_and_no_other_may(client: Client) -> None:
    session = await client.mint(LARGE, strategy="resumable", origin=PAGE)
    status, headers = await client.send(
        session["upload"]["request"], LARGE[:CHUNK], content_range=f"bytes 0-{CHUNK - 1}/{len(LARGE)}", origin=PAGE
    )
    assert (status, headers.get("Access-Control-Allow-Origin")) == (308, PAGE)
    wish = {"filename": "x", "size_bytes": len(LARGE), "strategy": "resumable", "origin": "https://evil.example"}
    refused = await client.call("POST", "/upload-sessions", wish, wants=422)
    assert refused["code"] == "origin-not-allowed"


async def test_while_iam_signs_nothing_more_a_resumable_upload_needs_no_signature(client: Client) -> None:
    async def faults(**settings: object) -> None:
        async with client.http.put(f"{client.world.iam.endpoint}/_emulator/faults", json=settings) as answer:
            assert answer.status == 200, await answer.text()

    await faults(routes=["signBlob"], exhausted=1.0)
    try:
        session = await client.mint(SMALL)
        assert session["upload"]["strategy"] == "resumable"
        wish = {"filename": "x", "size_bytes": 1, "strategy": "put"}
        refused = await client.call("POST", "/upload-sessions", wish, wants=429)
        assert refused["code"] == "signing-quota-exhausted"
    finally:
        await faults()
    end = f"bytes 0-{len(SMALL) - 1}/{len(SMALL)}"
    assert (await client.send(session["upload"]["request"], SMALL, content_range=end))[0] == 200
    await eventually(lambda: _hinted(client, session, "verified"))
    assert await client.work(session) == SMALL


async def test_no_session_uri_and_no_token_is_left_in_ledger_or_log(client: Client) -> None:
    session = await client.mint(LARGE, strategy="resumable")
    secret = parse_qs(urlsplit(session["upload"]["request"]["url"]).query)["upload_id"][0].encode()

    await client.status(session)
    await client.hint(session)

    files = [path for path in client.world.directory.rglob("*") if path.is_file()]
    kept = b"".join(path.read_bytes() for path in files)
    assert session["id"].encode() in kept, "else nothing was looked at"
    assert secret not in kept
    assert b"Bearer " not in client.world.broker.log.read_bytes()


async def _is(client: Client, session: Mapping[str, Any], state: str) -> bool:
    return bool((await client.status(session))["state"] == state)


async def _hinted(client: Client, session: Mapping[str, Any], state: str) -> bool:
    """One look a second follows hints; earlier ones are told the state as it is."""
    return await client.hint(session) == state
