"""A stand-in that misbehaves by the dice: the store and the broker, in every way that it has, and a few of its own."""

import asyncio
import json
import random
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from many_standin import ManyParts
from uploader_standin import Put, _reset

from broker import contract

STORE_FAULTS = (
    *("reset", "expired", "forbidden", "refuse-early", "lost-response", "stall"),
    *("conflict", "slow-down", "too-many", "truncate", "forget", "garble"),
)
BROKER_FAULTS = ("busy", "reset", "lost", "half")
NONSENSE = ("page", "empty", "fewer", "more", "swapped")
"""Answers that say 200 and are none."""


@dataclass
class Chaotic(ManyParts):
    """
    :ivar dice: whatever is decided.
    :ivar store_rate: of PUTs that go wrong. `broker_rate`: of calls; `item_rate`: of files in a call that goes well.
    :ivar nonsense_rate: of calls whose answer is nonsense, which ends a run.
    :ivar mixes_up: bytes become others on their way, and answers change their places.
    """

    dice: random.Random = field(default_factory=random.Random)
    store_rate: float = 0.0
    broker_rate: float = 0.0
    item_rate: float = 0.0
    nonsense_rate: float = 0.0
    mixes_up: bool = True

    def behave(self) -> None:
        """From now on."""
        self.store_rate = self.broker_rate = self.item_rate = self.nonsense_rate = 0.0

    def _is(self, rate: float) -> bool:
        return self.dice.random() < rate

    async def _serve_put(self, put: Put, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        if self._is(self.store_rate):
            put.fault = self.dice.choice(STORE_FAULTS if self.mixes_up else STORE_FAULTS[:-1])
        return await super()._serve_put(put, reader, writer)

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self._is(self.nonsense_rate):
            answer = await super()._door(request, handler)
            assert isinstance(answer, web.Response)
            return _nonsense(answer, self.dice.choice(NONSENSE if self.mixes_up else NONSENSE[:-1]))
        fault = self.dice.choice(BROKER_FAULTS) if self._is(self.broker_rate) else None
        if fault == "half":
            answer = await super()._door(request, handler)
            half = web.StreamResponse(headers={"Content-Length": "100000", "Content-Type": "application/json"})
            await half.prepare(request)
            await half.write(b'{"sessions": [')
            _reset(request.transport)
            return half
        if fault is not None:
            self.broker_faults[handler.__name__.strip("_")].append(fault)
        return await super()._door(request, handler)

    async def _minted(self, item: contract.BatchItem) -> dict[str, Any]:
        if self._is(self.item_rate):
            return self.dice.choice((later, _refused))()
        told = await super()._minted(item)
        if self._is(self.item_rate) and "session" in told:
            session = self.sessions[told["session"]["id"]]
            if session.state is contract.State.PENDING:
                session.state = contract.State.EXPIRED
                told["session"]["state"] = "expired"
                told["session"].pop("upload", None)
        return told

    async def _completed(self, session_id: str) -> dict[str, Any]:
        if self._is(self.item_rate):
            self.unlooked += 1
        if self._is(self.item_rate):
            return later() | {"is_looked_at": False}
        return await super()._completed(session_id)


def _nonsense(answer: web.Response, kind: str) -> web.Response:
    assert isinstance(answer.body, bytes)
    told = json.loads(answer.body or b"{}")
    sessions = told.get("sessions") if isinstance(told, dict) else None
    if kind in {"fewer", "more", "swapped"} and sessions:
        changed = {"fewer": sessions[:-1], "more": [*sessions, sessions[0]], "swapped": sessions[::-1]}[kind]
        return web.json_response({"sessions": changed})
    return web.Response(text="" if kind == "empty" else "<html>Please log in.</html>", content_type="text/html")


def later() -> dict[str, Any]:
    """Of one file of a batch: not now."""
    return _problem("ledger-unavailable", 503, is_retryable=True)


def _refused() -> dict[str, Any]:
    return _problem("content-type-not-allowed", 422, is_retryable=False)


def _problem(code: str, status: int, *, is_retryable: bool) -> dict[str, Any]:
    words = {"title": code, "detail": code, "type": f"https://example.invalid/problems/{code}", "request_id": "r"}
    return {"problem": words | {"code": code, "status": status, "is_retryable": is_retryable, "errors": []}}
