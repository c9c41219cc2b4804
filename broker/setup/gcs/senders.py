"""Who tells of uploads: the bucket's notification, its topic, and the subscriptions of the sources.

Shapes after `notificationConfigs` (Cloud Storage JSON API) and `projects.subscriptions` (Pub/Sub). The bucket publishes
as the service agent of its project, which must be allowed to ("Configure Pub/Sub notifications", Cloud Storage).
"""

from typing import Final

from msgspec import Struct, field

from broker.setup.gcs.rights import Binding
from broker.setup.gcs.terms import BROKER, GcsTerms, Pull, Push, Subscription, member

EVENT_TYPES: Final = ("OBJECT_FINALIZE", "OBJECT_DELETE", "OBJECT_ARCHIVE")
SERVICE_AGENT: Final = "service-PROJECT_NUMBER@gs-project-accounts.iam.gserviceaccount.com"
_PUSH_ACK_SECONDS: Final = 60  # ours: how long a door may take; it takes milliseconds
# To pull and acknowledge; and to see whether there is a dead-letter topic, which decides what becomes of poison.
_PULLING = ("roles/pubsub.subscriber", "roles/pubsub.viewer")


class Topic(Struct, frozen=True, kw_only=True):
    name: str
    bindings: tuple[Binding, ...]


class Notification(Struct, frozen=True, kw_only=True):
    """A bucket may have several; this one is told by topic and prefix."""

    topic: str
    event_types: tuple[str, ...]
    object_name_prefix: str
    payload_format: str = "JSON_API_V1"


class OidcToken(Struct, frozen=True, kw_only=True, rename="camel"):
    service_account_email: str
    audience: str


class PushConfig(Struct, frozen=True, kw_only=True, rename="camel"):
    push_endpoint: str
    oidc_token: OidcToken


class SubscriptionDocument(Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    name: str
    topic: str
    ack_deadline_seconds: int
    push_config: PushConfig | None = None
    bindings: tuple[Binding, ...] = field(default=())


def topic(terms: GcsTerms) -> Topic | None:
    if not terms.subscriptions:
        return None
    publishes = Binding(role="roles/pubsub.publisher", member=member(SERVICE_AGENT))
    return Topic(name=_topic_name(terms), bindings=(publishes,))


def notification(terms: GcsTerms) -> Notification | None:
    if not terms.subscriptions:
        return None
    name = f"//pubsub.googleapis.com/{_topic_name(terms)}"
    return Notification(topic=name, event_types=EVENT_TYPES, object_name_prefix=f"{terms.prefix}/")


def subscriptions(terms: GcsTerms) -> tuple[SubscriptionDocument, ...]:
    return tuple(_subscription(_topic_name(terms), each) for each in terms.subscriptions)


def _topic_name(terms: GcsTerms) -> str:
    """Beside the first subscription, which is the only thing of Pub/Sub that the configuration names."""
    project = terms.subscriptions[0].subscription.split("/")[1]
    return f"projects/{project}/topics/upload-broker-{terms.bucket}"


def _subscription(of_topic: str, terms: Subscription) -> SubscriptionDocument:
    match terms:
        case Push():
            token = OidcToken(service_account_email=terms.caller, audience=terms.audience)
            return SubscriptionDocument(
                name=terms.subscription,
                topic=of_topic,
                ack_deadline_seconds=_PUSH_ACK_SECONDS,
                push_config=PushConfig(push_endpoint=f"BROKER_URL/notifications/{terms.source}", oidc_token=token),
            )
        case Pull():
            return SubscriptionDocument(
                name=terms.subscription,
                topic=of_topic,
                ack_deadline_seconds=int(terms.ack_deadline.total_seconds()),
                bindings=tuple(Binding(role=each, member=member(BROKER)) for each in _PULLING),
            )
