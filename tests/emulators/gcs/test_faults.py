"""Each misbehaviour is the one that was asked for; the ambiguous commit above all."""

import json
import socket
import time
from collections.abc import Callable

import pytest

from emulators.gcs.process import GcsProcess
from tests.emulators.gcs.conftest import (
    ADMIN,
    CHUNK,
    WRITER,
    Api,
    counters,
    faults,
    insert_path,
    object_path,
    reason,
    received,
)
from tests.emulators.gcs.signing import Signer
from tests.emulators.wire import Answer, Wire, exchange


@pytest.fixture
def session(gcs: GcsProcess, api: Api, name: str) -> Callable[..., Answer]:
    location = api("POST", insert_path(name, kind="resumable"), WRITER, {}).headers["location"]

    def put(body: bytes = b"", span: str | None = None) -> Answer:
        headers = {"content-range": f"bytes {span}"} if span else {}
        return exchange(gcs.endpoint, "PUT", location.removeprefix(gcs.endpoint), headers, body)

    return put


@pytest.mark.parametrize(
    ("fault", "told"), [("unavailable", (503, "backendError")), ("rate_limited", (429, "rateLimitExceeded"))]
)
def test_nothing_is_done_when_it_is_said_so(
    gcs: GcsProcess, session: Callable[..., Answer], name: str, fault: str, told: tuple[int, str]
) -> None:
    faults(gcs, **{fault: 1})
    assert reason(session(b"12345")) == told
    faults(gcs)
    assert session(span="*/5").status == 308
    assert received(gcs, name) == 0


def test_commit_can_be_answered_with_503(gcs: GcsProcess, session: Callable[..., Answer], api: Api, name: str) -> None:
    faults(gcs, unavailable_after_commit=1)
    assert reason(session(b"12345")) == (503, "backendError")
    faults(gcs)
    assert json.loads(session(span="*/5").body)["size"] == "5"
    assert api("GET", object_path(name, query="alt=media")).body == b"12345"


def test_commit_can_go_unanswered(gcs: GcsProcess, signer: Signer, api: Api, name: str) -> None:
    once = {"x-goog-if-generation-match": "0"}
    target = signer.sign("PUT", f"/uploads/{name}", once)
    faults(gcs, response_lost=1)
    with pytest.raises(ConnectionResetError):
        exchange(gcs.endpoint, "PUT", target, once, b"12345")
    faults(gcs)
    assert exchange(gcs.endpoint, "PUT", target, once, b"12345").code == "PreconditionFailed"
    assert api("GET", object_path(name, query="alt=media")).body == b"12345"


def test_answer_of_a_commit_can_break_off(gcs: GcsProcess, session: Callable[..., Answer], api: Api, name: str) -> None:
    faults(gcs, truncated_answer=1)
    answer = session(b"12345")
    assert answer.status == 200
    assert 0 < len(answer.body) < int(answer.headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)
    assert api("GET", object_path(name)).status == 200


def test_answer_of_a_commit_can_take_its_time(
    gcs: GcsProcess, session: Callable[..., Answer], api: Api, name: str
) -> None:
    faults(gcs, answer_stalled=1, stall_seconds=0.5)
    start = time.monotonic()
    assert session(b"12345").status == 200
    assert time.monotonic() - start >= 0.5
    assert api("GET", object_path(name)).status == 200


def test_upload_can_stall_half_way(gcs: GcsProcess, session: Callable[..., Answer]) -> None:
    faults(gcs, stalled=1, stall_seconds=0.5)
    start = time.monotonic()
    assert session(b"x" * 4 * CHUNK).status == 200
    assert time.monotonic() - start >= 0.5


def test_upload_can_be_reset_half_way_and_keeps_what_came(
    gcs: GcsProcess, session: Callable[..., Answer], api: Api, name: str
) -> None:
    data = bytes(range(256)) * (16 * CHUNK // 256)
    faults(gcs, reset_uploads=1)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        session(data)
    faults(gcs)
    kept = int(session(span=f"*/{len(data)}").headers["range"].removeprefix("bytes=0-")) + 1
    assert kept % CHUNK == 0
    assert 4 * CHUNK <= kept <= 8 * CHUNK
    assert session(data[kept:], f"{kept}-{len(data) - 1}/{len(data)}").status == 200
    assert api("GET", object_path(name, query="alt=media")).body == data


def test_signed_put_that_is_reset_stores_nothing(gcs: GcsProcess, signer: Signer, api: Api, name: str) -> None:
    faults(gcs, reset_uploads=1)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        exchange(gcs.endpoint, "PUT", signer.sign("PUT", f"/uploads/{name}"), body=b"x" * 16 * CHUNK)
    assert api("GET", object_path(name)).status == 404


@pytest.mark.parametrize("fault", ["reset_downloads", "truncated"])
def test_download_can_break_off(gcs: GcsProcess, api: Api, name: str, fault: str) -> None:
    api("POST", insert_path(name), ADMIN, b"x" * 8 * CHUNK)
    faults(gcs, **{fault: 1})
    try:
        body = api("GET", object_path(name, query="alt=media")).body
    except ConnectionResetError:
        body = b""
    assert len(body) < 8 * CHUNK
    assert counters(gcs)["faults"][fault] >= 1


def test_bodies_can_be_slow(gcs: GcsProcess, session: Callable[..., Answer]) -> None:
    faults(gcs, slow_bytes_per_second=CHUNK * 4)
    start = time.monotonic()
    assert session(b"x" * 2 * CHUNK).status == 200
    assert time.monotonic() - start > 0.3


def test_same_seed_fails_the_same_requests(gcs: GcsProcess, api: Api, name: str) -> None:
    seen = []
    for _ in range(2):
        faults(gcs, unavailable=0.5, seed=11)
        seen.append([api("GET", object_path(name)).status for _ in range(20)])
    assert seen[0] == seen[1]
    assert set(seen[0]) == {404, 503}


def test_nonsense_is_no_fault(gcs: GcsProcess) -> None:
    for body in (b'{"nonsense": 1}', b"{", b'{"unavailable": 2}'):
        assert exchange(gcs.endpoint, "PUT", "/_emulator/faults", body=body).status == 422
    assert exchange(gcs.endpoint, "GET", "/_emulator/nowhere").status == 404


def test_counters_say_what_came_for_which_object(gcs: GcsProcess, session: Callable[..., Answer], name: str) -> None:
    before = counters(gcs)["requests"].get("session.put", 0)
    session(b"x" * CHUNK, f"0-{CHUNK - 1}/*")
    session(b"x" * CHUNK, f"0-{CHUNK - 1}/*")
    assert received(gcs, name) == 2 * CHUNK
    assert counters(gcs)["requests"]["session.put"] == before + 2


def test_silent_client_is_let_go_and_no_request_makes_a_500(gcs: GcsProcess) -> None:
    lines = (
        b"PUT /upload/storage/v1/b/uploads/o?upload_id=%00 HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"GET /storage/v1/b/%00/o/%00 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /storage/v1/b/uploads/o/%ED%A0%80 HTTP/1.1\r\nhost: x\r\n\r\n",
        b"PUT /uploads/k?X-Goog-Signature=%ff HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n",
        b"POST /upload/storage/v1/b/uploads/o?uploadType=media&name=k HTTP/1.1\r\nhost: x\r\n\r\n",
        b"OPTIONS /%ff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET //// HTTP/1.1\r\nhost: x\r\nauthorization: Bearer \xff\xfe\r\n\r\n",
        b"GET /uploads/k HTTP/1.1\r\n\r\n",
    )
    for line in lines:
        with Wire(gcs.endpoint) as wire:
            wire.send(line)
            assert 400 <= wire.read().status < 500, line
    with socket.create_connection(("127.0.0.1", int(gcs.endpoint.rpartition(":")[2]))):
        pass
    assert "InternalError" not in counters(gcs)["refused"]
