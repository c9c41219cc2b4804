"""What the rooms of one run share: how many files are in somebody's hands, and whether the run is to stop."""

import asyncio
import time

from uploader.errors import UploaderError

MOST_REFUSED = 20  # ours: files, one after the other, while nothing else is taken


class Watch:
    """
    :ivar held: files that were taken and are not at rest yet: verified, failed, or pending again.
    :ivar is_scanned: the scan came to its end.
    :ivar is_stopping: nothing new is to be begun.
    :ivar error: why it stops.
    :ivar sent_at: when the store took something for the last time, on the monotonic clock.
    """

    def __init__(self) -> None:
        self.held = 0
        self.is_scanned = False
        self.is_stopping = False
        self.error: UploaderError | None = None
        self.began_at = time.monotonic()
        self.sent_at = 0.0
        self.stopped = asyncio.Event()
        self._refused = 0
        self._stirred = asyncio.Event()

    def took(self, number: int) -> None:
        self.held += number

    def rested(self, number: int) -> None:
        self.held -= number
        if self.held == 0:
            self.stir()

    def scanned(self) -> None:
        self.is_scanned = True
        self.stir()

    def stir(self) -> None:
        """There may be something to take again."""
        self._stirred.set()

    async def stirring(self, seconds: float) -> None:
        """Until something has changed, at most so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            return
        self._stirred.clear()

    def stop(self, error: UploaderError | None = None) -> None:
        """The first error is the reason."""
        if self.error is None:
            self.error = error
        self.is_stopping = True
        self.stopped.set()

    def took_bytes(self) -> None:
        """The store has taken something: it is not away."""
        self.sent_at = time.monotonic()
        self._refused = 0

    def refused(self, error: UploaderError) -> None:
        """The store refuses a file for good. Many in a row, and it is not about files: the others stay as they are."""
        self._refused += 1
        if self._refused >= MOST_REFUSED:
            self.stop(error)
