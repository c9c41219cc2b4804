"""An IAM that answers as it is told, and remembers what it was asked. Not strict: `emulators/google_iam` is."""

import base64
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from broker.domain.errors import CredentialsUnavailable
from broker.storage.gcs.tokens import AccessToken
from tests.unit.storage.gcs.signing_peer import rsa_signer

SECRET = "ya29.canary-source-token"


@dataclass(slots=True, kw_only=True)
class Tokens:
    """A source of tokens in memory; each doubt gives another."""

    number: int = 1
    doubts: int = 0
    is_gone: bool = False

    async def current(self, now: datetime) -> AccessToken:
        if self.is_gone:
            raise CredentialsUnavailable("the source has nothing")
        return AccessToken(text=f"{SECRET}-{self.number}", expires_at=now + timedelta(hours=1))

    def distrust(self, token: AccessToken) -> None:
        self.doubts += 1
        if token.text.endswith(f"-{self.number}"):
            self.number += 1


@dataclass(slots=True, kw_only=True)
class Iam:
    """`answers`: statuses for the next requests (0: hang up; 299: 200 with a page); 200 when they are used up."""

    endpoint: str = ""
    answers: deque[int] = field(default_factory=deque)
    body: bytes | None = None  # instead of a good one
    asked: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)  # path, authorization, body

    async def answer(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.asked.append((request.path, request.headers["Authorization"], asked))
        status = self.answers.popleft() if self.answers else 200
        if status == 0:
            assert request.transport is not None
            request.transport.abort()
        if status == 299:
            return web.Response(text="<html>", content_type="text/html")
        if status != 200:
            error = {"code": status, "message": f"hush {SECRET}", "status": "SOME_WORD"}
            return web.json_response({"error": error}, status=status)
        if self.body is not None:
            return web.Response(body=self.body)
        if request.path.endswith(":signBlob"):
            signature: bytes = rsa_signer().sign(base64.b64decode(asked["payload"], validate=True))
            return web.json_response({"keyId": "k1", "signedBlob": base64.b64encode(signature).decode()})
        expires = datetime.now(UTC) + timedelta(seconds=float(asked["lifetime"].removesuffix("s")))
        text = json.dumps({"accessToken": "ya29.target", "expireTime": expires.strftime("%Y-%m-%dT%H:%M:%SZ")})
        return web.Response(text=text, content_type="application/json")


@asynccontextmanager
async def running_iam() -> AsyncIterator[Iam]:
    iam = Iam()
    app = web.Application()
    app.router.add_post("/v1/projects/-/serviceAccounts/{account}", iam.answer)
    async with TestServer(app) as server:
        iam.endpoint = str(server.make_url("")).rstrip("/")
        yield iam
