"""Who tells of uploads: the bucket's notification, and what lets a queue, a topic or a bus carry it.

Shapes after PutBucketNotificationConfiguration (S3), CreateQueue (SQS), CreateTopic and Subscribe (SNS), PutRule,
CreateConnection and CreateApiDestination (EventBridge) of their API References; conditions after the S3 User Guide,
"Granting permissions to publish event notification messages to a destination".
"""

from collections.abc import Mapping

from msgspec import Struct

from broker.setup.terms import Bus, Push, Queue, Sender, Terms, Topic
from broker.storage.s3.policies import PolicyDocument, Statement

CREATED, REMOVED = "s3:ObjectCreated:*", "s3:ObjectRemoved:*"
_KEPT_SECONDS = 1_209_600  # SetQueueAttributes, MessageRetentionPeriod: at most 14 days
_RATE = 300  # CreateApiDestination, InvocationRateLimitPerSecond: what it is unless somebody says otherwise


class FilterRule(Struct, frozen=True, kw_only=True, rename="pascal"):
    name: str
    value: str


class KeyFilter(Struct, frozen=True, kw_only=True, rename="pascal"):
    filter_rules: tuple[FilterRule, ...]


class EventFilter(Struct, frozen=True, kw_only=True, rename="pascal"):
    key: KeyFilter


class QueueConfiguration(Struct, frozen=True, kw_only=True, rename="pascal"):
    id: str
    queue_arn: str
    events: tuple[str, ...]
    filter: EventFilter


class TopicConfiguration(Struct, frozen=True, kw_only=True, rename="pascal"):
    id: str
    topic_arn: str
    events: tuple[str, ...]
    filter: EventFilter


class Notification(Struct, frozen=True, kw_only=True, omit_defaults=True, rename="pascal"):
    """What PutBucketNotificationConfiguration takes; it replaces whatever the bucket had."""

    queue_configurations: tuple[QueueConfiguration, ...] = ()
    topic_configurations: tuple[TopicConfiguration, ...] = ()
    event_bridge_configuration: Mapping[str, str] | None = None


class QueueDocuments(Struct, frozen=True, kw_only=True):
    name: str
    arn: str
    attributes: Mapping[str, str]
    policy: PolicyDocument
    receiver: PolicyDocument  # what the credential of the source must be allowed


class TopicDocuments(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`attributes` of the topic. A topic of Ceph calls by itself, one of SNS has a subscription."""

    name: str
    arn: str
    attributes: Mapping[str, str]
    policy: PolicyDocument | None = None
    endpoint: str | None = None


class BusDocuments(Struct, frozen=True, kw_only=True):
    """Rule, connection, API destination and the role that lets the one call the other, all of one name."""

    name: str
    pattern: Mapping[str, object]
    key_header: str
    key: str
    endpoint: str
    rate: int
    trust: PolicyDocument
    policy: PolicyDocument


class Senders(Struct, frozen=True, kw_only=True):
    notification: Notification
    queues: tuple[QueueDocuments, ...] = ()
    topics: tuple[TopicDocuments, ...] = ()
    buses: tuple[BusDocuments, ...] = ()
    notes: tuple[str, ...] = ()


def senders(terms: Terms) -> Senders:
    """S3 takes one queue or topic for a prefix and an event ("Configurations overlap"): the first of the sources."""
    chosen = [each for each in terms.senders if isinstance(each, Queue | Topic)][:1]
    queues = [each for each in chosen if isinstance(each, Queue)]
    topics = [each for each in chosen if isinstance(each, Topic)]
    buses = [each for each in terms.senders if isinstance(each, Bus)]
    pushes = [each for each in terms.senders if isinstance(each, Push)] if terms.dialect_name == "ceph" else []
    notification = Notification(
        queue_configurations=tuple(
            QueueConfiguration(id=each.source, queue_arn=each.arn, events=(CREATED, REMOVED), filter=_under(terms))
            for each in queues
        ),
        topic_configurations=(
            *(_topic_configuration(terms, each.source, each.arn, (CREATED, REMOVED)) for each in topics),
            # Ceph 16.2: radosgw aborts when DeleteObjects meets a topic that wants ObjectRemoved.
            *(_topic_configuration(terms, each.source, _ceph_arn(terms, each), (CREATED,)) for each in pushes),
        ),
        event_bridge_configuration={} if buses else None,
    )
    return Senders(
        notification=notification,
        queues=tuple(_queue(terms, each) for each in queues),
        topics=(*(_topic(terms, each) for each in topics), *(_ceph_topic(terms, each) for each in pushes)),
        buses=tuple(_bus(terms, each) for each in buses),
        notes=_notes(terms, chosen),
    )


def _notes(terms: Terms, chosen: list[Queue | Topic]) -> tuple[str, ...]:
    if not terms.senders:
        return ("No source speaks of this destination: its uploads are found by looking.",)
    others = [each.source for each in terms.senders if isinstance(each, Queue | Topic) and each not in chosen]
    notes = [
        f"S3 sends an event to one queue or topic: {each} is left out; subscribe it to a topic." for each in others
    ]
    if terms.dialect_name not in {"aws", "ceph"}:
        notes.append("How this store sends events is its own; the notification is as AWS spells it.")
    elif terms.dialect_name == "aws" and any(isinstance(each, Push) for each in terms.senders):
        notes.append("S3 calls no URL by itself: a source of kind s3_event needs something that passes events on.")
    return tuple(notes)


def _queue(terms: Terms, queue: Queue) -> QueueDocuments:
    actions = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes")
    receiver = Statement(
        sid="TakeEvents", effect="Allow", action=tuple(f"sqs:{each}" for each in actions), resource=queue.arn
    )
    return QueueDocuments(
        name=queue.arn.rpartition(":")[2],
        arn=queue.arn,
        attributes={
            "MessageRetentionPeriod": str(_KEPT_SECONDS),
            "VisibilityTimeout": str(int(queue.visibility.total_seconds())),
        },
        policy=_from_s3(terms, "sqs:SendMessage", queue),
        receiver=PolicyDocument(statement=(receiver,)),
    )


def _topic(terms: Terms, topic: Topic) -> TopicDocuments:
    return TopicDocuments(
        name=topic.arn.rpartition(":")[2],
        arn=topic.arn,
        attributes={"SignatureVersion": "2"},  # SHA-256; SNS signs with SHA-1 unless it is told
        policy=_from_s3(terms, "sns:Publish", topic),
        endpoint=_door(topic),
    )


def _ceph_topic(terms: Terms, push: Push) -> TopicDocuments:
    attributes = {"push-endpoint": f"{_door(push)}?token=EVENT_TOKEN", "persistent": "true"}
    return TopicDocuments(name=push.source, arn=_ceph_arn(terms, push), attributes=attributes)


def _bus(terms: Terms, bus: Bus) -> BusDocuments:
    name = f"upload-broker-{terms.name}"
    pattern = {
        "source": ["aws.s3"],
        "detail-type": ["Object Created", "Object Deleted"],
        "detail": {"bucket": {"name": [terms.bucket]}, "object": {"key": [{"prefix": f"{terms.prefix}/"}]}},
    }
    # EventBridge User Guide, "Cross-service confused deputy prevention": the rule, and the account that it is in.
    rule = f"arn:{terms.partition}:events:{terms.region}:{terms.account}:rule/{name}"
    trust = Statement(
        sid="TheRule",
        effect="Allow",
        principal={"Service": "events.amazonaws.com"},
        action=("sts:AssumeRole",),
        condition={"ArnEquals": {"aws:SourceArn": rule}, "StringEquals": {"aws:SourceAccount": terms.account}},
    )
    # Its id is not known before it is made.
    destination = f"arn:{terms.partition}:events:{terms.region}:{terms.account}:api-destination/{name}/*"
    invoke = Statement(
        sid="CallTheBroker", effect="Allow", action=("events:InvokeApiDestination",), resource=destination
    )
    return BusDocuments(
        name=name,
        pattern=pattern,
        key_header=bus.key_header,
        key="EVENT_TOKEN",
        endpoint=_door(bus),
        rate=_RATE,
        trust=PolicyDocument(statement=(trust,)),
        policy=PolicyDocument(statement=(invoke,)),
    )


def _from_s3(terms: Terms, action: str, to: Queue | Topic) -> PolicyDocument:
    """Only the source's buckets, and only as long as their accounts own them."""
    arns = tuple(f"arn:{terms.partition}:s3:::{bucket}" for bucket in to.buckets)
    owners = to.accounts if len(to.accounts) > 1 else to.accounts[0]
    statement = Statement(
        sid="OurBuckets",
        effect="Allow",
        principal={"Service": "s3.amazonaws.com"},
        action=(action,),
        resource=to.arn,
        condition={"ArnLike": {"aws:SourceArn": arns}, "StringEquals": {"aws:SourceAccount": owners}},
    )
    return PolicyDocument(statement=(statement,))


def _topic_configuration(terms: Terms, source: str, arn: str, events: tuple[str, ...]) -> TopicConfiguration:
    return TopicConfiguration(id=source, topic_arn=arn, events=events, filter=_under(terms))


def _ceph_arn(terms: Terms, push: Push) -> str:
    return f"arn:aws:sns:{terms.region}::{push.source}"


def _door(sender: Sender) -> str:
    return f"BROKER_URL/notifications/{sender.source}"


def _under(terms: Terms) -> EventFilter:
    return EventFilter(key=KeyFilter(filter_rules=(FilterRule(name="prefix", value=f"{terms.prefix}/"),)))
