"""The one thread that writes a manifest.

Whoever has something to write hands in a function and gets a future, which is kept once the transaction is committed:
what was acknowledged survives any end of the process. Whatever waits is written in one transaction, each piece of work
behind a savepoint of its own, so that one that fails takes no other with it.
"""

import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from uploader.tree.errors import ManifestUnusable

T = TypeVar("T")

AT_ONCE = 64  # ours: pieces of work in one transaction; each is a batch already

_Work = tuple[Callable[[sqlite3.Connection], Any], Future[Any]]


class Writer:
    """:param connection: nobody else's from now on; closed at the end."""

    def __init__(self, connection: sqlite3.Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self._waiting: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._is_closed = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="manifest-writer", daemon=True)
        self._thread.start()

    def do(self, work: Callable[[sqlite3.Connection], T]) -> Future[T]:
        """Its result, once it is committed.

        The future raises `ManifestUnusable` if the disk does not take it.
        """
        future: Future[T] = Future()
        with self._lock:
            if self._is_closed:
                raise ManifestUnusable(f"{self._name}: the manifest is closed")
            self._waiting.put((work, future))
        return future

    def close(self) -> None:
        """After all that was handed in is written."""
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (first := self._waiting.get()) is not None:
                if not self._write(first):
                    break
        finally:
            self._connection.close()

    def _write(self, first: _Work) -> bool:
        """All that waits, in one transaction. False once the end was among it."""
        done: list[tuple[Future[Any], Any]] = []
        all_work, is_more = self._collected(first)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for work, future in all_work:
                if future.set_running_or_notify_cancel():
                    self._write_one(work, future, done)
            self._connection.execute("COMMIT")
        except sqlite3.Error as exc:
            self._undo()
            for _, future in all_work:
                if _is_wanted(future):
                    future.set_exception(ManifestUnusable(f"{self._name}: {exc}"))
        else:
            for future, result in done:
                future.set_result(result)
        return is_more

    def _write_one(
        self, work: Callable[[sqlite3.Connection], Any], future: Future[Any], done: list[tuple[Future[Any], Any]]
    ) -> None:
        self._connection.execute("SAVEPOINT work")
        try:
            result = work(self._connection)
        except sqlite3.Error:
            raise  # the disk is full or fails: nothing of this transaction can be promised
        except Exception as exc:
            self._connection.execute("ROLLBACK TO work")
            future.set_exception(exc)
        else:
            done.append((future, result))
        self._connection.execute("RELEASE work")

    def _collected(self, first: _Work) -> tuple[list[_Work], bool]:
        all_work = [first]
        while len(all_work) < AT_ONCE:
            try:
                item = self._waiting.get_nowait()
            except queue.Empty:
                break
            if item is None:
                return all_work, False
            all_work.append(item)
        return all_work, True

    def _undo(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")


def _is_wanted(future: Future[Any]) -> bool:
    """Somebody waits for it; and cannot turn away any more, in the very moment in which he is told."""
    return not future.done() and (future.running() or future.set_running_or_notify_cancel())
