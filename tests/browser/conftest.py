"""The real broker on the emulator and on a real Ceph, a browser, and pages of an origin that is named or is not."""

import base64
import http.server
import json
import os
import re
import threading
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker.dev.stack import REGION, StackOptions, start_stack
from broker.storage.s3.policies import policies_of
from broker.storage.s3.sigv4 import Credential
from tests.browser.webdriver import PACKAGES, Browser, missing_commands, running_browser
from tests.contracts.storage.s3.stores import S3Store, real_ceph
from tests.contracts.storage.s3.witness import S3Witness
from tests.peers.ceph.cluster import Ceph
from tests.peers.ceph.loop import LoopOptions, running_loop

ROOT = Path(__file__).parents[2]
PAGE = "browser-upload.html"
PART_BYTES = 5 * 2**20
MULTIPART = {"threshold_bytes": PART_BYTES, "part_size_bytes": PART_BYTES}
FIRST_LOOK = "1s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """What a team would write: it holds the key, mints, and gives its page what it minted."""

    broker: str
    store: str
    api_key: str
    store_secrets: Sequence[str]
    origin: str

    def mint(self, size_bytes: int, strategy: str, **more: Any) -> dict[str, Any]:
        wish = {"filename": "holiday.mov", "size_bytes": size_bytes, "strategy": strategy, **more}
        return self.call("POST", "/upload-sessions", wish)

    def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.api_key}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.broker + path, data, headers, method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return dict(json.load(answer))

    def grant(self, session: dict[str, Any]) -> dict[str, Any]:
        """All that the page is given."""
        return {"broker": self.broker} | {name: session[name] for name in ("id", "upload", "token")}

    def page(self, session: dict[str, Any], *, origin: str | None = None) -> str:
        fragment = base64.urlsafe_b64encode(json.dumps(self.grant(session)).encode()).rstrip(b"=").decode()
        return f"{origin or self.origin}/{PAGE}#{fragment}"

    def misbehave(self, **faults: Any) -> None:
        """Tells the emulator; nothing means that it behaves again."""
        url = f"{self.store}/_emulator/faults"
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


@pytest.fixture(scope="package")
def on_emulator(
    browser: Browser,  # noqa: ARG001 - first, so that nothing is started where there is none
    named_origin: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Application]:
    stack = start_stack(
        StackOptions(
            directory=tmp_path_factory.mktemp("stack") / "dev",
            policy={"first_look": FIRST_LOOK},
            multipart=MULTIPART,
            page_origins=(named_origin,),
        )
    )
    about = stack.about
    try:
        keys = Credential(access_key=about.access_key, secret_key=about.secret_key)
        with closing(S3Witness.of(about.store, REGION, keys)) as owner:
            allow_pages(owner, about.bucket, named_origin)
        yield Application(
            broker=about.broker,
            store=about.store,
            api_key=about.api_key,
            store_secrets=(about.secret_key,),
            origin=named_origin,
        )
    finally:
        stack.stop()


@pytest.fixture(scope="package")
def on_ceph(
    browser: Browser,  # noqa: ARG001 - first, as above
    ceph: Ceph,
    named_origin: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Application]:
    with real_ceph(ceph) as store:
        put_behind_the_guard(store, store.bucket)
        allow_pages(store.witness, store.bucket, named_origin)
        options = LoopOptions(
            bucket=store.bucket,
            directory=tmp_path_factory.mktemp("loop"),
            first_look=FIRST_LOOK,
            multipart=MULTIPART,
            page_origins=(named_origin,),
        )
        with running_loop(store, options) as loop:
            yield Application(
                broker=loop.url,
                store=store.url,
                api_key=loop.api_key,
                store_secrets=(store.credential.secret_key, store.writer.secret_key),
                origin=named_origin,
            )


def put_behind_the_guard(store: S3Store, bucket: str) -> None:
    """Gives the bucket the very policies that `setup s3 --print` prints."""
    policies = policies_of(bucket=bucket, prefix="uploads", dialect=store.dialect, origins=())
    rights = (
        (policies.write, store.writer_name),
        (policies.read, store.owner_name),
        (policies.remove, store.owner_name),
    )
    statements = [
        msgspec.to_builtins(statement) | {"Principal": {"AWS": [f"arn:aws:iam:::user/{who}"]}}
        for document, who in rights
        for statement in document.statement
    ]
    store.witness.set_policy(bucket, *statements)


def allow_pages(owner: S3Witness, bucket: str, origin: str) -> None:
    """Gives the bucket the very rules of the README, for our origin."""
    owner.client.put_bucket_cors(Bucket=bucket, CORSConfiguration=bucket_cors(origin))


def bucket_cors(origin: str) -> Any:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"^## In a browser$.*?^```json\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert found is not None
    return json.loads(found[1].replace("https://app.example", origin))


on_each_store = pytest.mark.parametrize("application", ["emulator", "ceph"], indirect=True)


@pytest.fixture
def application(request: pytest.FixtureRequest) -> Iterator[Application]:
    """On the emulator, which can misbehave; with `on_each_store` on a real Ceph, too."""
    name = getattr(request, "param", "emulator")
    application: Application = request.getfixturevalue(f"on_{name}")
    yield application
    if name == "emulator":
        application.misbehave()


@pytest.fixture(scope="package")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")
