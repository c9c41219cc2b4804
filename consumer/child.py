"""The process that runs plain functions: `python -m consumer.child SOCKET PARENT MODULE APP_DIR`, started by the pool.

It imports the application and waits for a job. On Linux it dies with the worker, cannot be looked into by its
neighbours, and gains no privilege by running a program (prctl(2): PR_SET_PDEATHSIG, PR_SET_DUMPABLE,
PR_SET_NO_NEW_PRIVS).
"""

import importlib
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec

from broker.contract import MAX_RESULT_BYTES
from consumer import frames, hardening
from consumer.errors import ConsumerError, Reject, ResultNotJson, ResultTooLarge, Retry
from consumer.events import describe, scrub
from consumer.local import LocalReader


def main(arguments: list[str]) -> None:
    number, parent, module, app_dir = arguments
    hardening.die_with(int(parent))
    hardening.hide_memory()
    hardening.gain_nothing()
    with socket.socket(fileno=int(number)) as sock:
        functions = _imported(sock, module, app_dir)
        while (received := _next(sock)) is not None:
            task, file = received
            try:
                reply = _run(functions[task.name], task, file)
            finally:
                os.close(file)
            sys.stdout.flush()
            sys.stderr.flush()
            sock.sendall(frames.framed(reply))


def _imported(sock: socket.socket, module: str, app_dir: str) -> dict[str, Any]:
    sys.path.insert(0, app_dir)
    try:
        functions = vars(importlib.import_module(module))
    except Exception as exc:
        sock.sendall(frames.framed(frames.Hello(fault=describe(exc))))
        raise
    sock.sendall(frames.framed(frames.Hello()))
    return functions


def _next(sock: socket.socket) -> tuple[frames.Task, int] | None:
    head, files, _, _ = socket.recv_fds(sock, frames.HEAD_BYTES, 1)
    if not head:
        return None
    head += _exactly(sock, frames.HEAD_BYTES - len(head))
    body = _exactly(sock, int.from_bytes(head, "big"))
    return msgspec.msgpack.decode(body, type=frames.Task), files[0]


def _exactly(sock: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size:
        piece = sock.recv(size - len(got))
        if not piece:
            raise EOFError
        got += piece
    return bytes(got)


def _run(function: Callable[..., Any], task: frames.Task, file: int) -> frames.Reply:
    try:
        result = function(task.job, LocalReader(file, task.job.size_bytes))
        return frames.Reply(kind="result", result=_encoded(result))
    except Retry as exc:
        return frames.Reply(kind="retry", code=exc.code, message=scrub(exc.detail), after_seconds=exc.after_seconds)
    except Reject as exc:
        return frames.Reply(kind="reject", code=exc.reason_code, message=scrub(exc.detail))
    except ConsumerError as exc:
        return frames.Reply(kind="error", code=exc.code, message=scrub(exc.detail))
    except (Exception, SystemExit) as exc:
        return frames.Reply(kind="error", code="processor-error", message=describe(exc))


def _encoded(result: object) -> bytes:
    try:
        encoded = msgspec.json.encode(result)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ResultNotJson from exc
    if len(encoded) > MAX_RESULT_BYTES:
        raise ResultTooLarge
    return encoded


if __name__ == "__main__":
    main(sys.argv[1:])
