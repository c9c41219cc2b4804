"""Who tells of objects: one kind a way by which events come."""

from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.settings.credentials import CredentialSettings
from broker.settings.google import GoogleSourceSettings, ServiceAccount, ServiceUrl
from broker.settings.secrets import Secret


class _Source(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """A sender of bucket events, and the destinations about which it may speak."""

    destinations: Annotated[tuple[str, ...], Meta(min_length=1)]


class S3EventSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="s3_event"):
    """A store that calls us, with a secret of its own."""

    tokens: Annotated[tuple[Secret, ...], Meta(min_length=1)]


class SnsSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sns"):
    """Topics that call us over HTTPS; each message carries a signature of SNS.

    :param signature_versions: those that are good enough: SNS takes "1" (SHA-1) unless the topic says "2" (SHA-256).
    """

    topic_arns: Annotated[tuple[str, ...], Meta(min_length=1)]
    signature_versions: Annotated[frozenset[Literal["1", "2"]], Meta(min_length=1)] = frozenset({"1", "2"})


class EventBridgeSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="eventbridge"):
    """An API destination of EventBridge, with a secret of its own.

    :param key_header: the `ApiKeyName` of its connection.
    """

    tokens: Annotated[tuple[Secret, ...], Meta(min_length=1)]
    key_header: Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]{1,64}$(?!\n)")] = "x-api-key"


class SqsSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="sqs"):
    """A queue that we ask. Who may write to it is its policy's business.

    :param receivers: how many ask side by side, in each process.
    :param visibility: how long a message is ours; when a process dies with it, it comes again after that.
    :param on_poison: what to do with a message that nobody can read; "auto" keeps it where the queue has a redrive
        policy, and deletes it elsewhere.
    """

    queue_url: str
    region: str | None = None
    endpoint: str | None = None
    credentials: CredentialSettings = CredentialSettings()
    receivers: Annotated[int, Meta(ge=1, le=64)] = 4
    visibility: timedelta = timedelta(seconds=60)
    on_poison: Literal["auto", "keep", "delete"] = "auto"


# Pub/Sub, "Resource names"; a project id may have a domain before it.
Subscription = Annotated[
    str, Meta(pattern=r"^projects/[a-z0-9][a-z0-9.:-]{1,98}/subscriptions/[A-Za-z][A-Za-z0-9._~+%-]{2,254}$(?!\n)")
]


class PubsubPushSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pubsub_push"):
    """Subscriptions of Pub/Sub that call us over HTTPS; each call bears an ID token of a service account.

    :param audience: of those tokens, as the subscription names it: of this broker and of nobody else.
    :param service_accounts: that the subscriptions call as. Whoever may make ID tokens of one may speak here.
    :param subscriptions: those that may speak here; none means all that call as one of the service accounts.
    :param certs_url: where the certificates are by which Google signs tokens.
    """

    audience: Annotated[str, Meta(min_length=1, max_length=1_024)]
    service_accounts: Annotated[tuple[ServiceAccount, ...], Meta(min_length=1)]
    subscriptions: tuple[Subscription, ...] = ()
    certs_url: str = "https://www.googleapis.com/oauth2/v1/certs"


class PubsubSource(_Source, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="pubsub"):
    """A subscription of Pub/Sub that we ask. Who may publish to its topic is that one's policy's business.

    :param source: as whom we ask; needs roles/pubsub.subscriber on the subscription, and roles/pubsub.viewer where
        `on_poison` is "auto".
    :param receivers: how many ask side by side, in each process.
    :param ack_deadline: how long a message is ours; when a process dies with it, it comes again after that or earlier.
    :param on_poison: what to do with a message that nobody can read; "auto" keeps it where the subscription has a
        dead-letter topic, and deletes it elsewhere.
    """

    subscription: Subscription
    endpoint: ServiceUrl = "https://pubsub.googleapis.com"
    source: GoogleSourceSettings = GoogleSourceSettings()
    receivers: Annotated[int, Meta(ge=1, le=64)] = 4
    ack_deadline: timedelta = timedelta(seconds=60)
    on_poison: Literal["auto", "keep", "delete"] = "auto"


QueueSource = SqsSource | PubsubSource  # we go to them; to the others we open a door
SourceSettings = S3EventSource | SnsSource | EventBridgeSource | SqsSource | PubsubPushSource | PubsubSource
