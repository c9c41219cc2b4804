"""Objects of the JSON API: generations, preconditions, listings, rights, and refusals in Google's words."""

import base64
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess
from tests.emulators.gcs.conftest import (
    ADMIN,
    GRANTS,
    JANITOR,
    READER,
    STRANGER,
    WRITER,
    Api,
    Tokens,
    api_of,
    insert_path,
    object_path,
    reason,
)
from tests.emulators.wire import Answer, exchange

Insert = Callable[..., dict[str, Any]]


@pytest.fixture
def insert(api: Api) -> Insert:
    def make(name: str, body: bytes = b"12345", bucket: str = "uploads", query: str = "") -> dict[str, Any]:
        answer = api("POST", insert_path(name, bucket, query=query), ADMIN, body)
        assert answer.status == 200, answer.body
        resource: dict[str, Any] = json.loads(answer.body)
        return resource

    return make


def listed(api: Api, query: str, bucket: str = "uploads") -> dict[str, Any]:
    answer = api("GET", f"/storage/v1/b/{bucket}/o?{query}")
    assert answer.status == 200, answer.body
    page: dict[str, Any] = json.loads(answer.body)
    return page


def names(page: dict[str, Any]) -> list[str]:
    return [each["name"] for each in page.get("items", ())]


def test_resource_has_the_shape_that_clients_expect(insert: Insert, name: str, gcs: GcsProcess) -> None:
    seen = insert(name)
    assert (seen["kind"], seen["bucket"], seen["name"]) == ("storage#object", "uploads", name)
    assert (seen["size"], seen["metageneration"], seen["crc32c"]) == ("5", "1", "GNEjNQ==")
    assert abs(int(seen["generation"]) / 1_000_000 - time.time()) < 60
    assert seen["id"] == f"uploads/{name}/{seen['generation']}"
    assert seen["selfLink"] == f"{gcs.endpoint}{object_path(name)}"
    assert base64.b64decode(seen["etag"]).endswith(b"\x10\x01")


def test_generations_only_rise(insert: Insert, name: str) -> None:
    generations = [int(insert(name)["generation"]) for _ in range(5)]
    assert generations == sorted(set(generations))


@pytest.mark.parametrize(
    ("method", "query", "status"),
    [
        ("GET", "ifGenerationMatch={generation}", 200),
        ("GET", "ifGenerationMatch=1", 412),
        ("GET", "ifGenerationMatch=0", 412),
        ("GET", "ifGenerationNotMatch={generation}", 304),
        ("GET", "ifMetagenerationMatch=1", 200),
        ("GET", "ifMetagenerationMatch=2", 412),
        ("GET", "ifMetagenerationNotMatch=1", 304),
        ("GET", "generation={generation}", 200),
        ("GET", "generation=1", 404),
        ("GET", "generation=x", 400),
        ("DELETE", "ifGenerationMatch=1", 412),
        ("DELETE", "ifGenerationNotMatch={generation}", 412),
        ("DELETE", "generation=1", 404),
        ("DELETE", "generation={generation}&ifGenerationMatch={generation}", 204),
        ("DELETE", "ifMetagenerationMatch=1", 204),
    ],
)
def test_preconditions(insert: Insert, api: Api, name: str, method: str, query: str, status: int) -> None:
    generation = insert(name)["generation"]
    assert api(method, object_path(name, query=query.format(generation=generation))).status == status
    assert api("GET", object_path(name)).status == (404 if status == 204 else 200)


def test_insert_obeys_preconditions(insert: Insert, api: Api, name: str) -> None:
    generation = insert(name, query="ifGenerationMatch=0")["generation"]
    lost = api("POST", insert_path(name, query="ifGenerationMatch=0"), ADMIN, b"other")
    assert reason(lost) == (412, "conditionNotMet")
    assert insert(name, b"other", query=f"ifGenerationMatch={generation}")["size"] == "5"


def test_entity_tags_are_obeyed(insert: Insert, api: Api, name: str) -> None:
    etag = insert(name)["etag"]
    assert api("GET", object_path(name), headers={"if-none-match": etag}).status == 304
    assert api("GET", object_path(name), headers={"if-match": etag}).status == 200
    assert api("GET", object_path(name), headers={"if-match": '"other"'}).status == 412


def test_missing_things_are_told_apart(api: Api, name: str) -> None:
    missing = api("GET", object_path(name))
    assert reason(missing) == (404, "notFound")
    assert json.loads(missing.body)["error"]["message"] == f"No such object: uploads/{name}"
    nowhere = api("GET", object_path(name, "no-such-bucket"))
    assert json.loads(nowhere.body)["error"]["message"] == "The specified bucket does not exist."


RIGHTS = {
    "create": ("POST", insert_path("k"), WRITER),
    "get": ("GET", object_path("k"), READER),
    "download": ("GET", "/download" + object_path("k", query="alt=media"), READER),
    "list": ("GET", "/storage/v1/b/uploads/o", JANITOR),
    "delete": ("DELETE", object_path("k"), JANITOR),
    "update": ("PATCH", object_path("k"), ADMIN),
    "bucket": ("GET", "/storage/v1/b/uploads", ADMIN),
    "change": ("PATCH", "/storage/v1/b/uploads", ADMIN),
    "notifications": ("GET", "/storage/v1/b/uploads/notificationConfigs", ADMIN),
    "notify": ("POST", "/storage/v1/b/uploads/notificationConfigs", ADMIN),
}


@pytest.mark.parametrize("right", RIGHTS)
@pytest.mark.parametrize("email", [WRITER, READER, JANITOR, STRANGER, None])
def test_everybody_may_do_his_own_work_and_no_other(api: Api, right: str, email: str | None) -> None:
    method, path, owner = RIGHTS[right]
    answer = api(method, path, email, {})
    if email is None:
        assert reason(answer) == (401, "required")
    elif email == owner:
        assert answer.status != 403
    else:
        assert reason(answer) == (403, "forbidden")
        assert f"{email} does not have storage." in json.loads(answer.body)["error"]["message"]


@pytest.mark.parametrize("header", ["Bearer nonsense", "Bearer ", "Basic Zm9vOmJhcg==", "nonsense"])
def test_what_is_no_token_is_refused(gcs: GcsProcess, name: str, header: str) -> None:
    answer = exchange(gcs.endpoint, "GET", object_path(name), {"authorization": header})
    assert reason(answer) == (401, "authError")


def test_scope_of_a_token_is_a_limit(gcs: GcsProcess, token: Tokens, insert: Insert, name: str) -> None:
    insert(name)

    def asked(method: str, scope: str) -> Answer:
        bearer = token(ADMIN, f"https://www.googleapis.com/auth/{scope}")
        return exchange(gcs.endpoint, method, object_path(name), {"authorization": f"Bearer {bearer}"})

    assert asked("GET", "devstorage.read_only").status == 200
    assert reason(asked("DELETE", "devstorage.read_only")) == (403, "insufficientPermissions")
    assert reason(asked("GET", "pubsub")) == (403, "insufficientPermissions")
    assert asked("DELETE", "devstorage.read_write").status == 204


def test_content_can_be_read_in_ranges_with_its_headers(insert: Insert, api: Api, name: str) -> None:
    seen = insert(name)
    whole = api("GET", "/download" + object_path(name, query="alt=media"))
    assert (whole.body, whole.headers["x-goog-generation"]) == (b"12345", seen["generation"])
    assert whole.headers["x-goog-hash"] == f"crc32c={seen['crc32c']},md5={seen['md5Hash']}"
    for header, body in (("bytes=0-1", b"12"), ("bytes=-2", b"45"), ("bytes=3-99", b"45")):
        part = api("GET", object_path(name, query="alt=media"), headers={"range": header})
        assert (part.status, part.body) == (206, body)
    beyond = api("GET", object_path(name, query="alt=media"), headers={"range": "bytes=5-"})
    assert reason(beyond) == (416, "requestedRangeNotSatisfiable")


def test_pages_are_in_the_order_of_utf8_and_complete(insert: Insert, api: Api, name: str) -> None:
    wanted = sorted((f"{name}/{each}" for each in ("a", "b/1", "b/2", "b0", "c", "ä", "😀", "z")), key=str.encode)
    for each in reversed(wanted):
        insert(each)
    seen, page, count = [], listed(api, f"prefix={name}/&maxResults=3"), 1
    while True:
        seen += names(page)
        if "nextPageToken" not in page:
            break
        page = listed(api, f"prefix={name}/&maxResults=3&pageToken={page['nextPageToken']}")
        count += 1
    assert (seen, count) == (wanted, 3)


def test_delimiter_folds_what_lies_below(insert: Insert, api: Api, name: str) -> None:
    for each in ("a", "b/1", "b/2", "b/c/3", "b0", "d/4"):
        insert(f"{name}/{each}")
    page = listed(api, f"prefix={name}/&delimiter=/")
    assert (names(page), page["prefixes"]) == ([f"{name}/a", f"{name}/b0"], [f"{name}/b/", f"{name}/d/"])
    items, prefixes, token = [], [], ""
    while True:
        page = listed(api, f"prefix={name}/&delimiter=/&maxResults=1&pageToken={token}")
        items, prefixes = items + names(page), prefixes + page.get("prefixes", [])
        token = page.get("nextPageToken")
        if token is None:
            break
    assert (items, prefixes) == ([f"{name}/a", f"{name}/b0"], [f"{name}/b/", f"{name}/d/"])
    below = listed(api, f"prefix={name}/b/&delimiter=/")
    assert (names(below), below["prefixes"]) == ([f"{name}/b/1", f"{name}/b/2"], [f"{name}/b/c/"])


def test_listing_can_be_bounded(insert: Insert, api: Api, name: str) -> None:
    for each in "abcd":
        insert(f"{name}/{each}")
    page = listed(api, f"prefix={name}/&startOffset={name}/b&endOffset={name}/d")
    assert names(page) == [f"{name}/b", f"{name}/c"]
    for query in ("maxResults=0", "maxResults=x", "pageToken=!", "pageToken=AAAA"):
        assert reason(api("GET", f"/storage/v1/b/uploads/o?{query}")) == (400, "invalid")
    assert reason(api("GET", "/storage/v1/b/uploads/o?matchGlob=*")) == (501, "notImplemented")


def test_bucket_with_versions_keeps_what_was_replaced_or_deleted(insert: Insert, api: Api, name: str) -> None:
    first = insert(name, b"first", "versions")["generation"]
    second = insert(name, b"second", "versions")["generation"]
    read = api("GET", object_path(name, "versions", f"alt=media&generation={first}"))
    assert read.body == b"first"
    assert "timeDeleted" in json.loads(api("GET", object_path(name, "versions", f"generation={first}")).body)
    assert api("DELETE", object_path(name, "versions")).status == 204
    assert api("GET", object_path(name, "versions")).status == 404
    assert names(listed(api, f"prefix={name}", "versions")) == []
    kept = listed(api, f"prefix={name}&versions=true", "versions")["items"]
    assert [each["generation"] for each in kept] == [first, second]
    for generation in (first, second):
        assert api("DELETE", object_path(name, "versions", f"generation={generation}")).status == 204
    assert names(listed(api, f"prefix={name}&versions=true", "versions")) == []


def test_bucket_without_versions_keeps_nothing(insert: Insert, api: Api, name: str) -> None:
    first = insert(name, b"first")["generation"]
    insert(name, b"second")
    assert api("GET", object_path(name, query=f"generation={first}")).status == 404


def test_metadata_can_be_changed_apart_from_the_bytes(insert: Insert, api: Api, name: str) -> None:
    generation = insert(name)["generation"]
    api("PATCH", object_path(name), ADMIN, {"metadata": {"a": "1", "b": "2"}})
    answer = api("PATCH", object_path(name), ADMIN, {"metadata": {"a": None}, "contentType": "a/b"})
    seen = json.loads(answer.body)
    assert (seen["metadata"], seen["contentType"]) == ({"b": "2"}, "a/b")
    assert (seen["generation"], seen["metageneration"]) == (generation, "3")
    late = api("PATCH", object_path(name, query="ifMetagenerationMatch=1"), ADMIN, {"metadata": {}})
    assert reason(late) == (412, "conditionNotMet")


@pytest.mark.parametrize("name", ["a" * 1025, "..", ".", "a\nb", ".well-known/acme-challenge/x"])
def test_name_that_google_would_refuse_is_refused(api: Api, name: str) -> None:
    assert reason(api("POST", insert_path(name), ADMIN, b"x")) == (400, "invalid")


def test_longest_name_and_any_text_in_it(insert: Insert, api: Api) -> None:
    for name in ("é" * 512, "a/../b", "%2F+ ?#&=", "\u202e.txt", "日本語"):
        assert insert(name)["name"] == name
        assert json.loads(api("GET", object_path(name)).body)["name"] == name


def multipart(resource: bytes, content: bytes, boundary: bytes = b"=_b") -> bytes:
    head = b"--" + boundary + b"\r\ncontent-type: application/json; charset=UTF-8\r\n\r\n" + resource
    second = b"\r\n--" + boundary + b"\r\ncontent-type: text/csv\r\n\r\n" + content
    return head + second + b"\r\n--" + boundary + b"--"


HEADERS = {"content-type": 'multipart/related; boundary="=_b"'}
WHERE = "/upload/storage/v1/b/uploads/o?uploadType=multipart"


@pytest.mark.parametrize("content", [b"", b"12345", b"\r\n--=_", b"\r\n--=_a\r\n" * 200_000, b"\r\n"])
def test_multipart_body_is_taken_apart(api: Api, name: str, content: bytes) -> None:
    body = multipart(json.dumps({"name": name, "metadata": {"a": "1"}}).encode(), content)
    seen = json.loads(api("POST", WHERE, ADMIN, body, HEADERS).body)
    assert (seen["name"], seen["contentType"], seen["metadata"]) == (name, "text/csv", {"a": "1"})
    assert api("GET", object_path(name, query="alt=media")).body == content


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--=_b",
        b"x--=_b\r\n\r\n{}",
        multipart(b"{", b"x"),
        multipart(b'{"name": "k"}', b"x")[:-6],
        multipart(b'{"name": "k"}', b"x")[:-2] + b"\r\n\r\nthird",
        b"--=_b\r\n" + b"x" * 100_000,
    ],
)
def test_multipart_body_that_is_none_is_refused(api: Api, body: bytes) -> None:
    assert api("POST", WHERE, ADMIN, body, HEADERS).status == 400
    assert api("GET", object_path("k")).status == 404


def test_upload_of_no_known_kind_is_refused(api: Api, name: str) -> None:
    for kind in ("", "magic"):
        assert reason(api("POST", insert_path(name, kind=kind), ADMIN, b"x")) == (400, "badRequest")
    assert reason(api("POST", WHERE, ADMIN, b"x", {"content-type": "text/plain"})) == (400, "badRequest")
    digest = api("POST", insert_path(name), ADMIN, b"x", {"x-goog-hash": "crc32c=AAAAAA=="})
    assert reason(digest) == (400, "invalid")


def test_who_may_not_list_can_be_kept_from_learning_what_is_missing(
    iam: GoogleIamProcess, token: Tokens, tmp_path: Path
) -> None:
    with start_gcs(iam=iam.endpoint, data=tmp_path, grants=GRANTS[:4], arguments=["--hide-missing"]) as shy:
        asked = api_of(shy, token)
        assert reason(asked("GET", object_path("k"), READER)) == (403, "forbidden")
        assert reason(asked("GET", object_path("k"), ADMIN)) == (404, "notFound")


def test_bucket_is_closed_while_iam_is_away(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    with start_gcs(iam="http://127.0.0.1:1", data=tmp_path, grants=GRANTS[:4]) as gcs:
        assert reason(api_of(gcs, token)("GET", object_path("k"))) == (503, "backendError")
    assert iam.endpoint
