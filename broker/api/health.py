"""Live, ready, and what this broker is. Nothing here needs a key: an orchestrator has none."""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from broker import __version__
from broker.api.answers import Answer, json_answer
from broker.api.auth import Gate
from broker.api.mounting import mount
from broker.api.operations import ABOUT, LIVE, READY
from broker.api.schemas import about
from broker.contract import (
    Readiness,
)
from broker.ports import Schedule

_ABOUT = about(__version__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    schedule: Schedule

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [mount(gate, LIVE, self._live), mount(gate, READY, self._ready), mount(gate, ABOUT, self._about)]

    async def _live(self, _: Request[Any, Any, Any], __: None) -> Answer:
        return Answer(200, b"ok\n", media_type=b"text/plain")

    async def _ready(self, _: Request[Any, Any, Any], __: None) -> Answer:
        found = await self.schedule.check()
        told = Readiness(is_ready=not found.faults, problems=[*found.faults], warnings=[*found.warnings])
        if found.faults:
            return json_answer(503, told, headers=((b"retry-after", b"1"),))
        return json_answer(200, told)

    async def _about(self, _: Request[Any, Any, Any], __: None) -> Answer:
        return json_answer(200, _ABOUT)
