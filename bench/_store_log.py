"""What a store's own log says of the objects it took: the one clock that is the same for all sides.

nginx writes a line when it has answered (`$msec`, milliseconds), radosgw a line "beast: …" at the same moment, with
the coarse clock of the kernel (4 ms). That nothing is missing is proved by it as well.
"""

import re
import time
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

PATIENCE_SECONDS = 10.0  # radosgw writes its log in a thread of its own

NGINX = re.compile(rb'^(?P<moment>\S+) "(?P<method>\S+) (?P<path>[^ ?]+)(?:\?(?P<query>\S*))? \S+" (?P<status>\d+)')
NGINX_FORMAT = """'$msec "$request" $status $request_length'"""
RADOSGW = re.compile(
    rb'^(?P<moment>\S+) .* beast: .*? "(?P<method>\S+) (?P<path>[^ ?]+)(?:\?(?P<query>\S*))? \S+" (?P<status>\d+)'
)


class LogIncomplete(Exception):
    """The store does not say that it took everything."""


@dataclass(slots=True)
class StoreLog:
    """Of one turn: what was there before it is skipped."""

    path: Path
    line: re.Pattern[bytes]
    _offset: int = field(default=0, init=False)
    _taken: dict[bytes, float] = field(default_factory=dict, init=False)

    def skip(self) -> None:
        """All that was said so far is about an earlier turn."""
        self._offset = self.path.stat().st_size if self.path.exists() else 0
        self._taken.clear()

    def objects(self) -> int:
        """How many are there by now."""
        with self.path.open("rb") as log:
            log.seek(self._offset)
            for text in log:
                if not text.endswith(b"\n"):
                    break
                self._offset += len(text)
                self._note(text)
        return len(self._taken)

    def last_put(self, objects: int) -> float:
        """When the last of so many objects was there, in seconds since 1970: by its PUT, or by the POST that completes
        its parts. Of one that was sent twice, the second time counts.

        :raises LogIncomplete: fewer were taken.
        """
        end = time.monotonic() + PATIENCE_SECONDS
        while (known := self.objects()) < objects:
            if time.monotonic() > end:
                raise LogIncomplete(f"{self.path.name} knows {known:,} of {objects:,} objects")
            time.sleep(0.05)  # nothing tells us when it has been written
        return max(self._taken.values())

    def _note(self, text: bytes) -> None:
        said = self.line.match(text)
        if said is not None and said["status"].startswith(b"2") and _is_object(said):
            self._taken[said["path"]] = _seconds(said["moment"].decode())


def _is_object(said: re.Match[bytes]) -> bool:
    query = said["query"] or b""
    if said["method"] == b"PUT":
        return b"partNumber=" not in query
    return said["method"] == b"POST" and b"uploadId=" in query


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp() if "T" in moment else float(moment)
