"""Buckets of the JSON API: read, change what `setup` and `check` touch, ask for one's permissions.

Sources, under https://cloud.google.com/storage/docs/json_api/v1/: buckets/get, buckets/patch,
buckets/testIamPermissions, projects/serviceAccount. Lifecycle rules and soft deletion are checked, kept and answered,
and never carried out: no emulator lives so long.
"""

import time
from collections.abc import Mapping
from typing import Annotated, Any, Final

import msgspec

from emulators.gcs.conditions import number
from emulators.gcs.context import Call, Reply, Store, json_reply
from emulators.gcs.errors import GcsError
from emulators.gcs.records import Bucket
from emulators.gcs.resource import PROJECT_NUMBER, bucket_resource
from emulators.gcs.settings import PERMISSIONS

MAX_RULES: Final = 100  # lifecycle: "up to 100 lifecycle rules in a bucket"
DAY_SECONDS: Final = 86_400
_ACTIONS: Final = frozenset({"Delete", "SetStorageClass", "AbortIncompleteMultipartUpload"})
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH", "*"})


class Cors(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    origin: list[str] = []
    method: list[str] = []
    response_header: list[str] = []
    max_age_seconds: int | None = None


class Action(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    type: str
    storage_class: str | None = None


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    action: Action
    condition: Annotated[dict[str, Any], msgspec.Meta(min_length=1)]


class Lifecycle(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rule: Annotated[list[Rule], msgspec.Meta(max_length=MAX_RULES)] = []


class Versioning(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = False


class SoftDelete(msgspec.Struct, frozen=True, rename="camel"):
    retention_duration_seconds: str | int = 0


class Changes(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What can be changed here; null takes it back to what a new bucket has."""

    cors: list[Cors] | msgspec.UnsetType | None = msgspec.UNSET
    lifecycle: Lifecycle | msgspec.UnsetType | None = msgspec.UNSET
    versioning: Versioning | msgspec.UnsetType | None = msgspec.UNSET
    soft_delete_policy: SoftDelete | msgspec.UnsetType | None = msgspec.UNSET
    labels: dict[str, str | None] | msgspec.UnsetType | None = msgspec.UNSET


async def get(store: Store, call: Call) -> Reply:
    bucket = call.bucket(store, "storage.buckets.get")
    _check_conditions(call.request.params, bucket)
    return _reply(call, bucket)


async def patch(store: Store, call: Call) -> Reply:
    call.bucket(store, "storage.buckets.update")
    document = await store.intake.document(call.http, call.request)
    try:
        changes = msgspec.json.decode(document, type=Changes)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise GcsError("InvalidArgument", f"Not a change of a bucket that is emulated: {exc}") from exc
    bucket = store.bucket(call.request.target.bucket)
    _check_conditions(call.request.params, bucket)
    changed = msgspec.structs.replace(
        bucket, **_changed(bucket, changes), metageneration=bucket.metageneration + 1, updated=time.time()
    )
    store.catalogue.put_bucket(changed)
    return _reply(call, changed, is_write=True)


def _reply(call: Call, bucket: Bucket, *, is_write: bool = False) -> Reply:
    return json_reply(msgspec.json.encode(bucket_resource(call.endpoint, bucket)), is_write=is_write)


def _check_conditions(params: Mapping[str, str], bucket: Bucket) -> None:
    wanted = params.get("ifMetagenerationMatch")
    if wanted is not None and number(wanted, "ifMetagenerationMatch") != bucket.metageneration:
        raise GcsError("PreconditionFailed")


def _changed(bucket: Bucket, changes: Changes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if changes.cors is not msgspec.UNSET:
        found["cors"] = tuple(_cors(each) for each in changes.cors or [])
    if changes.lifecycle is not msgspec.UNSET:
        found["lifecycle"] = tuple(_rule(each) for each in (changes.lifecycle or Lifecycle()).rule)
    if changes.versioning is not msgspec.UNSET:
        found["is_versioned"] = (changes.versioning or Versioning()).enabled
    if changes.soft_delete_policy is not msgspec.UNSET:
        found["soft_delete_seconds"] = _seconds(changes.soft_delete_policy or SoftDelete())
    if changes.labels is not msgspec.UNSET:
        merged = {**bucket.labels, **changes.labels} if changes.labels is not None else {}
        found["labels"] = {name: value for name, value in merged.items() if value is not None}
    return found


def _cors(rule: Cors) -> Mapping[str, Any]:
    if unknown := set(rule.method) - _METHODS:
        raise GcsError("InvalidArgument", f"Invalid CORS method: {min(unknown)}")
    plain: Mapping[str, Any] = msgspec.to_builtins(rule)
    return plain


def _rule(rule: Rule) -> Mapping[str, Any]:
    if rule.action.type not in _ACTIONS:
        raise GcsError("InvalidArgument", f"Invalid action: {rule.action.type}")
    plain: Mapping[str, Any] = msgspec.to_builtins(rule)
    return plain


def _seconds(policy: SoftDelete) -> int:
    """soft-delete: none, or 7 to 90 days."""
    seconds = number(str(policy.retention_duration_seconds), "retentionDurationSeconds")
    if seconds != 0 and not 7 * DAY_SECONDS <= seconds <= 90 * DAY_SECONDS:
        raise GcsError("InvalidArgument", "Soft delete retention must be 0, or 7 to 90 days.")
    return seconds


async def test_permissions(store: Store, call: Call) -> Reply:
    """Those of the asked ones that the caller has; it takes none to ask."""
    bucket, asked = store.bucket(call.request.target.bucket), call.request.all_params("permissions")
    if call.caller is None:
        raise GcsError("AuthenticationRequired")
    if unknown := [each for each in asked if not each.startswith("storage.")]:
        raise GcsError("InvalidArgument", f"Invalid permission: {unknown[0]}")
    held = [each for each in asked if each in PERMISSIONS and store.grants.allows(call.caller, bucket.name, each)]
    answer: dict[str, Any] = {"kind": "storage#testIamPermissionsResponse"}
    return json_reply(msgspec.json.encode(answer | ({"permissions": held} if held else {})))


async def service_account(_: Store, call: Call) -> Reply:
    """Who publishes: the agent that must be let into a topic."""
    if call.caller is None:
        raise GcsError("AuthenticationRequired")
    email = f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
    return json_reply(msgspec.json.encode({"kind": "storage#serviceAccount", "email_address": email}))
