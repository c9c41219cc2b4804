"""A browser by chromedriver's HTTP API, https://www.w3.org/TR/webdriver2/ – only the commands that these tests need."""

import base64
import json
import os
import re
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError

T = TypeVar("T")

PACKAGES = ("chromium", "chromium-driver")  # Debian's names
COMMANDS = ("chromium", "chromedriver")
ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # section 12: the name of a reference to an element
PATIENCE_SECONDS = 30.0
LOOK_AGAIN_SECONDS = 0.02
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # nothing leaves loopback
    "--window-size=720,600",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Browser:
    """One session of one browser."""

    session: str

    def open(self, url: str) -> None:
        """A new document, also where only the fragment differs."""
        self._call("POST", "/url", {"url": "about:blank"})
        self._call("POST", "/url", {"url": url})

    def choose(self, selector: str, file: Path) -> None:
        """As a user does in the dialog of a file input."""
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": str(file)})

    def type(self, selector: str, text: str) -> None:
        self._call("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def text(self, selector: str) -> str:
        return str(self._call("GET", f"/element/{self._find(selector)}/text"))

    def run(self, script: str, *arguments: Any) -> Any:
        """:param script: the body of a function; it may return a promise."""
        return self._call("POST", "/execute/sync", {"script": script, "args": arguments})

    def screenshot(self) -> bytes:
        return base64.b64decode(self._call("GET", "/screenshot"))

    @contextmanager
    def thin_line(self, upload_bytes_per_second: int) -> Iterator[None]:
        """However fast a server takes them, the bytes of all requests together leave no faster."""
        self._limit(upload_bytes_per_second)
        try:
            yield
        finally:
            self._limit(-1)

    def traffic(self) -> list[dict[str, Any]]:
        """Chromium's own record of the network since it was asked last: the events of DevTools' Network domain."""
        entries = self._call("POST", "/se/log", {"type": "performance"})
        messages = [json.loads(entry["message"])["message"] for entry in entries]
        return [message for message in messages if message["method"].startswith("Network.")]

    def _limit(self, upload_bytes_per_second: int) -> None:
        """By DevTools' Network.emulateNetworkConditions: -1 lifts a limit."""
        line = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": upload_bytes_per_second}
        self._call("POST", "/goog/cdp/execute", {"cmd": "Network.emulateNetworkConditions", "params": line})

    def _find(self, selector: str) -> str:
        found = self._call("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        return _call(method, self.session + path, body)


def until(look: Callable[[], T | None], *, what: str) -> T:
    """What `look` finds, as soon as it is something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while not (found := look()):
        assert time.monotonic() < end, f"waited {PATIENCE_SECONDS:g} s for {what}"
        time.sleep(LOOK_AGAIN_SECONDS)
    return found


def missing_commands() -> list[str]:
    return [command for command in COMMANDS if shutil.which(command) is None]


@contextmanager
def running_browser(directory: Path) -> Iterator[Browser]:
    """:param directory: empty; the browser's profile and the driver's log."""
    log = directory / "chromedriver.log"
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "TMPDIR": str(directory)}
    with (
        log.open("wb") as out,
        subprocess.Popen(["chromedriver", "--port=0"], stdout=out, stderr=out, env=env) as driver,
    ):
        try:
            port = until(
                lambda: re.search(r"started successfully on port (\d+)", log.read_text()), what="chromedriver"
            )[1]
            root = f"http://127.0.0.1:{port}/session"
            flags = [*_FLAGS, f"--user-data-dir={directory / 'profile'}"]
            options = {"args": flags, "binary": shutil.which("chromium")}
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"performance": "ALL"}}
            session = f"{root}/{_call('POST', root, {'capabilities': {'alwaysMatch': wanted}})['sessionId']}"
            yield Browser(session=session)
            _call("DELETE", session)
        finally:
            driver.terminate()
            try:
                driver.wait(10)
            finally:
                driver.kill()


def _call(method: str, url: str, body: Any = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return json.load(answer)["value"]
    except HTTPError as exc:
        with exc:
            raise AssertionError(f"{method} {url.rpartition('/')[2]}: {json.load(exc)['value']['message']}") from None
