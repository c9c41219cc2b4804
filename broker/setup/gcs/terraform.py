"""The documents of a destination in Google Cloud Storage as Terraform, for the Google provider 6 and 7.

Resources and arguments after the provider's documentation: `google_project_iam_custom_role`,
`google_storage_bucket_iam_member`, `google_service_account_iam_member`, `google_storage_notification`,
`google_pubsub_topic`, `google_pubsub_topic_iam_member`, `google_pubsub_subscription` and its `_iam_member`. Bucket and
service accounts are somebody else's to make: they are named, not referred to. The provider keeps CORS, lifecycle and
access of a bucket in the bucket's own resource, where they stand here as a comment to take over. Never applied to
Google by the makers of this; tests parse it and compare it with JSON.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from broker.setup.gcs.documents import GcsDocuments
from broker.setup.gcs.rights import Binding, Condition, Role
from broker.setup.gcs.senders import SubscriptionDocument
from broker.setup.gcs.terms import GcsTerms
from broker.setup.hcl import Block, Expression, Value, hcl, resource, slug, variables_in

_SOURCE = {"source": "hashicorp/google", "version": ">= 6.0, < 8.0"}
_PROVIDER = Block("terraform", blocks=(Block("required_providers", attributes={"google": _SOURCE}),))

Attributes = Mapping[str, Value | None]


def terraform(setups: Mapping[str, tuple[GcsTerms, GcsDocuments]]) -> str:
    """One file for all of them; notes and the bucket's own settings are comments at its head."""
    roles = dict.fromkeys(role for _, documents in setups.values() for role in documents.roles)
    resources = [_role(role) for role in roles]
    resources += [block for terms, documents in setups.values() for block in _resources(terms, documents, list(roles))]
    body = hcl(_once(resources))
    heads = [line for terms, documents in setups.values() for line in _head(terms, documents)]
    return "\n".join([*heads, "", hcl([_PROVIDER, *variables_in(body)]), body])


def _head(terms: GcsTerms, documents: GcsDocuments) -> Iterator[str]:
    for note in documents.notes:
        yield f"# {terms.name}: {note}"
    yield f'# {terms.name}: into the resource of bucket "{terms.bucket}":'
    for line in hcl(_bucket_blocks(documents)).splitlines():
        yield f"#   {line}".rstrip()


def _bucket_blocks(documents: GcsDocuments) -> Sequence[Block]:
    """What `google_storage_bucket` takes."""
    access = documents.bucket.iam_configuration
    cors = tuple(
        Block("cors", attributes={
            "origin": rule.origin, "method": rule.method, "response_header": rule.response_header,
            "max_age_seconds": rule.max_age_seconds,
        })
        for rule in documents.bucket.cors
    )  # fmt: skip
    rules = tuple(
        Block("lifecycle_rule", blocks=(
            Block("action", attributes={"type": rule.action.type}),
            Block("condition", attributes={
                "days_since_noncurrent_time": rule.condition.days_since_noncurrent_time,
                "matches_prefix": rule.condition.matches_prefix,
            }),
        ))
        for rule in documents.bucket.lifecycle.rule
    )  # fmt: skip
    attributes: Attributes = {
        "uniform_bucket_level_access": access.uniform_bucket_level_access.enabled,
        "public_access_prevention": access.public_access_prevention,
    }
    return (Block("resource", ("google_storage_bucket", "…"), attributes, (*cors, *rules)),)


def _once(resources: Iterable[Block]) -> list[Block]:
    """Of two destinations that share an account or a topic, each is granted once."""
    return list({block.labels: block for block in resources}.values())


def _role(role: Role) -> Block:
    attributes: Attributes = {
        "project": role.project,
        "role_id": role.role_id,
        "title": role.title,
        "permissions": role.included_permissions,
    }
    return resource("google_project_iam_custom_role", slug(f"{role.project}_{role.role_id}"), attributes)


def _resources(terms: GcsTerms, documents: GcsDocuments, roles: Sequence[Role]) -> Iterator[Block]:
    made = {role.name: Expression(f"google_project_iam_custom_role.{slug(f'{role.project}_{role.role_id}')}.name")
            for role in roles}  # fmt: skip
    for binding in documents.bindings:
        of: Attributes = {"bucket": terms.bucket, "role": made[binding.role], "member": binding.member}
        label = slug(f"{terms.name}_{binding.role.rpartition('/')[2]}")
        yield resource("google_storage_bucket_iam_member", label, of, _condition(binding.condition))
    for each in documents.account_bindings:
        project = each.service_account.partition("@")[2].partition(".")[0]
        to: Attributes = {
            "service_account_id": f"projects/{project}/serviceAccounts/{each.service_account}",
            "role": made[each.role],
            "member": each.member,
        }
        label = slug(f"{each.service_account}_{each.role.rpartition('/')[2]}_{each.member.partition(':')[2]}")
        yield resource("google_service_account_iam_member", label, to)
    yield from _senders(terms, documents)


def _senders(terms: GcsTerms, documents: GcsDocuments) -> Iterator[Block]:
    topic, told = documents.topic, documents.notification
    if topic is None or told is None:
        return
    _, project, _, name = topic.name.split("/")
    label = slug(name)
    yield resource("google_pubsub_topic", label, {"project": project, "name": name})
    topic_id = Expression(f"google_pubsub_topic.{label}.id")
    for binding in topic.bindings:
        yield resource("google_pubsub_topic_iam_member", label, {"topic": topic_id, **_granted(binding)})
    attributes: Attributes = {
        "bucket": terms.bucket,
        "topic": topic_id,
        "event_types": told.event_types,
        "object_name_prefix": told.object_name_prefix,
        "payload_format": told.payload_format,
        "depends_on": [Expression(f"google_pubsub_topic_iam_member.{label}")],
    }
    yield resource("google_storage_notification", slug(terms.name), attributes)
    for each in documents.subscriptions:
        yield from _subscription(each, topic_id)


def _subscription(given: SubscriptionDocument, topic_id: Expression) -> Iterator[Block]:
    _, project, _, name = given.name.split("/")
    label = slug(name)
    push = given.push_config
    blocks: tuple[Block, ...] = ()
    if push is not None:
        token = Block("oidc_token", attributes=msgspec.structs.asdict(push.oidc_token))
        blocks = (Block("push_config", attributes={"push_endpoint": push.push_endpoint}, blocks=(token,)),)
    attributes: Attributes = {
        "project": project,
        "name": name,
        "topic": topic_id,
        "ack_deadline_seconds": given.ack_deadline_seconds,
    }
    yield resource("google_pubsub_subscription", label, attributes, blocks)
    for binding in given.bindings:
        of = Expression(f"google_pubsub_subscription.{label}.name")
        attributes = {"project": project, "subscription": of, **_granted(binding)}
        yield resource("google_pubsub_subscription_iam_member", label, attributes)


def _granted(binding: Binding) -> dict[str, Value]:
    return {"role": binding.role, "member": binding.member}


def _condition(condition: Condition | None) -> tuple[Block, ...]:
    return () if condition is None else (Block("condition", attributes=msgspec.structs.asdict(condition)),)
