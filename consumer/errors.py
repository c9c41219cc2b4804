"""The error tree of the worker. A class is a stable kebab-case code and a sentence.

ConsumerError
├── Retry, Reject                what a processor says to the worker
├── ReadFault                    the object could not be read as it was verified
│   ├── ObjectMissing, ObjectChanged, ChecksumNotProvable     the job fails: reading again changes nothing
│   ├── ChecksumMismatch, LineTooLong                         the bytes are rejected
│   ├── TooLargeForMemory                                     the job fails: the processor asked for too much at once
│   └── StoreTrouble, SpoolTrouble                            nobody's fault: given back, not counted
├── NoProcessor, WorkerDied, TimedOut, ResultTooLarge, ResultNotJson, ProcessorError
├── LeaseLost                    another worker may own the job: report nothing
├── BrokerAway                   no answer, or one that says "later"
├── BrokerRefused                an answer that another try does not change
└── ConfigurationInvalid         found at start-up
"""

import re
from datetime import timedelta
from typing import ClassVar

_CODE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class ConsumerError(Exception):
    """Something went wrong."""

    code: ClassVar[str] = "error"

    def __init__(self, detail: str | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        super().__init__(self.detail)


class Retry(ConsumerError):
    """The processor asked for another try."""

    code = "processor-retry"

    def __init__(self, after: float | timedelta | None = None, reason: str | None = None) -> None:
        """
        :param after: seconds until the next try; None leaves it to the destination's policy.
        """
        super().__init__(reason)
        self.after_seconds = after.total_seconds() if isinstance(after, timedelta) else after


class Reject(ConsumerError):
    """The processor does not accept these bytes."""

    code = "processor-rejected"

    def __init__(self, reason: str | None = None, *, code: str = "processor-rejected") -> None:
        """
        :param code: a kebab-case word of the application's own, for programs that read the session.
        """
        if not _CODE.fullmatch(code):
            raise ValueError("a code is kebab-case: lower-case letters, digits and single hyphens")
        super().__init__(reason)
        self.reason_code = code


class ReadFault(ConsumerError):
    """The object could not be read."""

    code = "read-fault"


class ObjectMissing(ReadFault):
    """The verified object is not there any more."""

    code = "object-missing"


class ObjectChanged(ReadFault):
    """The stored object is not the one that was verified."""

    code = "object-changed"


class ChecksumMismatch(ReadFault):
    """The bytes do not have the declared checksum."""

    code = "checksum-mismatch"


class ChecksumNotProvable(ReadFault):
    """This worker cannot compute the declared checksum."""

    code = "checksum-not-provable"


class LineTooLong(ReadFault):
    """A line is longer than the processor reads."""

    code = "line-too-long"


class TooLargeForMemory(ReadFault):
    """The processor asked for more bytes at once than it permitted itself; stream them."""

    code = "too-large-for-memory"


class StoreTrouble(ReadFault):
    """The object store does not answer, or keeps breaking off."""

    code = "store-trouble"


class SpoolTrouble(ReadFault):
    """The worker cannot write its temporary file."""

    code = "spool-trouble"


class NoProcessor(ConsumerError):
    """No processor takes this content type."""

    code = "no-processor"


class WorkerDied(ConsumerError):
    """The process that ran the processor died."""

    code = "worker-died"


class TimedOut(ConsumerError):
    """The processor took longer than it permitted itself."""

    code = "timeout"


class ResultTooLarge(ConsumerError):
    """The result is larger than 64 KiB of JSON."""

    code = "result-too-large"


class ResultNotJson(ConsumerError):
    """The processor returned something that JSON cannot say."""

    code = "result-not-json"


class ProcessorError(ConsumerError):
    """The processor raised an exception in its own process; the text was made there."""

    code = "processor-error"


class LeaseLost(ConsumerError):
    """The lease is not the current one."""

    code = "lease-lost"


class BrokerAway(ConsumerError):
    """The broker does not answer, or says "later"."""

    code = "broker-away"

    def __init__(self, detail: str | None = None, *, retry_after_seconds: float = 0.0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class BrokerRefused(ConsumerError):
    """The broker refuses this request."""

    code = "broker-refused"

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(f"the broker answered {status} {problem}")
        self.status = status
        self.problem = problem


class ConfigurationInvalid(ConsumerError):
    """The worker cannot start like this."""

    code = "configuration-invalid"
