"""Google as it would be seen from here: keys of its own, the page of their certificates, tokens that it signs, and
Pub/Sub with the messages of Cloud Storage.

Times are those of this machine: google-auth asks no other clock. The certificates' page is kept by a clock of the test.
"""

import base64
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from broker.clock import SystemClock
from broker.domain.errors import SenderUnavailable
from broker.doors.google_certificates import GoogleCertificates
from broker.doors.google_tokens import GoogleTokens
from broker.doors.pubsub_push import PubsubPushDoor
from broker.ports import Envelope
from tests.clock import FrozenClock
from tests.unit.doors.sns_world import StandInPages, certificate, rsa_key

CERTS = "https://www.googleapis.com/oauth2/v1/certs"
AUDIENCE = "https://broker.example/notifications/gcs"
PUSHER = "pubsub-push@acme.iam.gserviceaccount.com"
SUBSCRIPTION = "projects/acme/subscriptions/uploads"
BUCKET, KEY, GENERATION = "acme", "uploads/id/two words+é%2F.csv", "1732176000123456"


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Mapping[str, Any], claims: object, key: rsa.RSAPrivateKey) -> str:
    """RFC 7515, RS256, whatever the header says."""
    text = f"{base64url(json.dumps(header).encode())}.{base64url(json.dumps(claims).encode())}"
    return f"{text}.{base64url(key.sign(text.encode(), padding.PKCS1v15(), SHA256()))}"


def told(
    key: str = KEY, *, event: str = "OBJECT_FINALIZE", bucket: str = BUCKET, generation: str = GENERATION, **more: str
) -> dict[str, Any]:
    """Cloud Storage, "Pub/Sub notifications for Cloud Storage": a `PubsubMessage`, with the payload JSON_API_V1."""
    resource = {"kind": "storage#object", "id": f"{bucket}/{key}/{generation}", "name": key, "bucket": bucket}
    attributes = {
        "notificationConfig": f"projects/_/buckets/{bucket}/notificationConfigs/1",
        "eventType": event,
        "payloadFormat": "JSON_API_V1",
        "bucketId": bucket,
        "objectId": key,
        "objectGeneration": generation,
        "eventTime": "2026-11-20T12:00:00.123456Z",
    }
    return {
        "attributes": attributes | more,
        "data": base64.b64encode(json.dumps(resource).encode()).decode(),
        "messageId": "11223344556677889",
        "publishTime": "2026-11-20T12:00:00.456Z",
    }


def pushed(message: object, subscription: str = SUBSCRIPTION) -> dict[str, Any]:
    return {"message": message, "subscription": subscription, "deliveryAttempt": 1}


@dataclass
class Google:
    """The door under test, and the one who knocks. Its keys are named "one" and "two"; "two" is not published yet."""

    clock: FrozenClock = field(default_factory=lambda: FrozenClock(SystemClock().now()))
    pages: StandInPages = field(default_factory=lambda: StandInPages(fresh_for=timedelta(hours=6)))
    subscriptions: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.publish("one")
        self.certificates = GoogleCertificates(url=CERTS, pages=self.pages, clock=self.clock)
        self.tokens = GoogleTokens(
            audience=AUDIENCE, service_accounts=frozenset({PUSHER}), certificates=self.certificates
        )
        self.door = PubsubPushDoor(destinations=("default",), tokens=self.tokens, subscriptions=self.subscriptions)

    def publish(self, *names: str, days: int = 365) -> None:
        begins = self.clock.now() - timedelta(days=1)
        page = {name: certificate(rsa_key(name), begins=begins, days=days).decode() for name in names}
        self.pages.pages[CERTS] = json.dumps(page).encode()

    def unavailable(self) -> None:
        self.pages.pages[CERTS] = SenderUnavailable()

    def claims(self, **changes: Any) -> dict[str, Any]:
        """What Google signs. A claim that is changed to None is left out."""
        now = int(time.time())
        made = {
            "aud": AUDIENCE,
            "azp": "113774264463038321964",
            "email": PUSHER,
            "email_verified": True,
            "exp": now + 3_600,
            "iat": now,
            "iss": "https://accounts.google.com",
            "sub": "113774264463038321964",
        }
        return {name: value for name, value in (made | changes).items() if value is not None}

    def token(self, *, by: str = "one", header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        return signed({"alg": "RS256", "kid": by, "typ": "JWT"} | (header or {}), self.claims(**changes), rsa_key(by))

    def envelope(self, body: object = None, *, token: str | None = None, **headers: str) -> Envelope:
        body = pushed(told()) if body is None else body
        raw = body if isinstance(body, bytes) else json.dumps(body).encode(errors="surrogatepass")
        bearer = self.token() if token is None else token
        known = {"content-type": "application/json", "authorization": f"Bearer {bearer}"}
        return Envelope(headers=known | headers, query={}, body=raw)
