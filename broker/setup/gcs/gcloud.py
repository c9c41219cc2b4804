"""The documents of a destination in Google Cloud Storage as lines for a shell that has `gcloud`.

Commands after the gcloud CLI reference: `iam roles create`, `iam service-accounts add-iam-policy-binding`, `storage
buckets update`, `storage buckets add-iam-policy-binding`, `storage buckets notifications create`, `pubsub topics
create` and `pubsub subscriptions create`. Never run against Google by the makers of this.
"""

import shlex
from collections.abc import Iterator, Mapping

import msgspec

from broker.setup.gcs.documents import GcsDocuments
from broker.setup.gcs.rights import Binding
from broker.setup.gcs.senders import SubscriptionDocument
from broker.setup.gcs.terms import GcsTerms


def gcloud(setups: Mapping[str, tuple[GcsTerms, GcsDocuments]]) -> str:
    """A line that was there already stands once."""
    lines = [line for terms, documents in setups.values() for line in _lines(terms, documents)]
    return "\n".join(dict.fromkeys(lines)) + "\n"


def _lines(terms: GcsTerms, documents: GcsDocuments) -> Iterator[str]:
    yield from (f"# {terms.name}: {note}" for note in documents.notes)
    for role in documents.roles:
        permissions = ",".join(role.included_permissions)
        yield _line("iam", "roles", "create", role.role_id, project=role.project, title=role.title,
                    permissions=permissions)  # fmt: skip
    for each in documents.account_bindings:
        yield _line("iam", "service-accounts", "add-iam-policy-binding", each.service_account, role=each.role,
                    member=each.member)  # fmt: skip
    yield from _bucket(terms, documents)
    yield from _senders(terms, documents)


def _bucket(terms: GcsTerms, documents: GcsDocuments) -> Iterator[str]:
    url = f"gs://{terms.bucket}"
    for name in ("cors", "lifecycle"):
        document = msgspec.json.encode(getattr(documents.bucket, name)).decode()
        yield f"printf %s {shlex.quote(document)} > {name}.json"
    update = _line("storage", "buckets", "update", url, cors_file="cors.json", lifecycle_file="lifecycle.json")
    yield f"{update} --uniform-bucket-level-access --public-access-prevention"
    yield from (_grant(("storage", "buckets"), url, binding) for binding in documents.bindings)


def _senders(terms: GcsTerms, documents: GcsDocuments) -> Iterator[str]:
    topic, told = documents.topic, documents.notification
    if topic is None or told is None:
        return
    yield _line("pubsub", "topics", "create", topic.name)
    yield from (_grant(("pubsub", "topics"), topic.name, binding) for binding in topic.bindings)
    yield _line("storage", "buckets", "notifications", "create", f"gs://{terms.bucket}", topic=topic.name,
                event_types=",".join(told.event_types), object_prefix=told.object_name_prefix,
                payload_format="json")  # fmt: skip
    for each in documents.subscriptions:
        yield _subscription(each)
        yield from (_grant(("pubsub", "subscriptions"), each.name, binding) for binding in each.bindings)


def _subscription(given: SubscriptionDocument) -> str:
    flags = {"topic": given.topic, "ack_deadline": str(given.ack_deadline_seconds)}
    if (push := given.push_config) is not None:
        flags["push_endpoint"] = push.push_endpoint
        flags["push_auth_service_account"] = push.oidc_token.service_account_email
        flags["push_auth_token_audience"] = push.oidc_token.audience
    return _line("pubsub", "subscriptions", "create", given.name, **flags)


def _grant(of: tuple[str, ...], name: str, binding: Binding) -> str:
    flags = {"role": binding.role, "member": binding.member}
    if (condition := binding.condition) is not None:
        # "^:^" makes the colon what separates: the expression has commas ("gcloud topic escaping").
        flags["condition"] = f"^:^title={condition.title}:expression={condition.expression}"
    return _line(*of, "add-iam-policy-binding", name, **flags)


def _line(*words: str, **flags: str) -> str:
    given = [f"--{name.replace('_', '-')}={text}" for name, text in flags.items()]
    return shlex.join(["gcloud", *words, *given])
