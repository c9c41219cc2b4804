"""Who may do what: a role of its own for each of the three service accounts, and for who impersonates them.

Permissions after "IAM permissions for JSON methods" and "IAM permissions for XML methods" (Cloud Storage), and "Roles
for service account authentication" (IAM). Conditions after "Overview of IAM Conditions" and its attribute reference:
they hold on buckets with uniform bucket-level access only. `storage.objects.list` is asked of the bucket, not of an
object, so it is narrowed by the prefix of the listing.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Final

from msgspec import Struct

from broker.setup.gcs.terms import BROKER, GcsTerms, member, project_of
from broker.storage.gcs.permissions import CREATE, DELEGATION, DELETE, GET, IMPERSONATION, LIST

PERMISSIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "writer": (CREATE,),
    "reader": (GET,),
    "janitor": (DELETE,),
    "lister": (LIST,),
}


class Role(Struct, frozen=True, kw_only=True, rename="camel"):
    """A custom role of a project, as `projects.roles.create` takes it."""

    project: str
    role_id: str
    title: str
    included_permissions: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"projects/{self.project}/roles/{self.role_id}"


class Condition(Struct, frozen=True, kw_only=True):
    title: str
    expression: str


class Binding(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One member more for a role; those that it has stay."""

    role: str
    member: str
    condition: Condition | None = None


class AccountBinding(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who may use a service account, and how."""

    service_account: str
    role: str
    member: str


def bucket_roles(terms: GcsTerms) -> tuple[Role, ...]:
    return tuple(_role(terms.project, right, permissions) for right, permissions in PERMISSIONS.items())


def bucket_bindings(terms: GcsTerms) -> tuple[Binding, ...]:
    objects = f"projects/_/buckets/{terms.bucket}/objects/{terms.prefix}/"
    on_objects = Condition(title=f"under {terms.prefix}", expression=f'resource.name.startsWith("{objects}")')
    listed = 'api.getAttribute("storage.googleapis.com/objectListPrefix", "")'
    on_lists = Condition(title=f"lists {terms.prefix}", expression=f'{listed}.startsWith("{terms.prefix}/")')
    holders = {**terms.accounts, "lister": terms.janitor}
    return tuple(
        Binding(
            role=_role(terms.project, right, PERMISSIONS[right]).name,
            member=member(account),
            condition=on_lists if right == "lister" else on_objects,
        )
        for right, account in holders.items()
    )


def impersonation_roles(terms: GcsTerms) -> tuple[Role, ...]:
    """Of the projects of the service accounts: a custom role is of one project only."""
    roles = [role for _, role in _uses(terms)] + [role for _, _, role in _links(terms)]
    return tuple(dict.fromkeys(roles))


def account_bindings(terms: GcsTerms) -> tuple[AccountBinding, ...]:
    """The chain from the broker's own identity over the delegates to each of the three, link by link."""
    last = terms.delegates[-1] if terms.delegates else BROKER
    uses = [AccountBinding(service_account=of, role=role.name, member=member(last)) for of, role in _uses(terms)]
    links = [AccountBinding(service_account=to, role=role.name, member=member(who)) for who, to, role in _links(terms)]
    return tuple(dict.fromkeys([*links, *uses]))


def _uses(terms: GcsTerms) -> Iterator[tuple[str, Role]]:
    for right, permissions in IMPERSONATION.items():
        account = terms.accounts[right]
        yield account, _role(project_of(account), "signer" if len(permissions) > 1 else "impersonator", permissions)


def _links(terms: GcsTerms) -> Iterator[tuple[str, str, Role]]:
    for who, to in pairwise([BROKER, *terms.delegates]):
        yield who, to, _role(project_of(to), "delegator", DELEGATION)


def _role(project: str, what: str, permissions: tuple[str, ...]) -> Role:
    title = f"Upload broker: {what}"
    role_id = f"uploadBroker{what.capitalize()}"
    return Role(project=project, role_id=role_id, title=title, included_permissions=permissions)
