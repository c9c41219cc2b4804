"""The sample page in a real browser: by its token alone, from another origin than broker and store."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import PAGE, Application, on_each_store
from tests.browser.webdriver import Browser, until

MIB = 2**20
SETTLED = {"verified", "processing", "processed"}
KEEP_VALUES = """
window.values = [];
new MutationObserver(() => values.push(document.querySelector("progress").value))
  .observe(document.querySelector("progress"), {attributes: true, attributeFilter: ["value"]});
"""


@pytest.fixture
def file_of(files: Path) -> Callable[[int], Path]:
    def write(size_bytes: int) -> Path:
        path = files / str(size_bytes) / "holiday.mov"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(random.Random(size_bytes).randbytes(size_bytes))
        return path

    return write


def upload(browser: Browser, url: str, file: Path) -> None:
    browser.open(url)
    browser.run(KEEP_VALUES)
    browser.traffic()
    browser.choose("input", file)


def outcome(browser: Browser) -> str:
    """The last words of the page: it settled, or why not."""
    until(lambda: browser.run("return document.querySelector('output').className"), what="the end of the upload")
    return browser.text("output").removeprefix("✓ ")


def halfway(browser: Browser) -> bool:
    value, size = browser.run("const bar = document.querySelector('progress'); return [bar.value, bar.max]")
    return bool(0.4 < value / size < 0.9)


def settled(application: Application, session: dict[str, Any]) -> dict[str, Any]:
    now = application.call("GET", f"/upload-sessions/{session['id']}")
    assert now["state"] in SETTLED
    assert now["stored"]["size_bytes"] == session["size_bytes"]
    return now


def sent(traffic: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["params"]["request"] for event in traffic if event["method"] == "Network.requestWillBeSent"]


@on_each_store
@pytest.mark.parametrize(
    ("strategy", "size_bytes", "bytes_per_second", "requests"),
    [("put", 12 * MIB, 8 * MIB, 1), ("multipart", 22 * MIB, 12 * MIB, 5)],
)
def test_a_page_uploads_by_its_token_and_shows_how_far_it_is(
    browser: Browser,
    application: Application,
    file_of: Callable[[int], Path],
    tmp_path: Path,
    strategy: str,
    size_bytes: int,
    bytes_per_second: int,
    requests: int,
) -> None:
    session = application.mint(size_bytes, strategy, content_type="video/quicktime")
    with browser.thin_line(bytes_per_second):
        upload(browser, application.page(session), file_of(size_bytes))
        until(lambda: halfway(browser), what="a bar that is half full")
        (tmp_path / "during.png").write_bytes(browser.screenshot())
        assert outcome(browser) in SETTLED
    (tmp_path / "after.png").write_bytes(browser.screenshot())
    settled(application, session)

    values = browser.run("return values")
    assert values == sorted(values)
    assert values[-1] == size_bytes
    assert any(0 < value < size_bytes for value in values)

    puts = [each for each in sent(browser.traffic()) if each["method"] == "PUT"]
    assert len(puts) == requests
    assert all(each["url"].startswith(application.store) for each in puts)


@on_each_store
def test_the_key_never_reaches_the_page(
    browser: Browser, application: Application, file_of: Callable[[int], Path]
) -> None:
    session = application.mint(12, "put")
    upload(browser, application.page(session), file_of(12))
    assert outcome(browser) in SETTLED
    traffic = browser.traffic()
    seen = json.dumps(traffic) + browser.run("return document.documentElement.outerHTML + location.href")
    assert session["token"] in seen
    for secret in (application.api_key, *application.store_secrets):
        assert secret not in seen
    for request in (each for each in sent(traffic) if each["method"] != "OPTIONS"):
        headers = {name.lower(): value for name, value in request["headers"].items()}
        is_to_broker = request["url"].startswith(application.broker)
        assert headers.get("authorization") == (f"Bearer {session['token']}" if is_to_broker else None)


def test_a_page_asks_for_the_parts_that_it_was_not_given(
    browser: Browser, application: Application, file_of: Callable[[int], Path]
) -> None:
    session = application.mint(12 * MIB, "multipart")
    del session["upload"]["parts"][1:]
    upload(browser, application.page(session), file_of(12 * MIB))
    assert outcome(browser) in SETTLED
    settled(application, session)
    assert any(each["url"].endswith("/parts") for each in sent(browser.traffic()))


# Chromium itself repeats what breaks on a connection that served before; so each part breaks twice.
@pytest.mark.parametrize(
    ("strategy", "requests", "trouble", "failures"),
    [("put", 1, "slow_down", 3), ("multipart", 3, "reset_uploads", 6), ("multipart", 3, "response_lost", 6)],
)
def test_a_failed_request_is_sent_again(
    browser: Browser,
    application: Application,
    file_of: Callable[[int], Path],
    strategy: str,
    requests: int,
    trouble: str,
    failures: int,
) -> None:
    session = application.mint(12 * MIB, strategy)
    application.misbehave(**{trouble: 0.5, "seed": seed_of(trouble, failures)})
    upload(browser, application.page(session), file_of(12 * MIB))
    assert outcome(browser) in SETTLED
    settled(application, session)
    puts = [each for each in sent(browser.traffic()) if each["method"] == "PUT"]
    assert len(puts) > requests


def test_a_put_whose_answer_is_lost_is_settled_all_the_same(
    browser: Browser, application: Application, file_of: Callable[[int], Path]
) -> None:
    """Sent again it is a 412, or the session is settled by then: completion decides."""
    session = application.mint(12 * MIB, "put")
    application.misbehave(response_lost=0.5, seed=seed_of("response_lost", 1))
    upload(browser, application.page(session), file_of(12 * MIB))
    assert outcome(browser) in SETTLED
    settled(application, session)


def seed_of(kind: str, failures: int) -> int:
    """Makes the store's dice fail so often, then leave us in peace for as long as a test sends."""

    def throws(seed: int) -> list[bool]:
        dice = random.Random(f"{seed}:{kind}")
        return [dice.random() < 0.5 for _ in range(failures + 8)]

    return next(seed for seed in range(1_000_000) if throws(seed) == [True] * failures + [False] * 8)


def test_a_page_that_is_opened_again_sends_only_what_is_missing(
    browser: Browser, application: Application, file_of: Callable[[int], Path]
) -> None:
    session = application.mint(12 * MIB, "multipart")
    page, file = application.page(session), file_of(12 * MIB)
    application.misbehave(slow_bytes_per_second=4 * MIB)
    upload(browser, page, file)

    def stored() -> int:
        return int(application.call("GET", f"/upload-sessions/{session['id']}")["parts"]["stored_count"])

    until(stored, what="a first part in the store")
    before = stored()
    browser.open("about:blank")
    application.misbehave()
    upload(browser, page, file)
    assert outcome(browser) in SETTLED
    settled(application, session)
    puts = [each for each in sent(browser.traffic()) if each["method"] == "PUT"]
    assert len(puts) <= 3 - before


def test_a_grant_may_be_pasted(browser: Browser, application: Application, file_of: Callable[[int], Path]) -> None:
    session = application.mint(12, "put")
    browser.open(f"{application.origin}/{PAGE}")
    browser.type("textarea", json.dumps(application.grant(session)))
    browser.choose("input", file_of(12))
    assert outcome(browser) in SETTLED


def test_a_page_of_an_origin_that_is_not_named_cannot_read_the_broker(
    browser: Browser, application: Application, other_origin: str, file_of: Callable[[int], Path]
) -> None:
    session = application.mint(12, "put")
    browser.open(f"{other_origin}/{PAGE}")
    read = "return fetch(arguments[0]).then(answer => answer.text(), error => error.name)"
    assert browser.run(read, f"{application.broker}/healthz") == "TypeError"
    page = f"{application.origin}/{PAGE}"
    browser.open(page)
    assert browser.run(read, f"{application.broker}/healthz") == "ok\n"

    upload(browser, application.page(session, origin=other_origin), file_of(12))
    assert outcome(browser) == f"It did not work: {application.broker} gave no answer that this page may read"
    assert application.call("GET", f"/upload-sessions/{session['id']}")["state"] == "pending"


def test_a_page_says_readably_what_went_wrong(
    browser: Browser, application: Application, file_of: Callable[[int], Path]
) -> None:
    session = application.mint(12, "put")
    upload(browser, application.page(session), file_of(13))
    assert outcome(browser) == "It did not work: the session is for 12 bytes, this file has 13"
    upload(browser, application.page(session | {"token": "us_forged"}), file_of(12))
    assert outcome(browser).startswith("It did not work: ")
    assert "token" in outcome(browser)
    application.call("DELETE", f"/upload-sessions/{session['id']}")
    upload(browser, application.page(session), file_of(12))
    assert outcome(browser) == "aborted: aborted by its owner"
