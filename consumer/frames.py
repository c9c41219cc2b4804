"""What a worker and its processes say to each other: a length and a msgpack Struct, nothing that runs code."""

from typing import Literal, TypeVar

import msgspec
from msgspec import Struct

from broker.contract import MAX_RESULT_BYTES
from consumer.jobs import Job

HEAD_BYTES = 4
MAX_BYTES = MAX_RESULT_BYTES + 4_096  # ours: a result, a reason and their names


class Hello(Struct, frozen=True, kw_only=True):
    """The process is ready, or says why it never will be."""

    fault: str | None = None


class Task(Struct, frozen=True, kw_only=True):
    """One job for the function `name` of the module that the process imported. The object's file comes with it."""

    name: str
    job: Job


class Reply(Struct, frozen=True, kw_only=True):
    """What came of it. `result` is JSON."""

    kind: Literal["result", "retry", "reject", "error"]
    code: str = ""
    message: str = ""
    after_seconds: float | None = None
    result: bytes = b""


Message = TypeVar("Message", Hello, Task, Reply)


def framed(message: Hello | Task | Reply) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(HEAD_BYTES, "big") + body
