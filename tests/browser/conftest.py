"""The real stack, a browser, and two origins of pages: one that the broker names, one that it does not."""

import base64
import http.server
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from broker.dev.stack import Stack, StackOptions, start_stack
from tests.browser.webdriver import PACKAGES, Browser, missing_commands, running_browser

ROOT = Path(__file__).parents[2]
PAGE = "browser-upload.html"
PART_BYTES = 5 * 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What a team would write: it holds the key, mints, and gives its page what it minted."""

    stack: Stack
    origin: str

    def mint(self, size_bytes: int, strategy: str, **more: Any) -> dict[str, Any]:
        wish = {"filename": "holiday.mov", "size_bytes": size_bytes, "strategy": strategy, **more}
        return self.call("POST", "/upload-sessions", wish)

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        about = self.stack.about
        headers = {"Authorization": f"Bearer {about.api_key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(about.broker + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    def grant(self, session: dict[str, Any]) -> dict[str, Any]:
        """All that the page is given."""
        return {"broker": self.stack.about.broker} | {name: session[name] for name in ("id", "upload", "token")}

    def page(self, session: dict[str, Any], *, origin: str | None = None) -> str:
        fragment = base64.urlsafe_b64encode(json.dumps(self.grant(session)).encode()).rstrip(b"=").decode()
        return f"{origin or self.origin}/{PAGE}#{fragment}"

    def misbehave(self, **faults: Any) -> None:
        """Tells the store; nothing means that it behaves again."""
        url = f"{self.stack.about.store}/_emulator/faults"
        request = urllib.request.Request(url, json.dumps(faults).encode(), method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


def _serve_pages() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(_Quiet, directory=str(ROOT / "docs" / "samples"))
    ) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(10)


@pytest.fixture(scope="package")
def named_origin() -> Iterator[str]:
    yield from _serve_pages()


@pytest.fixture(scope="package")
def other_origin() -> Iterator[str]:
    yield from _serve_pages()


@pytest.fixture(scope="package")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    missing = missing_commands()
    if missing:
        reason = f"{', '.join(missing)} not found: apt-get install --no-install-recommends {' '.join(PACKAGES)}"
        if os.environ.get("REQUIRE_PEERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    with running_browser(tmp_path_factory.mktemp("browser")) as running:
        yield running


@pytest.fixture(scope="package", params=["emulator"])  # "ceph" joins here, once `start_stack` can stand on one
def stack(
    request: pytest.FixtureRequest,
    browser: Browser,  # noqa: ARG001 - first, so that nothing is started where there is none
    named_origin: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stack]:
    running = start_stack(
        StackOptions(
            directory=tmp_path_factory.mktemp(f"stack-{request.param}") / "dev",
            policy={"first_look": "1s"},
            multipart={"threshold_bytes": PART_BYTES, "part_size_bytes": PART_BYTES},
            page_origins=(named_origin,),
        )
    )
    try:
        _allow_pages(running, named_origin)
        yield running
    finally:
        running.stop()


def _allow_pages(stack: Stack, origin: str) -> None:
    """Gives the bucket the very rules of the README, for our origin."""
    about = stack.about
    s3 = boto3.client(
        "s3",
        endpoint_url=about.store,
        aws_access_key_id=about.access_key,
        aws_secret_access_key=about.secret_key,
        region_name="us-east-1",
    )
    s3.put_bucket_cors(Bucket=about.bucket, CORSConfiguration=bucket_cors(origin))
    s3.close()


def bucket_cors(origin: str) -> Any:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"^## In a browser$.*?^```json\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace("https://app.example", origin))


@pytest.fixture
def application(stack: Stack, named_origin: str) -> Iterator[Application]:
    application = Application(stack=stack, origin=named_origin)
    application.misbehave()
    yield application
    application.misbehave()


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")
