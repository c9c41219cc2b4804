"""Everything that is set up for one destination, as one value: what `setup gcs --print` prints as JSON."""

from msgspec import Struct

from broker.setup.gcs.rights import (
    AccountBinding,
    Binding,
    Role,
    account_bindings,
    bucket_bindings,
    bucket_roles,
    impersonation_roles,
)
from broker.setup.gcs.safeguards import BucketSettings, bucket_settings
from broker.setup.gcs.senders import Notification, SubscriptionDocument, Topic, notification, subscriptions, topic
from broker.setup.gcs.terms import GcsTerms, Push


class GcsDocuments(Struct, frozen=True, kw_only=True):
    """`roles` belong to projects, `bindings` to the bucket, `account_bindings` to the three service accounts and the
    delegates before them."""

    roles: tuple[Role, ...]
    bindings: tuple[Binding, ...]
    account_bindings: tuple[AccountBinding, ...]
    bucket: BucketSettings
    topic: Topic | None
    notification: Notification | None
    subscriptions: tuple[SubscriptionDocument, ...]
    notes: tuple[str, ...]


def documents_of(terms: GcsTerms) -> GcsDocuments:
    return GcsDocuments(
        roles=(*bucket_roles(terms), *impersonation_roles(terms)),
        bindings=bucket_bindings(terms),
        account_bindings=account_bindings(terms),
        bucket=bucket_settings(terms),
        topic=topic(terms),
        notification=notification(terms),
        subscriptions=subscriptions(terms),
        notes=_notes(terms),
    )


def _notes(terms: GcsTerms) -> tuple[str, ...]:
    notes = [
        "Never run against Google by the makers of this: read it before you apply it.",
        f"The bucket's roles are made in {terms.project}: if the bucket is in another project, make them there.",
        "Grants with a condition need uniform bucket-level access, which this turns on; it ends the bucket's ACLs.",
        "The broker's own identity gets nothing but the right to impersonate: it reads and writes no object itself.",
    ]
    if terms.origins:
        notes.append("CORS names no metadata of yours: add x-goog-meta-NAME for what pages send as object_metadata.")
    if not terms.subscriptions:
        notes.append("No source speaks of this destination: uploads are found by looking.")
    notes += [
        f"The project of {each.subscription} must let Pub/Sub make tokens as {each.caller}."
        for each in terms.subscriptions
        if isinstance(each, Push)
    ]
    return tuple(notes)
