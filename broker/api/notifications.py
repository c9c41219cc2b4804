"""Bucket notifications. The door authenticates; what is authentic gets a 2xx, so that no sender repeats it for ever."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from broker.api.answers import Answer, json_answer
from broker.api.auth import Gate
from broker.api.bodies import read_body
from broker.api.mounting import mount
from broker.api.operations import NOTIFY
from broker.ports import Envelope
from broker.telemetry.use_cases import Notifying


@dataclass(frozen=True, slots=True, kw_only=True)
class Notifications:
    notify: Notifying

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [mount(gate, NOTIFY, self._notify)]

    async def _notify(self, request: Request[Any, Any, Any], _: None) -> Answer:
        envelope = Envelope(
            headers=_headers(request),
            query=dict(parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)),
            body=await read_body(request),
        )
        return json_answer(200, await self.notify(str(request.path_params["source"]), envelope))


def _headers(request: Request[Any, Any, Any]) -> Mapping[str, str]:
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]}
