"""Lies that no emulator tells, each found by its step: what is not as promised never passes."""

from collections.abc import Callable
from typing import Any

import pytest

from broker.checks.findings import Outcome
from broker.checks.stranger import Reply, Sent
from broker.domain.multipart import StoredPart
from tests.unit.checks.lying_store import attempt, bench, reply, stored

Answer = Reply | Callable[[Sent], Reply] | None


def error(code: str) -> bytes:
    return f"<Error><Code>{code}</Code></Error>".encode()


async def test_an_answer_without_a_date_is_no_clock() -> None:
    finding = await attempt("clock", bench(answer=Reply(status=403, headers={}, body=b"")))
    assert (finding.outcome, finding.said) == (Outcome.FAILED, "the store's answers carry no Date")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (None, "404 for what was stored"),
        ({"size_bytes": 3}, "declared 1024 bytes, stored 3"),
        ({"content_type": "text/html"}, "stored otherwise"),
        ({"metadata": {}}, "no metadata"),
    ],
)
async def test_head_that_shows_something_else_fails(changes: dict[str, Any] | None, said: str) -> None:
    made = bench()
    made.site.bucket.objects.answers["head"] = None if changes is None else stored(made.body, **changes)

    finding = await attempt("head", made)

    assert finding.outcome is Outcome.FAILED
    assert said in finding.said


@pytest.mark.parametrize(
    ("answer", "outcome", "said"),
    [
        (reply(body=b"other"), Outcome.FAILED, "other bytes came back"),
        (reply(403, error("AccessDenied")), Outcome.FAILED, "403 AccessDenied"),
        (reply(403, error("InvalidObjectState")), Outcome.SKIPPED, "an archive"),
    ],
)
async def test_a_read_that_brings_something_else_fails(answer: Reply, outcome: Outcome, said: str) -> None:
    finding = await attempt("get", bench(answer=answer))
    assert finding.outcome is outcome
    assert said in finding.said


async def test_a_read_that_a_browser_would_show_fails() -> None:
    made = bench()
    made.stranger.answer = reply(body=made.body)
    assert (await attempt("get", made)).said == "the answer is no attachment"


@pytest.mark.parametrize(("status", "outcome"), [(412, "passed"), (404, "passed"), (200, "failed"), (503, "failed")])
async def test_a_pin_that_is_not_kept_fails(status: int, outcome: str) -> None:
    assert (await attempt("get-other", bench(answer=reply(status)))).outcome == outcome


@pytest.mark.parametrize(
    ("status", "is_there", "outcome", "said"),
    [
        (403, False, "passed", "403"),
        (501, False, "passed", "501"),
        (403, True, "failed", "stored all the same"),
        (200, True, "failed", "NOT refused"),
        (500, False, "failed", "proves nothing"),
        (301, False, "failed", "proves nothing"),
    ],
)
async def test_only_a_refusal_that_stores_nothing_is_one(status: int, is_there: bool, outcome: str, said: str) -> None:
    made = bench(answer=reply(status), head=stored(b"x") if is_there else None)
    finding = await attempt("tamper-length", made)
    assert finding.outcome == outcome
    assert said in finding.said


@pytest.mark.parametrize(
    ("dialect", "status", "outcome"),
    [
        ("aws", 412, "passed"),
        ("aws", 200, "failed"),
        ("aws", 503, "failed"),
        ("generic", 412, "passed"),
        ("generic", 200, "skipped"),
    ],
)
async def test_an_overwrite_fails_where_the_dialect_promises_none(dialect: Any, status: int, outcome: str) -> None:
    finding = await attempt("create-only", bench(dialect=dialect, answer=reply(status)))
    assert finding.outcome == outcome
    if outcome == "failed" and status == 200:
        assert "generic" in str(finding.fix)


async def test_a_digest_that_refuses_its_own_bytes_fails() -> None:
    finding = await attempt("checksum-sha256", bench(answer=reply(400, error("InvalidRequest"))))
    assert finding.outcome is Outcome.FAILED
    assert "for the very bytes that it is of" in finding.said


def copied(made: Any, content: Reply) -> None:
    made.stranger.answer = lambda sent: content if sent.method == "GET" else reply(200)


@pytest.mark.parametrize(("dialect", "outcome"), [("ceph", "passed"), ("aws", "failed")])
async def test_a_copy_header_without_effect_harms_nobody_but_the_claim(dialect: Any, outcome: str) -> None:
    made = bench(dialect=dialect)
    copied(made, reply(body=made.body[::-1]))
    assert (await attempt("unsigned-copy", made)).outcome == outcome


@pytest.mark.parametrize(
    ("content", "said"), [(reply(403), "cannot be read"), (reply(body=b"neither"), "cannot be read")]
)
async def test_what_a_copy_left_has_to_be_seen(content: Reply, said: str) -> None:
    made = bench(dialect="ceph")
    copied(made, content)
    finding = await attempt("unsigned-copy", made)
    assert finding.outcome is Outcome.FAILED
    assert said in finding.said


@pytest.mark.parametrize("code", ["unsigned-copy", "unsigned-acl", "unsigned-tagging"])
async def test_an_answer_that_proves_nothing_is_no_refusal(code: str) -> None:
    assert (await attempt(code, bench(answer=reply(503)))).outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("parts", "outcome"),
    [
        (None, "failed"),
        ([], "failed"),
        ([StoredPart(number=1, size_bytes=9, etag="p")], "failed"),
        ([StoredPart(number=1, size_bytes=1024, etag="p")], "passed"),
    ],
)
async def test_parts_that_are_not_listed_as_sent_fail(parts: Any, outcome: str) -> None:
    assert (await attempt("multipart-list", bench(parts=lambda: parts))).outcome == outcome


async def test_a_completion_without_an_object_fails() -> None:
    assert "no object" in (await attempt("multipart-complete", bench(head=None))).said
    assert "no object" in (await attempt("multipart-complete", bench(complete=False, head=stored(b"x")))).said
    assert "stored 3" in (await attempt("multipart-complete", bench(head=stored(b"abc")))).said


async def test_a_completion_over_what_is_there_fails_where_it_is_promised() -> None:
    assert (await attempt("multipart-create-only", bench(complete=True))).outcome is Outcome.FAILED
    assert (await attempt("multipart-create-only", bench(complete=False))).outcome is Outcome.PASSED
    assert (await attempt("multipart-create-only", bench(dialect="ceph"))).outcome is Outcome.SKIPPED


async def test_an_upload_that_is_not_found_or_not_gone_fails() -> None:
    assert (await attempt("multipart-find", bench(open_uploads=list))).outcome is Outcome.FAILED
    assert (await attempt("multipart-abort", bench(abort=False))).outcome is Outcome.FAILED


async def test_a_removal_that_takes_another_state_or_none_fails() -> None:
    there: Any = lambda _: stored(b"x")  # noqa: E731
    ok = reply(200)
    other = await attempt("remove", bench(answer=ok, head=there, remove=lambda *_: True))
    assert "removed another state" in other.said
    none = await attempt("remove", bench(answer=ok, head=there, remove=lambda *_: False))
    assert "not there any more" in none.said
    still = await attempt("remove", bench(answer=ok, head=there))
    assert "still there" in still.said


@pytest.mark.parametrize(
    ("status", "body", "outcome"),
    [
        (200, b"<VersioningConfiguration/>", "passed"),
        (200, b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>", "passed"),
        (200, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", "failed"),
        (403, error("AccessDenied"), "skipped"),
        (501, error("NotImplemented"), "skipped"),
        (500, error("InternalError"), "failed"),
    ],
)
async def test_versions_that_are_on_and_not_shown_fail(status: int, body: bytes, outcome: str) -> None:
    assert (await attempt("versioning", bench(calls={"versioning": (status, body)}))).outcome == outcome


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({}, "does not name the origin"),
        ({"access-control-allow-origin": "https://other.example"}, "does not name the origin"),
        ({"access-control-allow-origin": "*"}, "PUT is not allowed"),
        ({"access-control-allow-origin": "*", "access-control-allow-methods": "GET, PUT"}, "if-none-match"),
    ],
)
async def test_a_preflight_that_a_browser_would_not_take_fails(headers: dict[str, str], said: str) -> None:
    finding = await attempt("cors-preflight", bench(answer=reply(200, **headers)))
    assert finding.outcome is Outcome.FAILED
    assert said in finding.said


async def test_a_preflight_that_allows_everything_passes() -> None:
    allowed = {
        "access-control-allow-origin": "https://app.example",
        "access-control-allow-methods": "PUT",
        "access-control-allow-headers": "*",
    }
    assert (await attempt("cors-preflight", bench(answer=reply(204, **allowed)))).outcome is Outcome.PASSED
