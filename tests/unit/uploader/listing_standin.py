"""A broker that lists its sessions and removes objects, and mints sessions as other clients may have."""

import asyncio
import base64
import hashlib
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import msgspec
from aiohttp import web
from uploader_standin import Session, StandIn, Stored, _problem

from broker import contract
from broker.contract import State

BEGAN = datetime(2026, 11, 20, tzinfo=UTC)


class ListingStandIn(StandIn):
    """:ivar page_limit: sessions of a page, however many were asked for.
    :ivar may_erase: the key has the role.
    """

    page_limit = 3
    may_erase = True
    pages = 0
    is_endless = False
    slow_seconds = 0.0
    most_contents = 0

    def __init__(self) -> None:
        super().__init__()
        self.erased: set[str] = set()
        self.erasures: list[str] = []
        self.unreadable: set[str] = set()
        self._contents = 0

    def app(self) -> web.Application:
        app = super().app()
        app.router.add_get("/upload-sessions", self._list)
        app.router.add_delete("/upload-sessions/{id}/object", self._erase)
        return app

    def add(
        self,
        content: bytes,
        *,
        filename: str = "file",
        state: State = State.VERIFIED,
        attributes: dict[str, str] | None = None,
        declares: bool = True,
        **wanted: object,
    ) -> Session:
        """A session as somebody has left it, with its object; the last is the newest."""
        sha256 = base64.b64encode(hashlib.sha256(content).digest()).decode()
        declared = contract.CreateUploadSession(
            filename=filename,
            size_bytes=len(content),
            destination="default",
            checksum=contract.Checksum(sha256=sha256) if declares else contract.Checksum(),
            object_metadata=attributes or {},
            **wanted,  # type: ignore[arg-type]
        )
        session = Session(f"00{len(self.sessions):04d}abc", declared, state)
        self.sessions[session.id] = session
        if state not in {State.PENDING, State.ABORTED, State.EXPIRED}:
            self.objects[session.key] = Stored(len(content), sha256, content)
        return session

    async def _content(self, request: web.Request) -> web.Response:
        self._contents += 1
        self.most_contents = max(self.most_contents, self._contents)
        await asyncio.sleep(self.slow_seconds)
        self._contents -= 1
        return await super()._content(request)

    async def _serve_get(self, target: str, headers: dict[str, str], writer: asyncio.StreamWriter) -> bool:
        session = self.sessions[parse_qs(urlsplit(target).query)["get"][0]]
        if session.key not in self.objects:
            self.ranges.append(None)
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            return True
        return await super()._serve_get(target, headers, writer)

    async def _list(self, request: web.Request) -> web.Response:
        self.pages += 1
        query = request.query
        begin, size = int(query.get("cursor", "0")), min(int(query["limit"]), self.page_limit)
        every = list(reversed(self.sessions.values()))[begin:]
        page = [session for session in every[:size] if self._is_meant(session, query)]
        views = [self._listed(session) for session in page]
        cursor = str(begin + size) if len(every) > size else msgspec.UNSET
        if self.is_endless:
            cursor = "0"
        body = contract.SessionPage(sessions=views, cursor=cursor)
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    def _is_meant(self, session: Session, query: object) -> bool:
        assert hasattr(query, "get")
        wanted = session.wanted
        told = {"batch": wanted.batch, "owner": wanted.owner, "state": session.state.value}
        return all(query.get(name) in {None, value} for name, value in told.items())

    def _listed(self, session: Session) -> contract.UploadSession:
        body = self._answer(session, 200).body
        assert isinstance(body, bytes)
        view = msgspec.json.decode(body, type=contract.UploadSession)
        return msgspec.structs.replace(
            view,
            created_at=BEGAN + timedelta(seconds=list(self.sessions).index(session.id)),
            timeline=msgspec.UNSET,
            owner=session.wanted.owner or msgspec.UNSET,
            batch=session.wanted.batch or msgspec.UNSET,
            erased_at=BEGAN if session.id in self.erased else msgspec.UNSET,
        )

    async def _erase(self, request: web.Request) -> web.Response:
        session = self.sessions.get(request.match_info["id"])
        if session is None:
            return _problem(404, "session-not-found", "There is no such upload session.")
        if not self.may_erase:
            return _problem(403, "forbidden", "This key may not do that.")
        if session.state is State.PENDING:
            return _problem(409, "session-not-verified", "It is pending.")
        if session.state in {State.ABORTED, State.EXPIRED}:
            return _problem(409, "session-settled", "There is no object of its own.")
        self.erasures.append(session.id)
        self.erased.add(session.id)
        is_away = session.id in self.unreadable
        return self._answer(session, 202 if is_away else 200)
