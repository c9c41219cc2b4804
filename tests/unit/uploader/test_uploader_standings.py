"""Many sessions by one call: what a broker says is believed only if it is about what was asked."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from yarl import URL

from broker.api import examples
from broker.contract import CompletionsOrProblems, SessionsOrProblems, State
from tests.unit.uploader.uploader_standin import QUICK
from uploader.client import BrokerClient
from uploader.errors import BrokerRefused, Unreachable
from uploader.standings import Told, told_of

IDS = examples.IDS.ids


def body(*sessions: Any) -> bytes:
    return json.dumps({"sessions": sessions}).encode()


def a_session(session_id: str, state: str = "pending") -> dict[str, Any]:
    return {"session": {"id": session_id, "state": state, "created_at": "whenever"}, "is_looked_at": True}


@pytest.mark.parametrize("answers", [examples.COMPLETIONS, examples.STATUSES])
def test_what_the_documents_show_is_understood(answers: CompletionsOrProblems | SessionsOrProblems) -> None:
    verified, missing = told_of(IDS, msgspec.json.encode(answers))
    assert verified.session is not None
    assert (verified.session.id, verified.session.state) == (IDS[0], State.VERIFIED)
    assert missing.problem is not None
    assert (missing.problem.code, missing.is_looked_at) == ("session-not-found", False)
    assert verified.is_looked_at is isinstance(answers, CompletionsOrProblems)


def test_a_reason_comes_with_a_session_that_has_one() -> None:
    rejected = {"session": {"id": "a", "state": "rejected", "reason": {"code": "size-mismatch", "message": "…"}}}
    (told,) = told_of(["a"], body(rejected))
    assert told.session is not None
    assert told.session.reason is not None
    assert told.session.reason.code == "size-mismatch"


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"{}",
        b"[]",
        body(),
        body(a_session("a")),
        body(a_session("a"), a_session("b"), a_session("c")),
        body(a_session("b"), a_session("a")),
        body(a_session("a"), a_session("a")),
        body(a_session("a"), {}),
        body(a_session("a"), {"session": {"id": "b"}}),
        body(a_session("a"), {"session": {"id": "b", "state": "unheard-of"}}),
        body(a_session("a"), 7),
    ],
)
def test_what_is_not_about_the_sessions_asked_for_is_no_answer(answer: bytes) -> None:
    with pytest.raises(Unreachable):
        told_of(["a", "b"], answer)


@asynccontextmanager
async def a_client(*answers: web.Response) -> AsyncIterator[tuple[BrokerClient, list[tuple[str, Any]]]]:
    """One whose broker gives these answers; and what it was asked."""
    asked: list[tuple[str, Any]] = []
    left = [*answers]

    async def answer(request: web.Request) -> web.Response:
        asked.append((f"{request.method} {request.path}", await request.json()))
        return left.pop(0)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    async with aiohttp.ClientSession() as session:
        yield BrokerClient(session=session, url=URL(f"http://127.0.0.1:{port}"), headers={}, retry=QUICK), asked
    await runner.cleanup()


async def test_many_are_asked_for_by_one_call() -> None:
    async with a_client(*[web.Response(body=body(a_session("a"), a_session("b", "verified")))] * 1) as (client, asked):
        told = await client.complete_many(["a", "b"], _quiet)
    assert asked == [("POST /upload-sessions/completion", {"ids": ["a", "b"]})]
    assert [(one.session.state.value, one.is_looked_at) for one in told if one.session] == [
        ("pending", True),
        ("verified", True),
    ]


async def test_a_call_that_is_not_answered_is_made_again_and_named() -> None:
    remarks: list[str] = []
    busy = [web.Response(status=503), web.Response(status=503)]
    async with a_client(busy[0], web.Response(body=body(a_session("a")))) as (client, _):
        await client.complete_many(["a"], lambda what, *_: remarks.append(what))
    async with a_client(busy[1], web.Response(body=body(a_session("a")))) as (client, asked):
        await client.statuses(["a"], lambda what, *_: remarks.append(what))
    assert asked[-1] == ("POST /upload-sessions/status", {"ids": ["a"]})
    assert remarks == ["complete", "ask"]


async def test_a_refusal_is_told() -> None:
    async with a_client(web.Response(status=401)) as (client, _):
        with pytest.raises(BrokerRefused):
            await client.complete_many(["a"], _quiet)


def _quiet(_what: str, _why: str, _pause: timedelta, _attempt: int) -> None:
    raise AssertionError("nothing was asked again")


def test_what_is_told_names_no_secret() -> None:
    assert "token" not in Told.__struct_fields__
