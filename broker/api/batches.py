"""Many upload sessions by one call: a batch to mint, the status or the end of many, a listing of one's own.

A call for a thousand is worked off in turns, so that calls for one are served in between. What is wrong with one item
is answered in its place.
"""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler

from broker.api.answers import Answer, json_answer, request_id
from broker.api.auth import Gate
from broker.api.batch_bodies import items_of, placed, readable, wish_of
from broker.api.bodies import JsonBody, origin_of, read_json
from broker.api.listing_query import cursor_of, position_in, read_query
from broker.api.mounting import mount
from broker.api.operations import BATCH, COMPLETE_MANY, LISTING, STATUSES
from broker.api.problems import ROWS, problem
from broker.api.schemas import minted, summary
from broker.contract import CompleteUploads, CompletionOrProblem, SessionOrProblem, SessionPage, StatusRequest
from broker.domain.errors import BrokerError, InvalidInput, SessionNotFound
from broker.domain.principals import ApiKey
from broker.ports import Listings, Selection
from broker.services.complete_many import Answer as Completion
from broker.services.complete_many import CompleteMany
from broker.services.drafts import Minted
from broker.services.mint_batch import MintBatch, Wish
from broker.services.survey_many import SurveyMany
from broker.services.turns import Turns, pieces

ANSWERS_A_TURN = 32  # ours: some 0.1 ms of JSON

_STATUSES = JsonBody(StatusRequest)
_COMPLETE = JsonBody(CompleteUploads)
_encode = msgspec.json.Encoder().encode
_log = logging.getLogger("broker.api")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batches:
    mint_batch: MintBatch
    survey_many: SurveyMany
    complete_many: CompleteMany
    listings: Listings
    turns: Turns

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [
            mount(gate, BATCH, self._create),
            mount(gate, STATUSES, self._statuses),
            mount(gate, COMPLETE_MANY, self._complete),
            mount(gate, LISTING, self._list),
        ]

    async def _create(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        items = items_of(await read_json(request))
        wishes: dict[int, Wish] = {}
        answers: dict[int, Minted | BrokerError] = {}
        for piece in readable(items):
            async with self.turns:
                for place in piece:
                    try:
                        wishes[place] = wish_of(items[place], place)
                    except InvalidInput as exc:
                        answers[place] = exc
        made = await self.mint_batch(api_key, [*wishes.values()], sent_from=origin_of(request))
        for place, answer in zip(wishes, made, strict=True):
            answers[place] = placed(answer, place) if isinstance(answer, BrokerError) else answer
        _tell_trouble(made, request_id(request.scope))
        told: list[bytes] = []
        for places in pieces(range(len(items)), ANSWERS_A_TURN):
            async with self.turns:
                told += [_told(answers[place], request_id(request.scope)) for place in places]
        return _joined(told)

    async def _statuses(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        wish = await _STATUSES.read(request)
        missing = _encode(SessionOrProblem(problem=problem(SessionNotFound(), request_id(request.scope))))
        told: list[bytes] = []
        async for found in self.survey_many(api_key, wish.ids):
            async with self.turns:
                told += [
                    missing if session is None else _encode(SessionOrProblem(session=summary(session)))
                    for session in found
                ]
        return _joined(told)

    async def _complete(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        wish = await _COMPLETE.read(request)
        answers = await self.complete_many(api_key, wish.ids)
        _tell_trouble(answers, request_id(request.scope))
        told: list[bytes] = []
        for some in pieces(answers, ANSWERS_A_TURN):
            async with self.turns:
                told += [_ended(answer, request_id(request.scope)) for answer in some]
        return _joined(told)

    async def _list(self, request: Request[Any, Any, Any], api_key: ApiKey) -> Answer:
        query = read_query(request)
        selection = Selection(principal=api_key.id, state=query.state, batch=query.batch, owner=query.owner)
        after = None if query.cursor is None else position_in(query.cursor)
        page = await self.listings.find(selection, after=after, limit=query.limit)
        cursor = msgspec.UNSET if page.end is None else cursor_of(page.end)
        return json_answer(200, SessionPage(sessions=[summary(session) for session in page.sessions], cursor=cursor))


def _told(answer: Minted | BrokerError, request: str) -> bytes:
    if isinstance(answer, BrokerError):
        return _encode(SessionOrProblem(problem=problem(answer, request)))
    view = minted(answer.session, answer.token, answer.upload, answer.copies)
    return _encode(SessionOrProblem(session=view, is_replayed=answer.is_replay))


def _ended(answer: Completion, request: str) -> bytes:
    if isinstance(answer, BrokerError):
        return _encode(CompletionOrProblem(problem=problem(answer, request), is_looked_at=False))
    return _encode(CompletionOrProblem(session=summary(answer.session), is_looked_at=answer.is_looked_at))


def _joined(told: Iterable[bytes]) -> Answer:
    return Answer(200, b'{"sessions":[' + b",".join(told) + b"]}")


def _tell_trouble(made: Iterable[object], request: str) -> None:
    """Of trouble of ours one line for each kind: a store that is away is no thousand news."""
    told: dict[str, str] = {}
    for answer in made:
        if isinstance(answer, BrokerError) and ROWS[type(answer)].status >= 500:
            told.setdefault(answer.code, answer.detail)
    for code, reason in told.items():
        _log.warning("request.refused", extra={"request_id": request, "code": code, "reason": reason})
