"""Resumable uploads: what a session takes, what it refuses, and what it says of itself."""

import base64
import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emulators import checksums
from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess
from tests.emulators.gcs.conftest import (
    ADMIN,
    CHUNK,
    GRANTS,
    JANITOR,
    READER,
    WRITER,
    Api,
    Tokens,
    api_of,
    faults,
    insert_path,
    object_path,
    reason,
    received,
    signer_of,
    until,
)
from tests.emulators.gcs.signing import Signer
from tests.emulators.wire import Answer, Wire, exchange

ORIGIN = "https://app.example.com"


def crc32c_of(data: bytes) -> str:
    digest = checksums.new("crc32c")
    digest.update(data)
    return base64.b64encode(digest.digest()).decode()


@dataclass(frozen=True)
class Session:
    process: GcsProcess
    target: str

    def put(self, data: bytes = b"", span: str | None = None, headers: Mapping[str, str] | None = None) -> Answer:
        ranged = {} if span is None else {"content-range": f"bytes {span}"}
        return exchange(self.process.endpoint, "PUT", self.target, {**ranged, **(headers or {})}, data)

    def ask(self, total: str = "*") -> Answer:
        return self.put(span=f"*/{total}")

    def cancel(self) -> Answer:
        return exchange(self.process.endpoint, "DELETE", self.target, {"content-length": "0"})


Open = Callable[..., Session]


def opened(process: GcsProcess, answer: Answer, status: int = 200) -> Session:
    assert answer.status == status, answer.body
    assert answer.headers["location"].startswith(process.endpoint)
    return Session(process, answer.headers["location"].removeprefix(process.endpoint))


@pytest.fixture
def open_(gcs: GcsProcess, api: Api, name: str) -> Open:
    return opener(gcs, api, name)


def opener(process: GcsProcess, api: Api, name: str) -> Open:
    def make(resource: dict[str, Any] | None = None, email: str = WRITER, query: str = "", **headers: str) -> Session:
        sent = {header.replace("_", "-"): value for header, value in headers.items()}
        path = insert_path(name, kind="resumable", query=query)
        return opened(process, api("POST", path, email, resource or {}, sent))

    return make


def stored(api: Api, name: str) -> bytes | None:
    answer = api("GET", object_path(name, query="alt=media"))
    return answer.body if answer.status == 200 else None


def test_chunks_become_one_object(open_: Open, api: Api, name: str) -> None:
    data = secrets.token_bytes(2 * CHUNK + 7)
    session = open_({"metadata": {"upload-session": "capsule"}}, x_upload_content_type="text/csv")
    assert (session.ask().status, "range" in session.ask().headers) == (308, False)
    first = session.put(data[:CHUNK], f"0-{CHUNK - 1}/*")
    assert (first.status, first.headers["range"]) == (308, f"bytes=0-{CHUNK - 1}")
    assert stored(api, name) is None
    assert session.put(data[CHUNK : 2 * CHUNK], f"{CHUNK}-{2 * CHUNK - 1}/{len(data)}").status == 308
    assert session.ask(str(len(data))).headers["range"] == f"bytes=0-{2 * CHUNK - 1}"
    done = session.put(data[2 * CHUNK :], f"{2 * CHUNK}-{len(data) - 1}/{len(data)}")
    seen = json.loads(done.body)
    assert (done.status, seen["name"], seen["size"], seen["contentType"]) == (200, name, str(len(data)), "text/csv")
    assert seen["metadata"] == {"upload-session": "capsule"}
    assert seen["crc32c"] == crc32c_of(data)
    assert base64.b64decode(seen["md5Hash"]) == hashlib.md5(data, usedforsecurity=False).digest()
    assert stored(api, name) == data


def test_finished_session_says_so_again_and_makes_nothing_twice(open_: Open, api: Api, name: str) -> None:
    session = open_(query="ifGenerationMatch=0")
    done = session.put(b"12345")
    assert done.status == 200
    for again in (session.ask("5"), session.ask(), session.put(b"12345"), session.put(b"12345", "0-4/5")):
        assert (again.status, json.loads(again.body)["generation"]) == (200, json.loads(done.body)["generation"])
    listed = json.loads(api("GET", f"/storage/v1/b/uploads/o?prefix={name}&versions=true").body)
    assert len(listed["items"]) == 1


@pytest.mark.parametrize("span", [None, "*/0"])
def test_object_of_no_bytes(open_: Open, api: Api, name: str, span: str | None) -> None:
    answer = open_().put(b"", span)
    assert (answer.status, json.loads(answer.body)["size"]) == (200, "0")
    assert stored(api, name) == b""


def test_gap_is_refused_in_plain_text_and_what_is_there_already_is_ignored(open_: Open, api: Api, name: str) -> None:
    data = secrets.token_bytes(3 * CHUNK)
    session = open_()
    gap = session.put(data[CHUNK : 2 * CHUNK], f"{CHUNK}-{2 * CHUNK - 1}/*")
    assert (gap.status, gap.headers["content-type"]) == (503, "text/plain; charset=utf-8")
    assert b"upload offset is 262144 byte(s), which exceeds already uploaded size of 0 byte(s)" in gap.body
    assert session.put(data[: 2 * CHUNK], f"0-{2 * CHUNK - 1}/*").status == 308
    overlap = session.put(b"?" * CHUNK + data[2 * CHUNK :], f"{CHUNK}-{3 * CHUNK - 1}/{3 * CHUNK}")
    assert overlap.status == 200
    assert stored(api, name) == data


def test_only_the_last_chunk_may_be_short_or_uneven(open_: Open) -> None:
    session = open_()
    short = session.put(b"x" * 10, "0-9/*")
    assert reason(short) == (400, "invalid")
    assert b"required to be equal or greater than 262144" in short.body
    uneven = session.put(b"x" * (CHUNK + 10), f"0-{CHUNK + 9}/*")
    assert (uneven.status, uneven.headers["range"]) == (308, f"bytes=0-{CHUNK - 1}")


@pytest.mark.parametrize(
    "span", ["0-4/4", "5-4/10", "0-9/10", "0-4", "a-b/c", "0-4/99999999999999999999", "0-1/5", "-4/5"]
)
def test_range_that_contradicts_itself_or_the_body_is_refused(open_: Open, span: str) -> None:
    assert reason(open_().put(b"12345", span)) == (400, "invalid")


def test_declared_size_is_held_to(open_: Open, api: Api, name: str) -> None:
    session = open_(x_upload_content_length="5")
    for refused in (session.put(b"123456"), session.put(b"1234"), session.ask("6"), session.put(b"x" * 6, "0-5/*")):
        assert reason(refused) == (400, "invalid")
    assert stored(api, name) is None
    assert session.put(b"12345").status == 200


def test_lax_emulator_takes_bytes_beyond_the_declared_size(
    iam: GoogleIamProcess, token: Tokens, tmp_path: Path
) -> None:
    with start_gcs(iam=iam.endpoint, data=tmp_path, grants=GRANTS[:4], arguments=["--lax-resumable-size"]) as lax:
        session = opener(lax, api_of(lax, token), "k")(x_upload_content_length="5")
        assert session.put(b"123456").status == 200


@pytest.mark.parametrize("digest", [{"crc32c": "AAAAAA=="}, {"md5Hash": "AAAAAAAAAAAAAAAAAAAAAA=="}])
def test_declared_digest_is_enforced_and_the_session_ends(
    open_: Open, api: Api, name: str, digest: dict[str, str]
) -> None:
    session = open_(digest)
    assert reason(session.put(b"12345")) == (400, "invalid")
    assert stored(api, name) is None
    assert session.ask().status == 404
    assert open_({"crc32c": crc32c_of(b"12345")}).put(b"12345").status == 200


def test_last_request_may_bring_digest_and_metadata(open_: Open, name: str) -> None:
    """So metadata is no identity: who holds the session URI writes it."""
    assert reason(open_().put(b"12345", headers={"x-goog-hash": "crc32c=AAAAAA=="})) == (400, "invalid")
    session = open_({"metadata": {"upload-session": "capsule", "kept": "1"}})
    done = session.put(b"12345", headers={"x-goog-meta-upload-session": "forged", "x-goog-hash": "crc32c=GNEjNQ=="})
    assert json.loads(done.body)["metadata"] == {"upload-session": "forged", "kept": "1"}
    assert name in json.loads(done.body)["id"]


def test_precondition_is_judged_at_the_end(open_: Open, api: Api, name: str) -> None:
    session, rival = open_(query="ifGenerationMatch=0"), open_(query="ifGenerationMatch=0")
    assert session.put(b"x" * CHUNK, f"0-{CHUNK - 1}/*").status == 308
    assert rival.put(b"rival").status == 200
    late = open_(query="ifGenerationMatch=0")
    for loser in (session.put(b"end", f"{CHUNK}-{CHUNK + 2}/{CHUNK + 3}"), session.ask(str(CHUNK + 3)), late.put(b"x")):
        assert reason(loser) == (412, "conditionNotMet")
    assert stored(api, name) == b"rival"


def test_replacing_takes_the_right_to_delete(open_: Open, api: Api, name: str) -> None:
    assert open_().put(b"first").status == 200
    assert reason(open_().put(b"second")) == (403, "forbidden")
    assert open_(email=ADMIN).put(b"third").status == 200
    assert stored(api, name) == b"third"


def test_cancelled_session_is_gone(open_: Open, api: Api, name: str) -> None:
    session = open_()
    assert session.put(b"x" * CHUNK, f"0-{CHUNK - 1}/*").status == 308
    assert session.cancel().status == 499
    for answer in (session.ask(), session.put(b"x" * CHUNK, f"0-{CHUNK - 1}/{CHUNK}"), session.cancel()):
        assert reason(answer) == (404, "notFound")
    assert stored(api, name) is None


def test_cancelling_ends_a_request_that_is_under_way(open_: Open, gcs: GcsProcess, api: Api, name: str) -> None:
    session = open_()
    with Wire(gcs.endpoint) as wire:
        head = [("host", wire.host), ("content-length", "9")]
        wire.send_head("PUT", session.target, head)
        wire.send(b"half")
        until(lambda: received(gcs, name) >= 4)
        assert session.cancel().status == 499
        assert wire.is_ended()
    assert stored(api, name) is None


def test_finished_session_cannot_be_cancelled(open_: Open, api: Api, name: str) -> None:
    session = open_()
    assert session.put(b"12345").status == 200
    assert session.cancel().status == 404
    assert stored(api, name) == b"12345"


def test_session_ends_with_its_week(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    with start_gcs(iam=iam.endpoint, data=tmp_path, grants=GRANTS[:4], arguments=["--session-seconds=0"]) as old:
        session = opener(old, api_of(old, token), "k")()
        assert reason(session.put(b"12345")) == (410, "gone")


def test_id_is_a_secret_that_fits_its_own_bucket_only(open_: Open, gcs: GcsProcess) -> None:
    session = open_()
    assert len(session.target.partition("upload_id=")[2]) >= 43
    elsewhere = session.target.replace("/b/uploads/", "/b/others/")
    guessed = session.target[:-1] + ("A" if session.target[-1] != "A" else "B")
    xml = "/uploads/k?" + session.target.partition("?")[2]
    for target in (elsewhere, guessed, xml):
        assert Session(gcs, target).put(b"12345").status == 404
    assert session.put(b"12345").status == 200


@pytest.mark.parametrize("email", [READER, JANITOR])
def test_opening_takes_the_right_to_create(api: Api, name: str, email: str) -> None:
    assert reason(api("POST", insert_path(name, kind="resumable"), email, {})) == (403, "forbidden")


def test_opening_anonymously_or_for_nothing_is_refused(api: Api, name: str) -> None:
    assert reason(api("POST", insert_path(name, kind="resumable"), None, {})) == (401, "required")
    assert reason(api("POST", insert_path("", kind="resumable"), WRITER, {})) == (400, "invalid")
    for wrong in ({"name": "another"}, {"metadata": "x"}, {"crc32c": "AA"}):
        assert reason(api("POST", insert_path(name, kind="resumable"), WRITER, wrong)) == (400, "invalid")
    assert reason(api("POST", insert_path(name, kind="resumable"), WRITER, {"acl": []})) == (501, "notImplemented")


def test_client_may_ask_for_another_status_than_308(open_: Open) -> None:
    answer = open_().put(b"x" * CHUNK, f"0-{CHUNK - 1}/*", {"x-guploader-no-308": "yes"})
    assert (answer.status, answer.headers["x-http-status-code-override"]) == (200, "308")
    assert answer.headers["range"] == f"bytes=0-{CHUNK - 1}"


def test_what_arrived_before_the_break_is_kept_in_whole_multiples(
    open_: Open, gcs: GcsProcess, api: Api, name: str
) -> None:
    data = secrets.token_bytes(3 * CHUNK + 5)
    session = open_()
    with Wire(gcs.endpoint) as wire:
        wire.send_head("PUT", session.target, [("host", wire.host), ("content-length", str(len(data)))])
        wire.send(data[: 2 * CHUNK + 100])
        until(lambda: received(gcs, name) >= 2 * CHUNK + 100)
    until(lambda: "range" in session.ask().headers)
    assert session.ask().headers["range"] == f"bytes=0-{2 * CHUNK - 1}"
    done = session.put(data[2 * CHUNK :], f"{2 * CHUNK}-{len(data) - 1}/{len(data)}")
    assert (done.status, stored(api, name)) == (200, data)


def test_the_newest_connection_takes_over(open_: Open, gcs: GcsProcess, api: Api, name: str) -> None:
    """A client that gave one up sends again; the old one can add nothing any more."""
    data = secrets.token_bytes(2 * CHUNK)
    session = open_()
    with Wire(gcs.endpoint) as stale:
        stale.send_head("PUT", session.target, [("host", stale.host), ("content-length", str(len(data)))])
        stale.send(b"?" * (CHUNK + 1))
        until(lambda: received(gcs, name) > CHUNK)
        assert session.put(data, f"0-{len(data) - 1}/{len(data)}").status == 200
        assert stale.is_ended()
    assert stored(api, name) == data


def test_signed_post_opens_a_session(
    iam: GoogleIamProcess, gcs: GcsProcess, signer: Signer, api: Api, name: str
) -> None:
    start = {"x-goog-resumable": "start", "content-type": "text/csv", "x-goog-content-length-range": "5,5"}
    target = signer.sign("POST", f"/uploads/{name}", start)
    session = opened(gcs, exchange(gcs.endpoint, "POST", target, start), 201)
    assert session.put(b"123456").code == "EntityTooLarge"
    assert session.put(b"1234").code == "EntityTooSmall"
    done = session.put(b"12345")
    assert (done.status, done.body, done.headers["x-goog-stored-content-length"]) == (200, b"", "5")
    assert json.loads(api("GET", object_path(name)).body)["contentType"] == "text/csv"
    stranger = signer_of(iam, gcs, READER).sign("POST", f"/uploads/{name}", start)
    assert exchange(gcs.endpoint, "POST", stranger, start).code == "AccessDenied"
    bare = signer.sign("POST", f"/uploads/{name}")
    assert exchange(gcs.endpoint, "POST", bare).code == "InvalidArgument"


def test_only_the_page_that_was_named_may_read_the_answers(open_: Open, gcs: GcsProcess) -> None:
    session = open_(origin=ORIGIN)

    def asked(origin: str) -> Answer:
        headers = {"origin": origin, "access-control-request-method": "PUT"}
        headers["access-control-request-headers"] = "content-range,content-type"
        return exchange(gcs.endpoint, "OPTIONS", session.target, headers)

    assert asked(ORIGIN).headers["access-control-allow-origin"] == ORIGIN
    assert "content-range" in asked(ORIGIN).headers["access-control-allow-headers"]
    assert "PUT" in asked(ORIGIN).headers["access-control-allow-methods"]
    assert "access-control-allow-origin" not in asked("https://evil.example.com").headers
    theirs = session.put(b"x" * CHUNK, f"0-{CHUNK - 1}/*", {"origin": "https://evil.example.com"})
    assert "access-control-allow-origin" not in theirs.headers
    ours = session.put(b"x" * CHUNK, f"{CHUNK}-{2 * CHUNK - 1}/*", {"origin": ORIGIN})
    assert ours.headers["access-control-allow-origin"] == ORIGIN
    assert "Range" in ours.headers["access-control-expose-headers"]


def test_session_without_an_origin_is_for_no_page(open_: Open, gcs: GcsProcess) -> None:
    headers = {"origin": ORIGIN, "access-control-request-method": "PUT"}
    answer = exchange(gcs.endpoint, "OPTIONS", open_().target, headers)
    assert (answer.status, "access-control-allow-origin" in answer.headers) == (200, False)


def test_fewer_bytes_can_be_kept_than_were_sent(open_: Open, gcs: GcsProcess, api: Api, name: str) -> None:
    data = secrets.token_bytes(4 * CHUNK)
    session = open_()
    faults(gcs, kept_fewer=1)
    answer = session.put(data, f"0-{len(data) - 1}/{len(data)}")
    assert (answer.status, answer.headers["range"]) == (308, f"bytes=0-{2 * CHUNK - 1}")
    faults(gcs)
    assert session.put(data[2 * CHUNK :], f"{2 * CHUNK}-{len(data) - 1}/{len(data)}").status == 200
    assert stored(api, name) == data
    assert received(gcs, name) == 6 * CHUNK
