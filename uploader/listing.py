"""One's own sessions at the broker, page after page, newest first."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from broker.contract import State, UploadSession
from uploader.client import BrokerClient, Notify
from uploader.errors import Unreachable

PAGE = 200  # ours: of the largest sessions, 16 copies and 4 KiB of metadata, a page is still below 4 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """Which of them. Each label narrows it."""

    batch: str | None = None
    owner: str | None = None
    state: State | None = None

    async def pages(
        self, broker: BrokerClient, notify: Notify, limit: int | None = None
    ) -> AsyncIterator[list[UploadSession]]:
        """
        :param limit: no more sessions than that.
        """
        query = {name: str(value) for name, value in self._labels() if value is not None}
        cursor = None
        while limit is None or limit > 0:
            size = PAGE if limit is None else min(PAGE, limit)
            page = await broker.page(query | {"limit": str(size)} | ({"cursor": cursor} if cursor else {}), notify)
            sessions = page.sessions[:size]
            if sessions:
                yield sessions
            if limit is not None:
                limit -= len(sessions)
            if not page.cursor:
                return
            if page.cursor == cursor:
                raise Unreachable("the broker's listing does not come to an end")
            cursor = page.cursor

    async def sessions(
        self, broker: BrokerClient, notify: Notify, limit: int | None = None
    ) -> AsyncIterator[UploadSession]:
        async for page in self.pages(broker, notify, limit):
            for session in page:
                yield session

    def _labels(self) -> tuple[tuple[str, str | None], ...]:
        return (("batch", self.batch), ("owner", self.owner), ("state", self.state))
