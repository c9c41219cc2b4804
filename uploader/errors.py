"""What can go wrong with an upload, as one tree. A class is a stable kebab-case code and the command's exit code.

UploaderError
├── UploadFailed          the upload itself ended badly                                   exit 1
│   ├── FileUnusable      the file cannot be read, or is not a regular file
│   ├── FileChanged       the file grew, shrank or vanished while it was read
│   ├── StoreRefused      the store said no in a way that sending again does not change
│   ├── SessionLost       the session ended (rejected, expired, aborted, failed)
│   ├── CopiesMissing     too few of a fan-out's copies are there                         exit of the first that failed
│   └── ContentMismatch   downloaded bytes are not what was verified
├── BrokerRefused         the broker said no: key, role, validation                       exit 3
└── Unreachable           store or broker does not answer within the retries              exit 4
    ├── BrokerAway        of these two the broker
    └── WaitTimedOut      the bytes are sent, but the wished state did not come in time

No text in here may hold a signed URL, a token or a key. aiohttp puts the URL into some of its messages, which is
why its exceptions are described by class and errno and raised `from None`.
"""

from collections.abc import Mapping
from typing import ClassVar

from broker.contract import Problem, Reason, State

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2  # click's own
EXIT_REFUSED = 3
EXIT_UNREACHABLE = 4
EXIT_COPY_MISSING = 5  # no error: the session has what it needs
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells have it


class UploaderError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"
    exit_code: int = EXIT_FAILED

    def __init__(self, message: str | None = None, *, session_id: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.session_id = session_id
        super().__init__(self.message)


class UploadFailed(UploaderError):
    """The upload failed."""

    code = "upload-failed"


class FileUnusable(UploadFailed):
    """The file cannot be read."""

    code = "file-unusable"


class FileChanged(UploadFailed):
    """The file changed while it was read."""

    code = "file-changed"


class StoreRefused(UploadFailed):
    """The store refuses the upload."""

    code = "store-refused"


class ContentMismatch(UploadFailed):
    """The bytes are not the ones that were verified."""

    code = "content-mismatch"


class SessionLost(UploadFailed):
    """The session ended without success."""

    code = "session-lost"

    def __init__(self, state: State, reason: Reason | None, *, session_id: str) -> None:
        self.state = state
        self.reason = reason
        why = f": {reason.message} [{reason.code}]" if reason else ""
        super().__init__(f"the session is {state.value}{why}", session_id=session_id)


class CopiesMissing(UploadFailed):
    """Too few copies are there for the session to be verified. The same command, or call, sends the others alone.

    :ivar missing: why, by destination.
    :ivar is_late: all were sent, and may be verified yet.
    """

    code = "copies-missing"

    def __init__(self, missing: Mapping[str, UploaderError], count: int, *, session_id: str) -> None:
        self.missing = dict(missing)
        self.is_late = all(isinstance(error, WaitTimedOut) for error in missing.values())
        self.exit_code = next(iter(self.missing.values())).exit_code
        whys = "".join(f"\n  {destination}: {error.message}" for destination, error in self.missing.items())
        super().__init__(f"{len(self.missing)} of {count} copies are missing{whys}", session_id=session_id)


class BrokerRefused(UploaderError):
    """The broker refuses the request."""

    code = "broker-refused"
    exit_code = EXIT_REFUSED

    def __init__(self, problem: Problem, *, session_id: str | None = None) -> None:
        self.problem = problem
        fields = "".join(f"\n  {e.pointer}: {e.message} [{e.code}]" for e in problem.errors)
        # A detail that only repeats its one field is said once, at the field.
        is_repeated = any(e.message in problem.detail for e in problem.errors)
        head = problem.title if is_repeated or not problem.detail else problem.detail
        super().__init__(f"{head} [{problem.code}, {problem.status}]{fields}")
        self.session_id = session_id


class Unreachable(UploaderError):
    """No answer within the permitted retries."""

    code = "unreachable"
    exit_code = EXIT_UNREACHABLE


class BrokerAway(Unreachable):
    """The broker does not answer within the permitted retries."""


class WaitTimedOut(Unreachable):
    """The bytes are sent, but the wished state did not come in time."""

    code = "wait-timed-out"
