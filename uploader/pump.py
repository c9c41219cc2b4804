"""Bytes from a source to a connected socket, in a thread, with the kernel copying where it can (sendfile(2)).

The event loop keeps reading the same connection on its own descriptor meanwhile. That is the point: a store that
refuses in the middle of the body answers, then resets, and the answer is read from the receive queue although
our writing broke – where one transport for both directions would drop it together with the broken pipe. It also
costs the loop no wake-up a piece.
"""

import os
import select
import socket
import threading
from collections.abc import Callable
from datetime import timedelta

from uploader.events import Meter
from uploader.source import Source

PIECE_BYTES = 1 << 20  # what one call may send; the kernel takes what the socket buffer has room for
READ_BYTES = 1 << 18  # at a time, where the bytes come through memory: they are still in the cache when they leave
TAIL_BYTES = 1 << 16  # held back until the source is known to be unchanged

IS_AVAILABLE = hasattr(os, "sendfile")  # Linux, macOS, BSD


class Stopped(Exception):
    """Nobody wants the rest."""


class Pump:
    """One body on one connection. `run` blocks; `stop` may be called from another thread."""

    def __init__(self, descriptor: int, source: Source, meter: Meter, stall: timedelta) -> None:
        """:param descriptor: of a connected, non-blocking stream socket; duplicated, so the caller keeps its own."""
        self._socket = socket.socket(fileno=os.dup(descriptor))
        self._source = source
        self._meter = meter
        self._stall = stall
        self._held = memoryview(b"")  # what was read and is not sent yet
        self._is_stopped = threading.Event()
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLOUT)

    def run(self) -> None:
        """Send all of it.

        :raises FileChanged: the source changed; its last piece was kept back.
        :raises TimeoutError: the other side took nothing for too long.
        :raises OSError: the connection broke. Its answer, if there is one, is still to be read.
        :raises Stopped: `stop` was called.
        """
        with self._socket:
            size = self._source.size_bytes
            tail = max(0, size - TAIL_BYTES)
            step = self._send_file if self._source.fileno is not None else self._send_memory
            self._advance(0, tail, step)
            held_back = self._source.read(tail, size - tail)
            self._source.check()
            self._advance(tail, size, lambda offset, _: self._socket.send(held_back[offset - tail :]))

    def stop(self) -> None:
        """Wakes `run` at once. The connection is of no use afterwards."""
        self._is_stopped.set()
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is gone already, which wakes as well

    def _advance(self, offset: int, end: int, step: Callable[[int, int], int]) -> None:
        while offset < end:
            if self._is_stopped.is_set():
                raise Stopped
            try:
                offset += step(offset, min(PIECE_BYTES, end - offset))
            except BlockingIOError:
                self._wait()
            self._meter.done_bytes = offset

    def _send_file(self, offset: int, count: int) -> int:
        assert self._source.fileno is not None  # noqa: S101 - chosen in `run`
        sent = os.sendfile(self._socket.fileno(), self._source.fileno, self._source.offset_bytes + offset, count)
        if not sent:
            self._source.read(offset, 1)  # says that the file shrank
        return sent

    def _send_memory(self, offset: int, count: int) -> int:
        self._held = self._held or self._source.read(offset, min(count, READ_BYTES))
        sent = self._socket.send(self._held)
        self._held = self._held[sent:]
        return sent

    def _wait(self) -> None:
        if not self._poll.poll(self._stall.total_seconds() * 1000):
            raise TimeoutError
