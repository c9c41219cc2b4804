"""The documents of a destination as Terraform, for the AWS provider 5 and 6.

Resources and arguments after the provider's documentation: `aws_iam_role`, `aws_iam_role_policy`, `aws_iam_policy`,
`aws_s3_bucket_policy`, `…_cors_configuration`, `…_lifecycle_configuration`, `…_public_access_block`,
`…_ownership_controls`, `…_notification`, `aws_sqs_queue` and its policy, `aws_sns_topic`, its policy and subscription,
`aws_cloudwatch_event_rule`, `…_connection`, `…_api_destination`, `…_target`. The bucket itself is somebody else's to
make: it is named, not referred to. Never applied to AWS by the makers of this; tests parse it and compare it with JSON.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from broker.domain.errors import ConfigurationInvalid
from broker.setup.documents import Documents
from broker.setup.hcl import Block, Encoded, Expression, Value, hcl, resource, slug, variables_in
from broker.setup.rights import RIGHTS
from broker.setup.senders import BusDocuments, QueueDocuments, TopicDocuments
from broker.setup.terms import Terms

_PROVIDER = Block(
    "terraform",
    blocks=(Block("required_providers", attributes={"aws": {"source": "hashicorp/aws", "version": ">= 5.0, < 7.0"}}),),
)


def terraform(setups: Mapping[str, tuple[Terms, Documents]]) -> str:
    """One file for all of them; notes are comments at its head.

    :raises ConfigurationInvalid: two of them would say different things by one name.
    """
    resources = [block for terms, documents in setups.values() for block in _resources(terms, documents)]
    body = hcl(_once(resources))
    notes = [f"# {name}: {note}" for name, (_, documents) in setups.items() for note in documents.notes]
    return "\n".join([*notes, "", hcl([_PROVIDER, *variables_in(body)]), body])


def _once(resources: Iterable[Block]) -> list[Block]:
    """A queue, a topic or a role may serve several destinations, if they want the same of it."""
    kept: dict[tuple[str, ...], Block] = {}
    for block in resources:
        if kept.setdefault(block.labels, block) != block:
            raise ConfigurationInvalid(
                f"two destinations each want a {'.'.join(block.labels)} of its own (names alike, or two accounts): "
                "print one at a time"
            )
    return list(kept.values())


def _resources(terms: Terms, documents: Documents) -> Iterator[Block]:
    label = slug(terms.name)
    if terms.dialect_name == "aws":
        yield from _identities(terms, documents, label)
    yield from _bucket(terms, documents, label)
    for queue in documents.queues:
        yield from _queue(queue, slug(queue.name))
    for topic in documents.topics:
        yield from _topic(topic, slug(topic.name))
    for bus in documents.buses:
        yield from _bus(bus, label)


def _identities(terms: Terms, documents: Documents, label: str) -> Iterator[Block]:
    """A role for each that the configuration names; for the other rights a policy to attach."""
    by_name = {role.name: role for role in terms.roles.values()}
    for name, role in by_name.items():
        yield resource(
            "aws_iam_role",
            slug(name),
            {
                "name": name,
                "max_session_duration": max(3_600, int(role.duration.total_seconds())),
                "assume_role_policy": _encoded(documents.trust[name]),
            },
        )
    for right in RIGHTS:
        policy, role_of = _encoded(getattr(documents, right)), terms.roles.get(right)
        name = f"upload-broker-{terms.name}-{right}"
        if role_of is None:
            yield resource("aws_iam_policy", f"{label}_{right}", {"name": name, "policy": policy})
            continue
        role_id = Expression(f"aws_iam_role.{slug(role_of.name)}.id")
        yield resource("aws_iam_role_policy", f"{label}_{right}", {"name": name, "role": role_id, "policy": policy})


def _bucket(terms: Terms, documents: Documents, label: str) -> Iterator[Block]:
    of: dict[str, Value | None] = {"bucket": terms.bucket}
    if documents.bucket_policy is not None:
        policy = _encoded(documents.bucket_policy)
        yield resource("aws_s3_bucket_policy", label, {**of, "policy": policy})
    if documents.cors:
        rules = tuple(Block("cors_rule", attributes=_snake(msgspec.to_builtins(rule))) for rule in documents.cors)
        yield resource("aws_s3_bucket_cors_configuration", label, of, rules)
    rules = tuple(_lifecycle_rule(rule) for rule in msgspec.to_builtins(documents.lifecycle)["Rules"])
    yield resource("aws_s3_bucket_lifecycle_configuration", label, of, rules)
    if documents.public_access_block is not None:
        block = _snake(msgspec.to_builtins(documents.public_access_block))
        yield resource("aws_s3_bucket_public_access_block", label, {**of, **block})
    if documents.ownership_controls is not None:
        rules = tuple(
            Block("rule", attributes={"object_ownership": rule.object_ownership})
            for rule in documents.ownership_controls.rules
        )
        yield resource("aws_s3_bucket_ownership_controls", label, of, rules)
    yield from _notification(terms, documents, label)


def _lifecycle_rule(rule: Mapping[str, object]) -> Block:
    plain = {_snaked(name): value for name, value in rule.items() if isinstance(value, str)}
    nested = {_snaked(name): value for name, value in rule.items() if isinstance(value, Mapping)}
    return Block(
        "rule", attributes=plain, blocks=tuple(Block(name, attributes=_snake(value)) for name, value in nested.items())
    )


def _notification(terms: Terms, documents: Documents, label: str) -> Iterator[Block]:
    """One for a bucket: the provider overwrites what another resource says of it."""
    told = documents.notification
    prefix = f"{terms.prefix}/"
    queues = [
        Block("queue", attributes={"id": each.id, "queue_arn": each.queue_arn, "events": each.events,
                                   "filter_prefix": prefix})
        for each in told.queue_configurations
    ]  # fmt: skip
    topics = [
        Block("topic", attributes={"id": each.id, "topic_arn": each.topic_arn, "events": each.events,
                                   "filter_prefix": prefix})
        for each in told.topic_configurations
    ]  # fmt: skip
    bus = True if told.event_bridge_configuration is not None else None
    if queues or topics or bus:
        # S3 tries the policy of queue or topic at once.
        after = [Expression(f"aws_sqs_queue_policy.{slug(each.name)}") for each in documents.queues]
        after += [Expression(f"aws_sns_topic_policy.{slug(each.name)}") for each in documents.topics if each.policy]
        attributes = {"bucket": terms.bucket, "eventbridge": bus, "depends_on": after or None}
        yield resource("aws_s3_bucket_notification", label, attributes, (*queues, *topics))


def _queue(queue: QueueDocuments, label: str) -> Iterator[Block]:
    yield resource(
        "aws_sqs_queue",
        label,
        {
            "name": queue.name,
            "message_retention_seconds": int(queue.attributes["MessageRetentionPeriod"]),
            "visibility_timeout_seconds": int(queue.attributes["VisibilityTimeout"]),
        },
    )
    url = Expression(f"aws_sqs_queue.{label}.id")
    yield resource("aws_sqs_queue_policy", label, {"queue_url": url, "policy": _encoded(queue.policy)})
    name = f"upload-broker-{queue.name}-receive"
    yield resource("aws_iam_policy", f"{label}_receive", {"name": name, "policy": _encoded(queue.receiver)})


def _topic(topic: TopicDocuments, label: str) -> Iterator[Block]:
    """A topic of Ceph has attributes that the provider does not know: it is made by `create-topic`."""
    if topic.policy is None:
        return
    version = int(topic.attributes["SignatureVersion"])
    yield resource("aws_sns_topic", label, {"name": topic.name, "signature_version": version})
    arn = Expression(f"aws_sns_topic.{label}.arn")
    yield resource("aws_sns_topic_policy", label, {"arn": arn, "policy": _encoded(topic.policy)})
    yield resource(
        "aws_sns_topic_subscription",
        label,
        {"topic_arn": arn, "protocol": "https", "endpoint": topic.endpoint, "endpoint_auto_confirms": True},
    )


def _bus(bus: BusDocuments, label: str) -> Iterator[Block]:
    yield resource("aws_cloudwatch_event_rule", label, {"name": bus.name, "event_pattern": Encoded(dict(bus.pattern))})
    yield resource(
        "aws_cloudwatch_event_connection",
        label,
        {"name": bus.name, "authorization_type": "API_KEY"},
        (Block("auth_parameters", blocks=(Block("api_key", attributes={"key": bus.key_header, "value": bus.key}),)),),
    )
    yield resource(
        "aws_cloudwatch_event_api_destination",
        label,
        {
            "name": bus.name,
            "connection_arn": Expression(f"aws_cloudwatch_event_connection.{label}.arn"),
            "invocation_endpoint": bus.endpoint,
            "http_method": "POST",
            "invocation_rate_limit_per_second": bus.rate,
        },
    )
    role, arn = f"{label}_events", Expression(f"aws_iam_role.{label}_events.arn")
    yield resource("aws_iam_role", role, {"name": f"{bus.name}-events", "assume_role_policy": _encoded(bus.trust)})
    yield resource(
        "aws_iam_role_policy",
        role,
        {"name": bus.name, "role": Expression(f"aws_iam_role.{role}.id"), "policy": _encoded(bus.policy)},
    )
    yield resource(
        "aws_cloudwatch_event_target",
        label,
        {
            "rule": Expression(f"aws_cloudwatch_event_rule.{label}.name"),
            "arn": Expression(f"aws_cloudwatch_event_api_destination.{label}.arn"),
            "role_arn": arn,
        },
    )


def _encoded(document: object) -> Encoded:
    return Encoded(msgspec.to_builtins(document))


def _snake(members: Mapping[str, Value]) -> dict[str, Value | None]:
    return {_snaked(name): value for name, value in members.items()}


def _snaked(name: str) -> str:
    """`MaxAgeSeconds` as the provider spells it."""
    return "id" if name == "ID" else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
