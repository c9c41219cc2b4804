"""What Prometheus scrapes. It tells how much business there is, so it takes a key of role `observe`."""

from dataclasses import dataclass
from typing import Any

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from broker.api.answers import Answer, request_headers
from broker.api.auth import Gate
from broker.api.mounting import mount
from broker.api.operations import METRICS
from broker.domain.principals import ApiKey
from broker.telemetry.scrape import Scrape


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsRoute:
    scrape: Scrape

    def routes(self, gate: Gate) -> list[HTTPRouteHandler]:
        return [mount(gate, METRICS, self._metrics)]

    async def _metrics(self, request: Request[Any, Any, Any], _: ApiKey) -> Answer:
        accept = request_headers(request.scope).get(b"accept", b"").decode("latin-1")
        media_type, text = await self.scrape(accept)
        return Answer(200, text, media_type=media_type.encode())
