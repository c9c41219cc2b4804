"""Everything that is set up for one destination, as one value: what `setup s3 --print` prints as JSON."""

from collections.abc import Mapping

from msgspec import Struct

from broker.setup.rights import bucket_policy, identity_policy, trust_policies
from broker.setup.safeguards import (
    Lifecycle,
    OwnershipControls,
    PublicAccessBlock,
    cors_rules,
    lifecycle,
    ownership_controls,
    public_access_block,
)
from broker.setup.senders import BusDocuments, Notification, QueueDocuments, TopicDocuments, senders
from broker.setup.terms import Terms
from broker.storage.s3.policies import CorsRule, PolicyDocument


class Documents(Struct, frozen=True, kw_only=True):
    """`write`, `read` and `remove` belong to the credentials, `trust` to roles by name, the rest to the bucket and to
    those who tell of it. None is what this store does not have."""

    write: PolicyDocument
    read: PolicyDocument
    remove: PolicyDocument
    trust: Mapping[str, PolicyDocument]
    bucket_policy: PolicyDocument | None
    cors: tuple[CorsRule, ...]
    lifecycle: Lifecycle
    public_access_block: PublicAccessBlock | None
    ownership_controls: OwnershipControls | None
    notification: Notification
    queues: tuple[QueueDocuments, ...]
    topics: tuple[TopicDocuments, ...]
    buses: tuple[BusDocuments, ...]
    notes: tuple[str, ...]


def documents_of(terms: Terms) -> Documents:
    told = senders(terms)
    return Documents(
        write=identity_policy(terms, "write"),
        read=identity_policy(terms, "read"),
        remove=identity_policy(terms, "remove"),
        trust=trust_policies(terms),
        bucket_policy=bucket_policy(terms),
        cors=cors_rules(terms),
        lifecycle=lifecycle(terms),
        public_access_block=public_access_block(terms),
        ownership_controls=ownership_controls(terms),
        notification=told.notification,
        queues=told.queues,
        topics=told.topics,
        buses=told.buses,
        notes=(*_notes(terms), *told.notes),
    )


def _notes(terms: Terms) -> tuple[str, ...]:
    notes = ["Printed, not applied: what it replaces – policies, CORS, lifecycle, notification – it replaces whole."]
    if terms.dialect_name == "aws":
        notes.append("Never run against AWS by the makers of this: read it before you apply it.")
    assumed = dict.fromkeys(role.arn for role in terms.roles.values() if not role.is_web_identity)
    if assumed:
        notes.append(f"Whoever assumes a role must be allowed sts:AssumeRole on {', '.join(assumed)}, too.")
    if terms.dialect_name == "ceph":
        notes.append("Ceph 16.2 takes a policy without spaces only, and knows users by it: arn:aws:iam:::user/NAME.")
    if terms.dialect_name == "r2":
        notes.append("R2 has tokens and no policies: give the write token a bucket of its own.")
    return tuple(notes)
