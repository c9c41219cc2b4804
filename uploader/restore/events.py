"""What is told of a tree that is restored, besides `download.finished` of each file. Names are as `shown` shows."""

from uploader.events import Event


class FileSkipped(Event, frozen=True, kw_only=True, tag="download.skipped"):
    """It was there already."""

    session_id: str
    size_bytes: int


class FileNotSaved(Event, frozen=True, kw_only=True, tag="download.failed"):
    session_id: str
    code: str
    message: str


class TreeRestored(Event, frozen=True, kw_only=True, omit_defaults=False, tag="download.tree-finished"):
    """:ivar absent: files of which there is nothing to read, by state.
    :ivar stopped: the code of what ended it before it was through.
    """

    exit_code: int
    saved_files: int
    saved_bytes: int
    skipped_files: int
    older_files: int
    failed_files: int
    absent: dict[str, int]
    seconds: float
    stopped: str | None
