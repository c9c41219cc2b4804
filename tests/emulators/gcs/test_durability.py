"""What was answered with 200 survives; what was kept of an upload does, too; memory does not grow with the object."""

import hashlib
import json
import secrets
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess
from tests.emulators.gcs.conftest import (
    ADMIN,
    CHUNK,
    EVERYTHING,
    Tokens,
    api_of,
    counters,
    insert_path,
    object_path,
    received,
    until,
)
from tests.emulators.wire import Answer, Wire, exchange

MIB = 2**20
GRANTS = (f"uploads:{ADMIN}={EVERYTHING}",)


def start(iam: GoogleIamProcess, data: Path, *arguments: str) -> GcsProcess:
    return start_gcs(iam=iam.endpoint, data=data, grants=GRANTS, arguments=arguments)


def blobs(data: Path) -> int:
    return sum(1 for _ in (data / "blobs").glob("??/*"))


def session(process: GcsProcess, token: Tokens, name: str) -> str:
    location = api_of(process, token)("POST", insert_path(name, kind="resumable"), ADMIN, {}).headers["location"]
    return location.removeprefix(process.endpoint)


def put(process: GcsProcess, target: str, span: str, body: bytes = b"") -> Answer:
    return exchange(process.endpoint, "PUT", target, {"content-range": f"bytes {span}"}, body)


def kept(answer: Answer) -> int:
    assert answer.status == 308, answer.body
    return int(answer.headers["range"].removeprefix("bytes=0-")) + 1 if "range" in answer.headers else 0


def test_objects_and_sessions_survive_a_kill(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    data = secrets.token_bytes(20 * MIB)
    with start(iam, tmp_path) as gcs:
        assert api_of(gcs, token)("POST", insert_path("k"), ADMIN, b"kept" * 100_000).status == 200
        target = session(gcs, token, "big")
        assert put(gcs, target, f"0-{CHUNK - 1}/*", data[:CHUNK]).status == 308
        with Wire(gcs.endpoint) as wire:
            head = [("host", wire.host), ("content-length", str(len(data) - CHUNK))]
            head.append(("content-range", f"bytes {CHUNK}-{len(data) - 1}/{len(data)}"))
            wire.send_head("PUT", target, head)
            wire.send(data[CHUNK : 18 * MIB])
            until(lambda: kept(put(gcs, target, "*/*")) > 16 * MIB)
            gcs.kill()
    (tmp_path / "blobs" / "00" / "00orphan").write_bytes(b"left by a crash between rename and commit")
    with start(iam, tmp_path) as gcs:
        assert api_of(gcs, token)("GET", object_path("k", query="alt=media")).body == b"kept" * 100_000
        offset = kept(put(gcs, target, f"*/{len(data)}"))
        assert 16 * MIB < offset <= 18 * MIB
        done = put(gcs, target, f"{offset}-{len(data) - 1}/{len(data)}", data[offset:])
        assert json.loads(done.body)["size"] == str(len(data))
        assert api_of(gcs, token)("GET", object_path("big", query="alt=media")).body == data
        gcs.kill()
    with start(iam, tmp_path) as gcs:
        again = put(gcs, target, f"*/{len(data)}")
        assert json.loads(again.body)["generation"] == json.loads(done.body)["generation"]
        listed = json.loads(api_of(gcs, token)("GET", "/storage/v1/b/uploads/o").body)["items"]
        assert [each["name"] for each in listed] == ["big", "k"]
        assert not (tmp_path / "blobs" / "00" / "00orphan").exists()


def test_kill_between_the_last_byte_and_the_object_is_mended_by_asking(
    iam: GoogleIamProcess, token: Tokens, tmp_path: Path
) -> None:
    """All bytes are there, the client knows how many: that question makes the object."""
    with start(iam, tmp_path) as gcs:
        target = session(gcs, token, "k")
        assert put(gcs, target, f"0-{CHUNK - 1}/*", b"x" * CHUNK).status == 308
        gcs.kill()
    with start(iam, tmp_path) as gcs:
        assert put(gcs, target, f"*/{CHUNK}").status == 200
        assert api_of(gcs, token)("GET", object_path("k", query="alt=media")).body == b"x" * CHUNK


def test_generations_rise_over_a_restart(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    seen = []
    for _ in range(3):
        with start(iam, tmp_path) as gcs:
            answer = api_of(gcs, token)("POST", insert_path("k"), ADMIN, b"1")
            seen.append(int(json.loads(answer.body)["generation"]))
    assert seen == sorted(set(seen))


def test_nothing_is_left_of_what_ended(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    with start(iam, tmp_path, "--fsync") as gcs:
        target = session(gcs, token, "k")
        assert put(gcs, target, f"0-{CHUNK - 1}/*", b"x" * CHUNK).status == 308
        assert exchange(gcs.endpoint, "DELETE", target).status == 499
        api = api_of(gcs, token)
        assert api("POST", insert_path("k"), ADMIN, b"1").status == 200
        assert api("DELETE", object_path("k")).status == 204
        assert api("POST", insert_path("k"), ADMIN, b"1", {"x-goog-hash": "crc32c=AAAAAA=="}).status == 400
        assert (list((tmp_path / "incoming").iterdir()), blobs(tmp_path)) == ([], 0)


def test_stalled_upload_is_ended_and_keeps_what_came(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    with start(iam, tmp_path, "--idle-timeout=0.3") as gcs, Wire(gcs.endpoint) as wire:
        target = session(gcs, token, "k")
        wire.send_head("PUT", target, [("host", wire.host), ("content-length", str(9 * CHUNK))])
        wire.send(b"x" * (CHUNK + 5))
        assert wire.read().status == 408
        assert kept(put(gcs, target, "*/*")) == CHUNK


def test_directory_is_used_by_one_process(iam: GoogleIamProcess, tmp_path: Path) -> None:
    with start(iam, tmp_path), pytest.raises(RuntimeError, match="status 1"):
        start_gcs(iam=iam.endpoint, data=tmp_path, stderr=subprocess.DEVNULL)


@pytest.fixture(scope="module")
def big(iam: GoogleIamProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GcsProcess]:
    with start(iam, tmp_path_factory.mktemp("big")) as process:
        yield process


def test_memory_stays_flat_while_a_large_object_passes(big: GcsProcess, token: Tokens) -> None:
    piece, count = bytes(range(256)) * 4096, 256
    watched = psutil.Process(big.pid)
    target, digest = session(big, token, "big"), hashlib.sha256()
    before = peak = watched.memory_info().rss
    with Wire(big.endpoint) as wire:
        wire.send_head("PUT", target, [("host", wire.host), ("content-length", str(len(piece) * count))])
        for _ in range(count):
            wire.send(piece)
            peak = max(peak, watched.memory_info().rss)
        assert wire.read().status == 200
        bearer = f"Bearer {token(ADMIN)}"
        wire.send_head("GET", object_path("big", query="alt=media"), [("host", wire.host), ("authorization", bearer)])
        while wire._file.readline() != b"\r\n":
            pass
        for _ in range(count):
            digest.update(wire._file.read(len(piece)))
            peak = max(peak, watched.memory_info().rss)
    assert digest.hexdigest() == hashlib.sha256(piece * count).hexdigest()
    assert peak - before < 40 * MIB
    assert peak < 120 * MIB


def test_many_upload_at_once(big: GcsProcess, token: Tokens) -> None:
    def upload(number: int) -> bool:
        data = secrets.token_bytes(2 * CHUNK + number)
        name = f"many/{number}"
        target = session(big, token, name)
        assert put(big, target, f"0-{CHUNK - 1}/*", data[:CHUNK]).status == 308
        assert put(big, target, f"{CHUNK}-{len(data) - 1}/{len(data)}", data[CHUNK:]).status == 200
        read = api_of(big, token)("GET", object_path(name, query="alt=media")).body
        return read == data and received(big, name) == len(data)

    token(ADMIN)
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(upload, range(64)))


def test_of_many_that_create_the_same_object_one_succeeds(big: GcsProcess, token: Tokens) -> None:
    query = "ifGenerationMatch=0"

    def create(number: int) -> int:
        path = insert_path("one", kind="resumable", query=query)
        location = api_of(big, token)("POST", path, ADMIN, {}).headers["location"]
        body = f"{number}".encode() * 1000
        return exchange(big.endpoint, "PUT", location.removeprefix(big.endpoint), body=body).status

    token(ADMIN)
    with ThreadPoolExecutor(16) as pool:
        statuses = list(pool.map(create, range(32)))
    assert sorted(statuses) == [200] + [412] * 31
    assert "InternalError" not in counters(big)["refused"]
