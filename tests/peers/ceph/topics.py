"""Topics of Ceph that push to the broker's door, and the notifications of buckets that feed them.

docs.ceph.com, "Bucket Notifications" and "S3 Bucket Notifications Compatibility": topics are made by an SNS API of
radosgw itself; all that can prove the sender is what stands in the push endpoint's query.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import boto3

from broker.storage.s3.sigv4 import Credential
from tests.contracts.storage.s3.stores import S3Store
from tests.contracts.storage.s3.witness import S3Witness

CREATED = ("s3:ObjectCreated:*",)
ALL = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """A persistent one is pushed from a queue, after the answer to the PUT and until it is taken; else before, once."""

    name: str
    url: str
    is_persistent: bool = False
    events: Sequence[str] = CREATED


def subscribe(store: S3Store, bucket: str, *topics: Topic, owner: Credential | None = None) -> None:
    """:param owner: of the bucket; by default the store's."""
    keys = owner or store.credential
    client = boto3.client(
        "sns",
        endpoint_url=store.url,
        region_name=store.region,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
    )
    rules = []
    for topic in topics:
        attributes = {"push-endpoint": topic.url} | ({"persistent": "true"} if topic.is_persistent else {})
        arn = client.create_topic(Name=topic.name, Attributes=attributes)["TopicArn"]
        rules.append({"Id": topic.name, "TopicArn": arn, "Events": list(topic.events)})
    client.close()
    witness = S3Witness.of(store.url, store.region, keys)
    witness.client.put_bucket_notification_configuration(
        Bucket=bucket, NotificationConfiguration={"TopicConfigurations": rules}
    )
    witness.close()
