"""Upload sessions over HTTP: mint, look up, mint again, part by part, complete, abort, read."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from broker.api.answers import Answer, Headers, json_answer, redirect, request_headers
from broker.api.auth import Gate
from broker.api.bodies import JsonBody, origin_of
from broker.api.mounting import mount
from broker.api.operations import ABORT, COMPLETE, CONTENT, CREATE, ERASE, GET_SESSION, PARTS, REMINT
from broker.api.schemas import minted, status
from broker.contract import CompleteUpload, CreateUploadSession, PartsGrant, PartsRequest, RemintUpload, State
from broker.domain.errors import InvalidInput, UnknownDestination
from broker.domain.fan_out import destinations_of
from broker.domain.principals import ApiKey
from broker.domain.sessions import Session
from broker.domain.tokens import Tokens
from broker.ports import ApiKeys
from broker.services.abort import Abort
from broker.services.complete import Complete
from broker.services.drafts import MintedCopy
from broker.services.erase import Erase
from broker.services.mint import Mint
from broker.services.read import Read
from broker.services.remint import Remint
from broker.services.remint_copy import RemintCopy
from broker.services.survey import Survey

_CREATE = JsonBody(CreateUploadSession)
_REMINT = JsonBody(RemintUpload, default=RemintUpload())
_PARTS = JsonBody(PartsRequest)
_COMPLETE = JsonBody(CompleteUpload, default=CompleteUpload())
_REPLAYED = (b"idempotency-replayed", b"true")
_RETRY_AFTER: Headers = ((b"retry-after", b"1"),)  # Complete takes one look a second


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadSessions:
    mint: Mint
    remint: Remint
    remint_copy: RemintCopy
    complete: Complete
    abort: Abort
    erase: Erase
    survey: Survey
    read: Read
    tokens: Tokens
    keys: ApiKeys

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [
            mount(gate, CREATE, self._create),
            mount(gate, GET_SESSION, self._get),
            mount(gate, REMINT, self._remint),
            mount(gate, PARTS, self._parts),
            mount(gate, COMPLETE, self._complete),
            mount(gate, ABORT, self._abort),
            mount(gate, ERASE, self._erase),
            mount(gate, CONTENT, self._content),
        ]

    async def _create(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        wish = await _CREATE.read(request)
        made = await self.mint(api_key, wish, _idempotency_key(request), sent_from=origin_of(request))
        location = (b"location", b"/upload-sessions/" + made.session.id.encode())
        view = minted(made.session, made.token, made.upload, made.copies)
        if made.is_replay:
            return json_answer(200, view, headers=(location, _REPLAYED))
        return json_answer(201, view, headers=(location,))

    async def _get(self, _: Request[Any, Any, Any], session: Session) -> Answer:
        if session.facts.copies:
            return json_answer(200, status(session, copies=await self.survey.copies(session)))
        parts, offset = await self.survey(session), await self.survey.offset(session)
        return json_answer(200, status(session, parts, offset_bytes=offset))

    async def _remint(self, request: Request[Any, Any, Any], session: Session) -> Answer:
        wish = await _REMINT.read(request)
        if session.facts.copies:
            session, upload = await self.remint_copy(session, wish.destination)
            copies = (MintedCopy(destination=wish.destination or "", upload=upload),)
            return json_answer(200, minted(session, await self._token(session), None, copies))
        _need_copy(session, wish.destination)
        session, upload = await self.remint(session)
        return json_answer(200, minted(session, await self._token(session), upload))

    async def _token(self, session: Session) -> str | None:
        """By the right of the key that minted it, whoever asks; None when that is revoked."""
        facts, minter = session.facts, await self.keys.find(session.facts.principal)
        return None if minter is None else self.tokens.for_session(session.id, facts.expires_at, minter.generation)

    async def _parts(self, request: Request[Any, Any, Any], session: Session) -> Answer:
        wish = await _PARTS.read(request)
        if session.facts.copies:
            granted = await self.remint_copy.parts(session, wish.destination, wish.numbers)
            return json_answer(200, PartsGrant(parts=granted))
        _need_copy(session, wish.destination)
        return json_answer(200, PartsGrant(parts=await self.remint.parts(session, wish.numbers)))

    async def _complete(self, request: Request[Any, Any, Any], session: Session) -> Answer:
        wish = await _COMPLETE.read(request)
        _need_copy(session, wish.destination)
        session = await self.complete(session, wish.destination)
        if session.state is State.PENDING:
            return json_answer(202, status(session), headers=_RETRY_AFTER)
        return json_answer(200, status(session))

    async def _abort(self, _: Request[Any, Any, Any], session: Session) -> Answer:
        return json_answer(200, status(await self.abort(session)))

    async def _erase(self, _: Request[Any, Any, Any], session: Session) -> Answer:
        session = await self.erase(session)
        if session.facts.is_removed:
            return json_answer(200, status(session))
        return json_answer(202, status(session), headers=_RETRY_AFTER)

    async def _content(self, request: Request[Any, Any, Any], session: Session) -> Answer:
        query = parse_qs(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        destination = _destination(query, session)
        if _wants_redirect(query):
            return redirect((await self.read.as_redirect(session, destination)).url)
        return json_answer(200, await self.read(session, destination))


def _need_copy(session: Session, destination: str | None) -> None:
    """:raises UnknownDestination: the session has no copy there."""
    if destination is not None and destination not in destinations_of(session):
        raise UnknownDestination.at("/destination", "this session has no copy there")


def _idempotency_key(request: Request[Any, Any, Any]) -> str | None:
    key = request_headers(request.scope).get(b"idempotency-key")
    return None if key is None else key.decode("latin-1")


def _wants_redirect(query: dict[str, list[str]]) -> bool:
    """:raises InvalidInput: neither 0 nor 1."""
    given = query.get("redirect", ["0"])
    if given not in (["0"], ["1"]):
        raise InvalidInput("the query parameter redirect is 0 or 1")
    return given == ["1"]


def _destination(query: dict[str, list[str]], session: Session) -> str | None:
    """:raises InvalidInput: more than one.
    :raises UnknownDestination: the session has no copy there.
    """
    given = query.get("destination", [])
    if len(given) > 1:
        raise InvalidInput("the query parameter destination stands once")
    if given and given[0] not in destinations_of(session):
        raise UnknownDestination("this session has no copy there")
    return given[0] if given else None
