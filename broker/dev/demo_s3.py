"""The demo's tricks on S3."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from broker.dev.stack import BUCKET, Stack
from broker.dev.telling import Answer, send


class S3Tricks:
    stand_ins: ClassVar[str] = "strict S3 emulator"
    forgery: ClassVar[str] = "wrong token"
    flags: ClassVar[Sequence[str]] = ()
    has_sessions: ClassVar[bool] = False
    refused: ClassVar[frozenset[int]] = frozenset({403})

    def __init__(self, stack: Stack) -> None:
        known = json.loads((stack.options.directory / "credentials.json").read_bytes())
        self._door = f"{stack.about.broker}/notifications/dev"
        self._token = str(known["event_token"])

    def tampered(self, request: Any) -> Mapping[str, tuple[str, Mapping[str, str], bytes]]:
        url, headers = request["url"], request["headers"]
        return {
            "one byte more": (url, headers, b"hello!"),
            "another type": (url, headers | {"content-type": "text/html"}, b"hello"),
            "another key": (url.replace("tampered.txt", "other.txt"), headers, b"hello"),
            "made public": (url, headers | {"x-amz-acl": "public-read"}, b"hello"),
        }

    def forged(self, key: str) -> Answer:
        return self._tell(key, "guessed")

    def authentic(self, key: str) -> Answer:
        return self._tell(key, self._token)

    def _tell(self, key: str, token: str) -> Answer:
        record = {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": BUCKET}, "object": {"key": key}},
        }
        body = json.dumps({"Records": [record]}).encode()
        return send("POST", f"{self._door}?token={token}", {"content-type": "application/json"}, body)
