"""Every field, wrong in every way: a refusal that names it, and a ledger that did not notice."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.world import WISH, World

SHA256 = "n4bQgYhMfWWaL+qgxVrQFaO/TxsrC4Is0V1sFbDwCgg="
DEEP: Any = None
for _ in range(200):
    DEEP = [DEEP]

WRONG: dict[str, list[tuple[Any, str]]] = {
    "filename": [(None, ""), (7, ""), ("", ""), ("x" * 1025, ""), ([], ""), (DEEP, ""), (True, "")],
    "size_bytes": [(None, ""), ("1", ""), (-1, ""), (1.5, ""), (1e300, ""), (10**25, ""), (2**63, ""), (True, "")],
    "content_type": [
        *((bad, "") for bad in (None, 1, "", "csv", "text/", "text/csv ", "text/csv\n", "text/csv;\n x=1")),
        *((bad, "") for bad in ("text/csv; é", "text/" + "x" * 127, "image/png", "text/csv; \x00", "text/csv;  x ")),
    ],
    "destination": [(None, ""), (1, ""), ("", ""), ("x" * 65, ""), ("nowhere", ""), ("\x00", ""), ("../default", "")],
    "checksum": [
        *((bad, "") for bad in (None, 1, ["x"], "sha256")),
        *(
            ({name: digest}, f"/{name}")
            for name in ("sha256", "crc32c", "crc64nvme", "md5")
            for digest in (1, "", "AAAA=", "é")
        ),
        ({"sha1": "x"}, "/sha1"),
        ({"sha256": SHA256[:-1]}, "/sha256"),
        ({"sha256": SHA256 + "\n"}, "/sha256"),
    ],
    "metadata": [(None, ""), ([], ""), ({"a": 1}, ""), ({"a": None}, ""), ({"a": DEEP}, ""), ({"a": "x" * 4096}, "")],
    "object_metadata": [
        *((bad, "") for bad in (None, 1, {"a": 1}, {"a": "x" * 1024}, {"a b": "x"}, {"A": "x"}, {"": "x"})),
        *((bad, "") for bad in ({"upload-session": "x"}, {"é": "x"}, {"a\nb": "x"}, {"a\x00": "x"})),
        *(({"a": bad}, "/a") for bad in ("é", " x", "x ", "a\nb", "a\x00b", "\u202e")),
        ({"a~b": "é"}, "/a~0b"),
    ],
    "owner": [(1, ""), ("x" * 257, ""), ([], "")],
    "batch": [(1, ""), ("x" * 257, ""), ({}, "")],
    "strategy": [(None, ""), (1, ""), ("", ""), ("post", ""), ("AUTO", "")],
}
# NUL, line breaks, a C1 control, a line separator, and what turns the direction of the text after it.
UNPLAIN = ["\x00", "a\n", "a\tb", "\x1b[2J", "\x7f", "\x85", "\u2028", "a\u202eb", "\u2066a", "\u200f", "\u061c"]
for _name in ("owner", "batch", "destination"):
    WRONG[_name] += [(bad, "") for bad in UNPLAIN]
WRONG["metadata"] += [({bad: "x"}, "") for bad in UNPLAIN] + [({"a": bad}, "") for bad in UNPLAIN]
CASES = [
    pytest.param(name, value, f"/{name}{below}", id=f"{name}-{number}")
    for name, values in WRONG.items()
    for number, (value, below) in enumerate(values)
]


async def refused(world: World, body: Any, *, status: int = 422, path: str = "/upload-sessions") -> dict[str, Any]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    who = "worker" if path.startswith("/jobs") else "app"
    headers = {**world.as_(who), "content-type": "application/json"}
    answer = await world.client.post(path, content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert await world.session_count() == 0
    problem = answer.json()
    assert (problem["status"], problem["request_id"]) == (status, answer.headers["x-request-id"])
    return dict(problem)


@pytest.mark.parametrize(("name", "value", "pointer"), CASES)
async def test_each_field_is_named_when_it_is_wrong(world: World, name: str, value: Any, pointer: str) -> None:
    problem = await refused(world, {**WISH, name: value})
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]


async def test_any_script_is_a_plain_label(world: World) -> None:
    """Joiners stay: Persian, Hindi and emoji are spelled with them."""
    names = ["Zoë", "名前", "می\u200cخواهم", "क\u094d\u200dष", "👩\u200d💻", "\u00a0\u3000", "a b"]
    for name in names:
        session = await world.mint(owner=name, batch=name, metadata={name: name})
        assert (session["owner"], session["batch"], session["metadata"]) == (name, name, {name: name})


@pytest.mark.parametrize("name", ["filename", "size_bytes"])
async def test_a_required_field_is_named_when_it_is_missing(world: World, name: str) -> None:
    problem = await refused(world, {key: value for key, value in WISH.items() if key != name})
    assert problem["errors"] == [{"pointer": f"/{name}", "code": "missing", "message": "this field is required"}]


@pytest.mark.parametrize("name", list(WRONG))
async def test_a_field_that_stands_twice_is_refused(world: World, name: str) -> None:
    good = {"checksum": {}, "metadata": {}, "object_metadata": {}, "destination": "default", "strategy": "auto"}
    member = f'"{name}":{json.dumps({**WISH, **good, "owner": "a", "batch": "b"}[name])}'
    members = [f'"{key}":{json.dumps(value)}' for key, value in WISH.items() if key != name]
    problem = await refused(world, ("{" + ",".join([*members, member, member]) + "}").encode())
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [(f"/{name}", "repeated")]


@pytest.mark.parametrize("name", ["filename", "content_type", "destination", "owner", "batch", "strategy"])
async def test_a_lone_surrogate_is_named(world: World, name: str) -> None:
    problem = await refused(world, json.dumps({**WISH, name: "a\ud800"}).encode())
    assert problem["errors"][0]["pointer"] == f"/{name}"


async def test_an_unknown_field_is_refused(world: World) -> None:
    problem = await refused(world, {**WISH, "key": "../../etc/passwd"})
    assert [(fault["pointer"], fault["code"]) for fault in problem["errors"]] == [("/key", "unknown-field")]


@pytest.mark.parametrize(
    "filename",
    ["a\x00b", "../../etc/passwd", "\u202egnp.exe", "a\nb", "/", "..", "C:\\x", "x" * 1024, "名" * 1024, "%2e"],
)
async def test_a_hostile_name_never_steers_the_key(world: World, filename: str) -> None:
    session = await world.mint(filename=filename)
    prefix, session_id, name = session["object"]["key"].split("/")
    assert (prefix, session_id) == ("uploads", session["id"])
    assert name not in {"", ".", ".."}
    assert name.isprintable()
    assert len(name.encode()) <= 255


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"nope", id="word"),
        pytest.param(b'{"filename":"a"', id="cut"),
        pytest.param(b'{"filename":"a","size_bytes":1,}', id="comma"),
        pytest.param(b'{"filename":"a","size_bytes":NaN}', id="nan"),
        pytest.param(b'{"filename":"a\x00","size_bytes":1}', id="raw-nul"),
        pytest.param(b'{"filename":"\xff","size_bytes":1}', id="latin-1"),
        pytest.param(b'{"filename":"\xed\xa0\x80","size_bytes":1}', id="cesu-8"),
        pytest.param('{"filename":"a","size_bytes":1}'.encode("utf-16"), id="utf-16"),
        pytest.param(b'\xef\xbb\xbf{"filename":"a","size_bytes":1}', id="bom"),
        pytest.param(b'{"filename":"a","size_bytes":1}{}', id="two"),
        pytest.param(b'{"metadata":{"a":' + b"[" * 100_000, id="deep"),
        pytest.param(b'{"filename":"\\ud800' + b"x" * 300_000 + b'","size_bytes":1}', id="large-surrogate"),
        pytest.param(
            b'{"size_bytes":1,"filename":"\\ud800","x":' + b"[" * 5_000 + b"]" * 5_000 + b"}", id="deep-surrogate"
        ),
    ],
)
async def test_what_is_not_json_is_400(world: World, body: bytes) -> None:
    if body.startswith(b'{"metadata"'):
        assert (await refused(world, body))["errors"][0]["pointer"] == "/metadata"
    else:
        assert (await refused(world, body, status=400))["code"] == "not-json"


async def test_a_body_of_5_6_mb_is_refused_by_its_announcement(world: World) -> None:
    body = json.dumps({**WISH, "owner": "x" * 5_600_000}).encode()
    assert (await refused(world, body, status=413))["code"] == "body-too-large"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "", "json"])
async def test_a_body_that_does_not_say_it_is_json_is_refused(world: World, kind: str) -> None:
    answer = await world.client.post(
        "/upload-sessions", content=json.dumps(WISH), headers={**world.as_("app"), "content-type": kind}
    )
    assert (answer.status_code, answer.json()["code"]) == (415, "body-type-unsupported")
    assert await world.session_count() == 0


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/json ;x=y"])
async def test_json_may_have_parameters(world: World, kind: str) -> None:
    answer = await world.client.post(
        "/upload-sessions", content=json.dumps(WISH), headers={**world.as_("app"), "content-type": kind}
    )
    assert answer.status_code == 201


JOB = "/jobs/00aaaaaaaaaaaaaaaaaaaaaaaaaa"
PROOF: dict[str, Any] = {"lease": "ul_x", "epoch": 1}


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        ("/jobs/lease", {"max": 0}, "/max"),
        ("/jobs/lease", {"max": 101}, "/max"),
        ("/jobs/lease", {"max": "1"}, "/max"),
        ("/jobs/lease", {"wait_seconds": -1}, "/wait_seconds"),
        ("/jobs/lease", {"wait_seconds": 31}, "/wait_seconds"),
        ("/jobs/lease", {"worker": None}, "/worker"),
        ("/jobs/lease", {"worker": "x" * 129}, "/worker"),
        ("/jobs/lease", [], ""),
        (f"{JOB}/renew", {}, "/lease"),
        (f"{JOB}/renew", {**PROOF, "epoch": None}, "/epoch"),
        (f"{JOB}/renew", {**PROOF, "epoch": 1.5}, "/epoch"),
        (f"{JOB}/result", {**PROOF}, "/outcome"),
        (f"{JOB}/result", {**PROOF, "outcome": "done"}, "/outcome"),
        (f"{JOB}/result", {**PROOF, "outcome": "processed", "result": "x" * 65_537}, "/result"),
        (f"{JOB}/result", {**PROOF, "outcome": "failed", "reason": {"code": "x"}}, "/reason/message"),
        (f"{JOB}/result", {**PROOF, "outcome": "retry", "retry_after_seconds": -1}, "/retry_after_seconds"),
        (f"{JOB}/result", {**PROOF, "outcome": "retry", "retry_after_seconds": 1e99}, "/retry_after_seconds"),
        (f"{JOB}/release", {**PROOF, "cause": "whim"}, "/cause"),
    ],
)
async def test_job_bodies_are_checked_as_well(world: World, path: str, body: Any, pointer: str) -> None:
    assert (await refused(world, body, path=path))["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("result", "status"),
    [
        (b"1e999", 422),
        (b"[" * 101 + b"]" * 101, 422),
        (b"[" * 900 + b"]" * 900, 422),
        (b"[" * 60_000 + b"]" * 60_000, 400),
        (b'"\\ud800"', 422),
        (b'"\xff"', 400),
        (b'{"a":1,"a":2}', 422),
    ],
)
async def test_a_result_that_its_owner_could_not_read_is_refused(world: World, result: bytes, status: int) -> None:
    body = b'{"lease":"ul_x","epoch":1,"outcome":"processed","result":' + result + b"}"
    problem = await refused(world, body, status=status, path=f"{JOB}/result")
    assert status == 400 or problem["errors"][0]["pointer"].startswith("/result")


async def test_numbers_of_any_length_are_numbers(world: World) -> None:
    for body in (
        b'{"filename":"a","size_bytes":' + b"9" * 5_000 + b"}",
        b'{"filename":"a","size_bytes":1' + b"0" * 400 + b"}",
    ):
        assert (await refused(world, body))["errors"][0]["pointer"] == "/size_bytes"


@pytest.mark.parametrize("destination", ["other", "", "x" * 65])
async def test_a_remint_elsewhere_is_refused(world: World, destination: str) -> None:
    session = await world.mint()
    before = await world.state(session["id"])
    answer = await world.client.post(
        f"/upload-sessions/{session['id']}/upload", json={"destination": destination}, headers=world.as_("app")
    )
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/destination")
    assert await world.state(session["id"]) == before


@pytest.mark.parametrize("query", ["redirect=2", "redirect=", "redirect=true", "redirect=1&redirect=1"])
async def test_a_redirect_is_asked_for_in_one_way(world: World, query: str) -> None:
    session = await world.verified()
    answer = await world.client.get(f"/upload-sessions/{session['id']}/content?{query}", headers=world.as_("app"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid-input")


@pytest.mark.parametrize(
    "session_id", ["x", "%00", "ff" + "a" * 26, "00" + "a" * 25, "00" + "A" * 26, "zz" + "a" * 26, "é" * 40]
)
async def test_what_cannot_be_an_id_is_not_found(world: World, session_id: str) -> None:
    answer = await world.client.get(f"/upload-sessions/{session_id}", headers=world.as_("app"))
    assert answer.status_code in {404, 405}


async def test_no_body_makes_a_500(world: World) -> None:
    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters()), inner, max_size=3),
        max_leaves=8,
    )
    bodies = (
        st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()) | _near_misses(json_values)
    )
    found: list[bytes] = []

    @settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(bodies)
    def collect(body: bytes) -> None:
        found.append(body)

    collect()
    headers = {**world.as_("app"), "content-type": "application/json"}
    for body in found:
        answer = await world.client.post("/upload-sessions", content=body, headers=headers)
        assert answer.status_code in {201, 400, 413, 422}, (body, answer.text)
    assert len(found) >= 100


def _near_misses(values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """A good body with one or two fields replaced by anything."""
    wrong = st.dictionaries(st.sampled_from(list(WRONG)), values, min_size=1, max_size=2)
    return wrong.map(lambda changes: json.dumps({**WISH, **changes}).encode())
