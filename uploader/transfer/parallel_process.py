"""One sender process: another interpreter of the same program, at the other end of a socket pair."""

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Self

from uploader.transfer.parallel_wire import Frames
from uploader.tree.words import shown

MODULE = "uploader.transfer.parallel_sender"
END_SECONDS = 5.0  # ours: from its last word, or its closed pipe, to its end
_LAST_BYTES = 4_096


class SenderProcess:
    """:ivar frames: our end."""

    def __init__(self, process: subprocess.Popen[bytes], frames: Frames, errors: IO[bytes]) -> None:
        self.frames = frames
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, environment: Mapping[str, str]) -> Self:
        """In our process group, so that a terminal stops and continues both; it leaves Ctrl-C to us.

        :raises OSError: there is no room for another process.
        """
        ours, its = socket.socketpair()
        errors = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
        try:
            # -P: not from the working directory, which may be anybody's.
            process = subprocess.Popen(  # noqa: ASYNC220, S603 - ourselves, and a fork is all that it waits for
                [sys.executable, "-P", "-m", MODULE, str(its.fileno())],
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env=environment,
            )
        except BaseException:
            ours.close()
            errors.close()
            raise
        finally:
            its.close()
        return cls(process, await Frames.over(ours), errors)

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        self._process.kill()

    async def wait(self) -> int:
        """Its exit status, negative by a signal. One that has closed its pipe but does not end is killed."""
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(None, lambda: self._process.wait(END_SECONDS))
        except subprocess.TimeoutExpired:
            self._process.kill()
            return await loop.run_in_executor(None, self._process.wait)

    def last_words(self) -> str:
        """The last line that it wrote to its stderr: of a traceback the error."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _LAST_BYTES))
        lines = self._errors.read().split(b"\n")
        return shown(next((line for line in reversed(lines) if line.strip()), b""))

    def close(self) -> None:
        """Nothing of it is left."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def environment_of(environ: Mapping[str, str], key: str) -> dict[str, str]:
    """Ours, but for the key: others may read a process's environment, and a core dump has it."""
    return {name: value for name, value in environ.items() if key not in value}
