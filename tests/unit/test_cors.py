"""Pages of named origins may read every answer, problems too; nobody else may read any."""

import socket
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from broker.api.cors import METHODS, share_with
from broker.api.operations import OPERATIONS
from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid
from broker.ledger.redis import RedisLedger
from broker.settings import load
from tests.api.world import WISH, World, build
from tests.clock import FrozenClock

APP = "https://app.example"
FROM_APP = {"origin": APP}
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}


def page_of(world: World, origins: Sequence[str]) -> httpx.AsyncClient:
    app = share_with(world.app, origins)
    return httpx.AsyncClient(transport=httpx.ASGITransport(cast("Any", app)), base_url="http://broker.localhost")


@pytest.fixture
def world() -> World:
    return build(FrozenClock())


@pytest.fixture
async def page(world: World) -> AsyncIterator[httpx.AsyncClient]:
    async with page_of(world, [APP, "http://127.0.0.1:8000"]) as client:
        yield client


def named(answer: httpx.Response) -> dict[str, set[str]]:
    return {
        name: {each.strip() for each in value.split(",")}
        for name, value in answer.headers.items()
        if name.startswith("access-control-") or name == "vary"
    }


def test_nobody_is_named_by_default_and_then_nothing_is_wrapped(world: World, tmp_path: Path) -> None:
    path = tmp_path / "broker.toml"
    path.touch()
    assert load(path, {}).cors.allow_origins == ()
    assert share_with(world.app, ()) is world.app


async def test_a_preflight_says_what_a_page_may_send_and_is_remembered(page: httpx.AsyncClient) -> None:
    answer = await page.options("/upload-sessions/x/parts", headers=FROM_APP | PREFLIGHT)
    assert (answer.status_code, answer.content) == (204, b"")
    assert named(answer) == {
        "access-control-allow-origin": {APP},
        "access-control-allow-methods": {"GET", "HEAD", "POST", "DELETE"},
        "access-control-allow-headers": {
            "Authorization",
            "Content-Type",
            "Idempotency-Key",
            "Last-Event-ID",
            "X-Request-Id",
        },
        "access-control-max-age": {"7200"},
        "vary": {"Origin"},
    }


def test_every_method_of_a_route_is_named() -> None:
    assert {operation.method for operation in OPERATIONS} <= set(METHODS)


@pytest.mark.parametrize(
    "origin",
    [
        "https://app.example.evil",
        "http://app.example",
        "https://app.example:444",
        "null",
        "",
        "*",
        "HTTPS://APP.EXAMPLE",
    ],
)
async def test_an_origin_that_is_not_named_is_told_nothing(page: httpx.AsyncClient, origin: str) -> None:
    for answer in (
        await page.options("/upload-sessions", headers={"origin": origin} | PREFLIGHT),
        await page.get("/healthz", headers={"origin": origin}),
    ):
        assert named(answer) == {"vary": {"Origin"}}


async def test_answers_are_readable_and_a_cache_keeps_them_apart(world: World, page: httpx.AsyncClient) -> None:
    answer = await page.post("/upload-sessions", json=WISH, headers=world.as_("app") | FROM_APP)
    assert answer.status_code == 201
    assert named(answer) == {
        "access-control-allow-origin": {APP},
        "access-control-expose-headers": {"Retry-After", "Location", "X-Request-Id", "Idempotency-Replayed"},
        "vary": {"Origin"},
    }
    assert named(await page.get("/healthz")) == {"vary": {"Origin"}}


async def test_problems_are_readable_too(world: World, page: httpx.AsyncClient) -> None:
    nowhere = f"/upload-sessions/00{'a' * 26}"
    answers = {
        401: await page.post("/upload-sessions", json=WISH, headers=FROM_APP),
        404: await page.get(nowhere, headers=world.as_("app") | FROM_APP),
        405: await page.put("/upload-sessions", headers=FROM_APP),
        422: await page.post("/upload-sessions", json={}, headers=world.as_("app") | FROM_APP),
    }
    for status, answer in answers.items():
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == APP
        assert answer.json()["detail"]


async def test_a_page_reads_when_to_come_back_to_a_broker_without_a_ledger() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closing:
        port = closing.getsockname()[1]
    ledger = RedisLedger(f"redis://127.0.0.1:{port}/0")
    world = build(SystemClock(), ledger=ledger)
    async with page_of(world, [APP]) as page:
        answer = await page.post("/upload-sessions", json=WISH, headers=world.as_("app") | FROM_APP)
    await ledger.close()
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (503, APP)
    assert "Retry-After" in answer.headers["access-control-expose-headers"]
    assert int(answer.headers["retry-after"]) >= 1


async def test_a_star_is_every_origin_and_needs_no_vary(world: World) -> None:
    async with page_of(world, ["*"]) as page:
        answer = await page.get("/healthz", headers={"origin": "https://anyone.example"})
        preflight = await page.options("/upload-sessions", headers=FROM_APP | PREFLIGHT)
    for each in (answer, preflight):
        assert each.headers["access-control-allow-origin"] == "*"
        assert "vary" not in each.headers
        assert "access-control-allow-credentials" not in each.headers


async def test_options_without_a_preflight_still_says_what_is_allowed(page: httpx.AsyncClient) -> None:
    answer = await page.options("/upload-sessions", headers=FROM_APP)
    assert (answer.status_code, set(answer.headers["allow"].split(", "))) == (204, {"OPTIONS", "POST"})


@pytest.mark.parametrize(
    "origin",
    ["*", "https://app.example", "http://127.0.0.1:8000", "http://[::1]:8000", "capacitor://localhost", "http://x:443"],
)
def test_an_origin_is_written_as_browsers_send_it(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "broker.toml"
    path.write_text(f'[cors]\nallow_origins = ["{origin}"]\n')
    assert load(path, {}).cors.allow_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    ["", "null", "app.example", "https://app.example/", "https://App.example", "https://*.example", "https://a:443"],
)
def test_an_origin_that_no_browser_sends_is_refused_by_name(tmp_path: Path, origin: str) -> None:
    path = tmp_path / "broker.toml"
    path.write_text("")
    with pytest.raises(ConfigurationInvalid, match=r"cors\.allow_origins"):
        load(path, {"BROKER_CORS__ALLOW_ORIGINS": f'["{origin}"]'})
