"""What an upload tells its observer: events for what happens, a meter for how far it is.

`--json` prints an event as it stands, so a field here is a promise to scripts. None holds a URL, a token or a key.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from uploader.transfer.meter import TreeMeter

Phase = Literal["hashing", "sending", "waiting", "reading"]


class Event(Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Something happened to one file."""

    file: str


class Hashed(Event, frozen=True, kw_only=True, tag="upload.hashed"):
    algorithm: str
    seconds: float


class Minted(Event, frozen=True, kw_only=True, tag="upload.minted"):
    session_id: str
    key: str
    size_bytes: int
    expires_at: datetime
    is_replay: bool = False
    copies: dict[str, str] = {}
    """the keys by destination, of a fan-out"""


class Resumed(Event, frozen=True, kw_only=True, tag="upload.resumed"):
    """An earlier command was interrupted; what it sent is not sent again."""

    session_id: str
    stored_parts: int
    part_count: int
    stored_bytes: int
    size_bytes: int = 0
    """of an upload that goes on at `stored_bytes`, without parts"""
    copies: dict[str, str] = {}
    """the states by destination, of a fan-out"""


class NotResumed(Event, frozen=True, kw_only=True, tag="upload.not-resumed"):
    """An earlier command was interrupted, but its session is of no use any more."""

    session_id: str
    why: str


class Reminted(Event, frozen=True, kw_only=True, tag="upload.reminted"):
    session_id: str
    why: str
    destination: str | None = None


class Sent(Event, frozen=True, kw_only=True, tag="upload.sent"):
    session_id: str
    size_bytes: int
    seconds: float
    attempts: int
    parts: int = 0
    destination: str | None = None


class Retrying(Event, frozen=True, kw_only=True, tag="upload.retrying"):
    """`what` is the thing that is done again: mint, send, complete, get, …"""

    what: str
    why: str
    delay_seconds: float
    attempt: int
    session_id: str | None = None
    destination: str | None = None


class StateSeen(Event, frozen=True, kw_only=True, tag="upload.state"):
    """Of the session, or of its copy at `destination`."""

    session_id: str
    state: str
    destination: str | None = None


class Progressed(Event, frozen=True, kw_only=True, tag="upload.progressed"):
    phase: Phase
    done_bytes: int
    total_bytes: int
    copies: dict[str, int] = {}
    """bytes by destination, of a fan-out"""


class Finished(Event, frozen=True, kw_only=True, tag="upload.finished"):
    session_id: str
    state: str
    destination: str
    key: str
    size_bytes: int
    seconds: float
    sent_seconds: float
    attempts: int
    proved: str | None
    """the digest by which the store turned out to have what was sent; null if nobody knows"""
    result: Any = None
    copies: dict[str, str] = {}
    """the states by destination, of a fan-out"""
    missing: dict[str, str] = {}
    """why copies are not there, by destination"""


class Downloaded(Event, frozen=True, kw_only=True, tag="download.finished"):
    session_id: str
    path: str
    size_bytes: int
    proved: str | None
    attempts: int


class Failed(Event, frozen=True, kw_only=True, tag="upload.failed"):
    code: str
    message: str
    exit_code: int
    session_id: str | None = None
    state: str | None = None


class Aborted(Event, frozen=True, kw_only=True, tag="upload.aborted"):
    session_id: str
    why: str


class Kept(Event, frozen=True, kw_only=True, tag="upload.kept"):
    """It ended early, and the same command goes on from here."""

    session_id: str
    why: str


class Meter:
    """How far one file is. The sending thread writes, a view reads; whole integers, so no lock is needed.

    A file that is sent in parts has a lane for each part that is under way; one that goes to several destinations has
    a meter for each copy, and shows their sum.

    :ivar state: of a copy: sending, verified, missing …
    """

    __slots__ = ("_done_bytes", "_lanes", "copies", "file", "label", "phase", "state", "total_bytes")

    def __init__(self, file: str, total_bytes: int, phase: Phase = "hashing", label: str = "") -> None:
        self.file = file
        self.label = label
        self.total_bytes = total_bytes
        self.phase: Phase = phase
        self.state = ""
        self.copies: list[Meter] = []
        self._done_bytes = 0
        self._lanes: list[Meter] = []

    @property
    def done_bytes(self) -> int:
        return self._done_bytes + sum(meter.done_bytes for meter in (*self._lanes, *self.copies))

    @done_bytes.setter
    def done_bytes(self, size_bytes: int) -> None:
        self._done_bytes = size_bytes

    def begin(self, phase: Phase, done_bytes: int = 0) -> None:
        self.done_bytes = done_bytes
        self.phase = phase

    def split(self, destinations: Sequence[str]) -> dict[str, "Meter"]:
        """A meter for each copy; this one shows their sum from now on."""
        self.copies = [Meter(self.file, self.total_bytes, "sending", each) for each in destinations]
        self.total_bytes *= len(self.copies)
        self.begin("sending")
        return {meter.label: meter for meter in self.copies}

    @contextmanager
    def lane(self, size_bytes: int) -> Iterator["Meter"]:
        """A meter for one part. What it counted stays counted if the part was taken, and else is forgotten."""
        with self.ahead() as lane:
            yield lane
            self._done_bytes += size_bytes

    @contextmanager
    def ahead(self) -> Iterator["Meter"]:
        """A meter for bytes that are on their way. It counts until the block ends, and whoever knows how many came
        says so before.
        """
        lane = Meter(self.file, self.total_bytes, self.phase)
        self._lanes.append(lane)
        try:
            yield lane
        finally:
            self._lanes.remove(lane)


class Observer(Protocol):
    """Somebody who looks on. Called on the event loop, so an answer is quick."""

    def on_event(self, event: Event) -> None: ...

    def on_meter(self, meter: Meter) -> None:
        """A file begins; the meter is alive until its `upload.finished` or `upload.failed`."""


class Silent:
    """Looks on and says nothing."""

    def on_event(self, event: Event) -> None:
        pass

    def on_meter(self, meter: Meter) -> None:
        pass


class TreeEvent(Struct, frozen=True, kw_only=True, tag_field="event", omit_defaults=True):
    """Something happened to an upload of trees, or to one file in it. Names are as `words.shown` shows them."""


class TreeBegan(TreeEvent, frozen=True, kw_only=True, tag="tree.began"):
    """`nice` says which priority of CPU and I/O it runs at; `mode`, `wait` and `jobs` are as they were ordered."""

    roots: list[str]
    manifest: str
    broker: str
    destinations: list[str]
    batch: str = ""
    nice: str = ""
    mode: str = "concurrent"
    wait: str = "verified"
    jobs: int = 0


class TreeScanned(TreeEvent, frozen=True, kw_only=True, tag="tree.scanned"):
    files: int
    size_bytes: int
    unchanged: int
    skipped: int
    vanished: int
    seconds: float


class TreeProgressed(TreeEvent, frozen=True, kw_only=True, omit_defaults=False, tag="tree.progressed"):
    """The numbers of `transfer.meter.TreeMeter`, and what a view makes of them. `sent_bytes` counts what is under way,
    too; `eta_seconds` is null while nobody can know."""

    is_scanned: bool
    found_files: int
    found_bytes: int
    unchanged_files: int
    todo_files: int
    todo_bytes: int
    sent_files: int
    sent_bytes: int
    resent_bytes: int
    verified_files: int
    verified_bytes: int
    failed_files: int
    skipped_files: int
    vanished_files: int
    concurrency: int
    limit: int
    seconds: float
    files_per_second: float
    bytes_per_second: float
    eta_seconds: float | None


class TreeSlowed(TreeEvent, frozen=True, kw_only=True, tag="tree.slowed"):
    """There are fewer requests at a time now, because of `why`."""

    why: str
    concurrency: int


class TreeRetrying(TreeEvent, frozen=True, kw_only=True, tag="tree.retrying"):
    """The broker does not answer as it should; `what` is done again: mint, complete, get, …"""

    what: str
    why: str
    delay_seconds: float
    attempt: int


class FileVerified(TreeEvent, frozen=True, kw_only=True, tag="file.verified"):
    path: str
    session_id: str
    size_bytes: int
    proved: str | None
    """the digest by which the store has what was sent; null if nobody knows, or an earlier run sent it"""


class FileFailed(TreeEvent, frozen=True, kw_only=True, tag="file.failed"):
    path: str
    code: str
    message: str
    session_id: str | None = None


class TreeFinished(TreeEvent, frozen=True, kw_only=True, omit_defaults=False, tag="tree.finished"):
    """How the run ended. `unsettled_files` were sent, but nobody has looked at them yet; `pending_files` were not.

    :ivar unread_files: of those skipped, what could not be read.
    :ivar failures: the first of them; the manifest has all.
    """

    exit_code: int
    manifest: str
    seconds: float
    sending_seconds: float
    unchanged_files: int
    sent_files: int
    sent_bytes: int
    resent_bytes: int
    verified_files: int
    verified_bytes: int
    unsettled_files: int
    pending_files: int
    failed_files: int
    skipped_files: int
    unread_files: int
    vanished_files: int
    failures: list[FileFailed] = []


class TreeObserver(Protocol):
    """Somebody who looks on an upload of trees. Called on the event loop, so an answer is quick.

    :ivar wants_files: tell of each file that is verified, too; it costs something.
    """

    wants_files: bool

    def on_event(self, event: TreeEvent) -> None: ...

    def on_tree(self, meter: "TreeMeter") -> None:
        """It begins; the meter is alive until its `tree.finished`, or until the run ends with an error."""


class SilentTree:
    """Looks on and says nothing."""

    wants_files = False

    def on_event(self, event: TreeEvent) -> None:
        pass

    def on_tree(self, meter: "TreeMeter") -> None:
        pass
