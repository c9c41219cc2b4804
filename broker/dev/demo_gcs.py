"""The demo's tricks on Google Cloud Storage."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from broker.dev.gcs_cloud import AUDIENCE, PUSHER, SOURCE, SUBSCRIPTION
from broker.dev.stack import BUCKET, Stack
from broker.dev.telling import Answer, send

JSON = {"content-type": "application/json"}


class GcsTricks:
    stand_ins: ClassVar[str] = "strict emulators of Cloud Storage, IAM and Pub/Sub"
    forgery: ClassVar[str] = "another account"
    flags: ClassVar[Sequence[str]] = ("--strategy", "resumable")
    has_sessions: ClassVar[bool] = True
    refused: ClassVar[frozenset[int]] = frozenset({400, 403})  # 400: EntityTooLarge and EntityTooSmall

    def __init__(self, stack: Stack) -> None:
        self._door = f"{stack.about.broker}/notifications/dev"
        self._iam = stack.about.iam

    def tampered(self, request: Any) -> Mapping[str, tuple[str, Mapping[str, str], bytes]]:
        url, headers = request["url"], request["headers"]
        return {
            "one byte more": (url, headers, b"hello!"),
            "another type": (url, headers | {"content-type": "text/html"}, b"hello"),
            "another key": (url.replace("tampered.txt", "other.txt"), headers, b"hello"),
            "made public": (url, headers | {"x-goog-acl": "public-read"}, b"hello"),
            "written over": (url, headers | {"x-goog-if-generation-match": "1"}, b"hello"),
        }

    def forged(self, key: str) -> Answer:
        """Signed by Google indeed, and for us; but of an account that does not speak for the topic."""
        return self._tell(key, SOURCE)

    def authentic(self, key: str) -> Answer:
        return self._tell(key, PUSHER)

    def _tell(self, key: str, email: str) -> Answer:
        asked = json.dumps({"email": email, "audience": AUDIENCE}).encode()
        token = send("POST", f"{self._iam}/_emulator/id-tokens", JSON, asked).json["token"]
        return send("POST", self._door, {**JSON, "authorization": f"Bearer {token}"}, _push(key))


def _push(key: str) -> bytes:
    resource = {"kind": "storage#object", "bucket": BUCKET, "name": key, "generation": "1"}
    attributes = {
        "eventType": "OBJECT_FINALIZE",
        "bucketId": BUCKET,
        "objectId": key,
        "objectGeneration": "1",
        "payloadFormat": "JSON_API_V1",
        "eventTime": "2026-11-21T06:00:00.000000Z",
        "notificationConfig": f"projects/_/buckets/{BUCKET}/notificationConfigs/1",
    }
    message = {
        "attributes": attributes,
        "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        "messageId": "1",
        "publishTime": "2026-11-21T06:00:00.000Z",
    }
    return json.dumps({"subscription": SUBSCRIPTION, "message": message}).encode()
