"""An application and its user, with nothing but curl: mint, send exactly what was signed, ask what became of it."""

import json
import re
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WAIT_SECONDS = 30.0
ENDED = ("processed", "failed", "rejected")


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """:param observer_key: one that may read metrics."""

    url: str
    api_key: str
    directory: Path
    observer_key: str = ""

    def ask(self, path: str, body: dict[str, Any] | None = None) -> Any:
        more = [] if body is None else ["--json", json.dumps(body)]
        return json.loads(curl(f"{self.url}{path}", "-H", f"Authorization: Bearer {self.api_key}", *more))

    def mint(self, body: bytes, **declared: Any) -> Any:
        wish = {"filename": "rows.csv", "size_bytes": len(body), "content_type": "text/csv", **declared}
        return self.ask("/upload-sessions", wish)

    def send(self, session: Any, body: bytes) -> int:
        """The status of a PUT exactly as signed."""
        request, path = session["upload"]["request"], self.directory / session["id"]
        path.write_bytes(body)
        headers = [word for name, value in request["headers"].items() for word in ("-H", f"{name}: {value}")]
        out = ("-o", str(path.with_suffix(".out")), "-w", "%{http_code}")
        return int(curl(request["url"], "-X", request["method"], "-T", str(path), *out, *headers))

    def settled(self, session_id: str, states: Sequence[str] = ENDED) -> Any:
        """The session as soon as it is in one of `states`, or as it is after a while."""
        end = time.monotonic() + WAIT_SECONDS
        while True:
            session = self.ask(f"/upload-sessions/{session_id}")
            if session["state"] in states or time.monotonic() > end:
                return session
            time.sleep(0.05)  # nothing pushes a state to us

    def accepted(self, source: str) -> int:
        """How many records of this source the door has taken so far."""
        text = curl(f"{self.url}/metrics", "-H", f"Authorization: Bearer {self.observer_key}").decode()
        line = rf'^broker_notification_records_total{{result="accepted",source="{source}"}} (\S+)$'
        found = re.search(line, text, re.MULTILINE)
        return int(float(found[1])) if found else 0


def curl(*argv: str) -> bytes:
    return subprocess.run(["curl", "-sS", "--max-time", "20", *argv], capture_output=True, check=True).stdout
