"""What a sender asks of the manifest and tells it. Everything is on the disk when it returns."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Protocol

from uploader.transfer import changes
from uploader.tree.manifest import Manifest
from uploader.tree.rows import Failed, Mark, Minted, Order, Row


class Steps(Protocol):
    """A file that the scan has seen changed meanwhile is left alone by all of these."""

    async def take(self, limit: int) -> list[Row]:
        """The next files, claimed; none, if nothing is pending."""

    async def minted(self, files: Sequence[Minted]) -> None:
        """Before the first byte of any of them leaves."""

    async def sent(self, files: Sequence[Mark]) -> None: ...

    async def verified(self, files: Sequence[Mark]) -> None: ...

    async def failed(self, files: Sequence[Failed], abandoned: Sequence[str]) -> None:
        """:param abandoned: sessions of theirs that nobody will finish."""

    async def released(self, files: Sequence[Mark]) -> None:
        """Pending again, with the same session."""

    async def renewed(self, files: Sequence[Mark], abandoned: Sequence[str]) -> None:
        """Pending again, with a new session to come; `abandoned` as above."""

    async def changed(self, files: Sequence[Row]) -> list[bool]:
        """They are not what the scan saw: pending again as they are now, or vanished (False)."""


class LocalSteps:
    """Of the process that has the manifest open."""

    def __init__(self, manifest: Manifest, order: Order, executor: Executor, *, follows_symlinks: bool) -> None:
        self._manifest = manifest
        self._order: Order = order
        self._executor = executor
        self._follows_symlinks = follows_symlinks
        self._roots = {root: number for number, root in manifest.roots.items()}

    async def take(self, limit: int) -> list[Row]:
        return await asyncio.wrap_future(self._manifest.take(self._order, limit))

    async def minted(self, files: Sequence[Minted]) -> None:
        await asyncio.wrap_future(self._manifest.minted(files))

    async def sent(self, files: Sequence[Mark]) -> None:
        await asyncio.wrap_future(self._manifest.sent(files))

    async def verified(self, files: Sequence[Mark]) -> None:
        await asyncio.wrap_future(self._manifest.verified(files))

    async def failed(self, files: Sequence[Failed], abandoned: Sequence[str]) -> None:
        leave = asyncio.wrap_future(self._manifest.abandon(abandoned))
        await asyncio.wrap_future(self._manifest.failed(files))
        await leave

    async def released(self, files: Sequence[Mark]) -> None:
        await asyncio.wrap_future(self._manifest.released(files))

    async def renewed(self, files: Sequence[Mark], abandoned: Sequence[str]) -> None:
        leave = asyncio.wrap_future(self._manifest.abandon(abandoned))
        await asyncio.wrap_future(self._manifest.renewed(files))
        await leave

    async def changed(self, files: Sequence[Row]) -> list[bool]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(
            self._executor, lambda: changes.look_again(files, follows_symlinks=self._follows_symlinks)
        )
        now = self._manifest.clock()
        written = self._manifest.write(lambda connection: changes.write(connection, found, self._roots, now))
        return await asyncio.wrap_future(written)
