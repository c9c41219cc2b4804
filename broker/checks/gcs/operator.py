"""Reads the bucket's own settings with an operator's credential, by google-cloud-storage: ours may not."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from broker.domain.errors import StoreRefused


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One notification of the bucket. No event types means all."""

    topic: str
    prefix: str
    event_types: frozenset[str]
    payload_format: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """`lifecycle` as the Bucket resource of the JSON API has it."""

    has_uniform_access: bool
    public_access_prevention: str
    has_versions: bool
    soft_delete_seconds: int
    lifecycle: list[dict[str, Any]]
    notices: list[Notice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """`look` blocks."""

    look: Callable[[str], Looked]

    async def bucket(self, name: str) -> Looked:
        """:raises StoreRefused: with the store's own words."""
        return await asyncio.to_thread(self.look, name)


def looker(client: Any) -> Callable[[str], Looked]:
    """:param client: a `google.cloud.storage.Client`."""
    from google.api_core.exceptions import GoogleAPICallError  # noqa: PLC0415 - of the extra `gcs`
    from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
    from requests import RequestException  # noqa: PLC0415

    def look(name: str) -> Looked:
        try:
            bucket = client.get_bucket(name)
            notices = [
                Notice(
                    topic=f"projects/{each.topic_project}/topics/{each.topic_name}",
                    prefix=each.blob_name_prefix or "",
                    event_types=frozenset(each.event_types or ()),
                    payload_format=each.payload_format or "",
                )
                for each in bucket.list_notifications()
            ]
        except (GoogleAPICallError, GoogleAuthError, RequestException) as exc:
            raise StoreRefused(f"the operator's credential: {exc}") from exc
        access = bucket.iam_configuration
        return Looked(
            has_uniform_access=bool(access.uniform_bucket_level_access_enabled),
            public_access_prevention=access.public_access_prevention or "inherited",
            has_versions=bool(bucket.versioning_enabled),
            soft_delete_seconds=int(bucket.soft_delete_policy.retention_duration_seconds or 0),
            lifecycle=[dict(each) for each in bucket.lifecycle_rules],
            notices=notices,
        )

    return look
