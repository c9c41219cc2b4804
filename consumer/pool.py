"""Plain functions in processes of their own: the place where hostile bytes are parsed.

What such a process gets is one job without its lease, and an open, nameless file: the object, read whole and proved
before the parser sees its first byte. What it does not get: the role key (its environment is a list of permitted names,
and the worker forbids looking into its memory), the signed GET, another job's file – each has no name that could be
opened – or our trust: answers come back as bounded msgpack and JSON over a socket, never as pickles, which would run
code here, where the key is. That is why this is not `concurrent.futures`.

A process serves `jobs_per_process` jobs, one by default, so that a file that owns its parser owns nothing of the next
tenant's. A spare one waits with the application imported. Death, timeout and cancellation end the process and all that
it started; other jobs run elsewhere and notice nothing. The application's network and disk are the deployment's matter.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import msgspec

from consumer import errors, frames
from consumer.jobs import Job
from consumer.processors import Processor
from consumer.remote import RemoteReader

START_SECONDS = 120.0  # ours: for importing the application

# What a Python program needs to run at all; an application's own names come by `--pass-env`.
PASSED = ("PATH", "HOME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "PYTHONPATH", "PYTHONUNBUFFERED", "LD_LIBRARY_PATH")
FORBIDDEN = ("BROKER_CONSUMER_KEY",)

_NAMED: dict[str, type[errors.ConsumerError]] = {
    kind.code: kind
    for kind in (errors.LineTooLong, errors.TooLargeForMemory, errors.ResultTooLarge, errors.ResultNotJson)
}


def environment(own: Mapping[str, str], extra: tuple[str, ...]) -> dict[str, str]:
    """What of our environment a process may see."""
    names = {name for name in (*PASSED, *extra) if name not in FORBIDDEN}
    return {name: value for name, value in own.items() if name in names or name.startswith("LC_")}


@dataclass(slots=True, kw_only=True)
class Child:
    """One process and our end of its socket."""

    process: subprocess.Popen[bytes]
    sock: socket.socket
    served: int = 0

    async def ready(self) -> None:
        """
        :raises WorkerDied: the application could not be imported.
        """
        try:
            async with asyncio.timeout(START_SECONDS):
                hello = await self._receive(frames.Hello)
        except TimeoutError:
            raise errors.WorkerDied("the process did not finish importing the application") from None
        if hello.fault is not None:
            raise errors.WorkerDied(f"the process could not import the application: {hello.fault}")

    async def ask(self, task: frames.Task, file: int) -> frames.Reply:
        """
        :raises WorkerDied:
        """
        self.served += 1
        try:
            whole = frames.framed(task)
            if socket.send_fds(self.sock, [whole], [file]) < len(whole):  # far below the buffer of a fresh socket
                raise errors.WorkerDied("the process does not listen")
        except OSError as exc:
            raise errors.WorkerDied from exc
        return await self._receive(frames.Reply)

    async def end(self) -> None:
        """Kills it with everything that it started."""
        self.sock.close()
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)

    async def _receive(self, kind: type[frames.Message]) -> frames.Message:
        try:
            size = int.from_bytes(await self._exactly(frames.HEAD_BYTES), "big")
            if size > frames.MAX_BYTES:
                raise errors.WorkerDied("the process said more than it may")
            return msgspec.msgpack.decode(await self._exactly(size), type=kind)
        except (OSError, msgspec.MsgspecError) as exc:
            raise errors.WorkerDied("the process said something that is no answer") from exc

    async def _exactly(self, size: int) -> bytes:
        loop = asyncio.get_running_loop()
        got = bytearray()
        while len(got) < size:
            piece = await loop.sock_recv(self.sock, size - len(got))
            if not piece:
                raise errors.WorkerDied(await asyncio.to_thread(self._epitaph))
            got += piece
        return bytes(got)

    def _epitaph(self) -> str:
        try:
            code = self.process.wait(1)  # its socket closes a moment before it can be waited for
        except subprocess.TimeoutExpired:
            return "the process closed its socket"
        how = f"{signal.strsignal(-code)} (signal {-code})" if code < 0 else f"exit code {code}"
        return f"the process that ran the processor died: {how}"


@dataclass(slots=True, kw_only=True)
class Pool:
    """Processes for the plain functions of one module. There are never more than jobs, plus one spare."""

    module: str
    app_dir: Path
    environ: Mapping[str, str]
    jobs_per_process: int = 1
    spool: Path | None = None
    _idle: list[Child] = field(default_factory=list)
    _starting: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, found: Processor, job: Job, reader: RemoteReader) -> object:
        """The result of a plain function.

        :raises WorkerDied, Retry, Reject, ProcessorError: or another error that the function met.
        :raises ReadFault: while the object was copied and proved.
        """
        with await self._file() as file:
            await reader.copy_to(file)
            async with self._child() as child:
                reply = await child.ask(frames.Task(name=found.name, job=job), file.fileno())
        return _outcome(reply)

    async def warm(self) -> None:
        """Starts a spare process, so that a module that cannot be imported there is found out before the first job.

        :raises WorkerDied:
        """
        if not self._idle:
            self._idle.append(await self._start())

    async def aclose(self) -> None:
        for starting in list(self._starting):
            starting.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        while self._idle:
            await self._idle.pop().end()

    @asynccontextmanager
    async def _child(self) -> AsyncIterator[Child]:
        child = self._idle.pop() if self._idle else await self._start()
        if not self._idle and self.jobs_per_process == 1:
            self._start_spare()
        try:
            yield child
        except BaseException:
            await asyncio.shield(child.end())
            raise
        if child.served < self.jobs_per_process:
            self._idle.append(child)
        else:
            await asyncio.shield(child.end())

    def _start_spare(self) -> None:
        if self._starting:
            return
        task = asyncio.create_task(self._spare())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _spare(self) -> None:
        with suppress(errors.WorkerDied, OSError):  # the next job starts its own, and says why it fails
            await self.warm()

    async def _start(self) -> Child:
        ours, theirs = socket.socketpair()
        with theirs:
            ours.setblocking(False)
            number = str(theirs.fileno())
            # Not in a thread: a process that dies with its parent dies with the thread that started it.
            process = subprocess.Popen(  # noqa: ASYNC220, S603
                [sys.executable, "-m", "consumer.child", number, str(os.getpid()), self.module, str(self.app_dir)],
                env=dict(self.environ),
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C on the terminal is the worker's to answer
            )
        child = Child(process=process, sock=ours)
        try:
            await child.ready()
        except BaseException:
            await asyncio.shield(child.end())
            raise
        return child

    async def _file(self) -> IO[bytes]:
        """A file without a name: nobody else can open it, and a killed worker leaves nothing behind."""
        try:
            return await asyncio.to_thread(tempfile.TemporaryFile, buffering=0, dir=self.spool)
        except OSError as exc:
            raise errors.SpoolTrouble from exc


def _outcome(reply: frames.Reply) -> object:
    if reply.kind == "result":
        try:
            return msgspec.json.decode(reply.result)
        except (msgspec.MsgspecError, RecursionError) as exc:
            raise errors.ResultNotJson from exc
    if reply.kind == "retry":
        raise errors.Retry(reply.after_seconds, reply.message)
    if reply.kind == "reject":
        raise _rejection(reply)
    raise _NAMED.get(reply.code, errors.ProcessorError)(reply.message)


def _rejection(reply: frames.Reply) -> errors.Reject:
    try:
        return errors.Reject(reply.message, code=reply.code)
    except ValueError:
        return errors.Reject(reply.message)
