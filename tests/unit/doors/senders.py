"""Bodies as each sender writes them, and a way to open a door without an event loop."""

import json
from collections.abc import Coroutine
from typing import Any
from urllib.parse import quote_plus

from broker.ports import Door, Envelope, Opened


def open_at_once(door: Door, envelope: Envelope) -> Opened:
    """What a door says that needs to wait for nobody."""
    opening: Coroutine[Any, Any, Opened] = door.open(envelope)
    try:
        opening.send(None)
    except StopIteration as done:
        answer: Opened = done.value
        return answer
    opening.close()
    raise AssertionError("the door waited")


def aws(key: str, *, name: str = "ObjectCreated:Put", bucket: str = "acme") -> dict[str, object]:
    """Amazon S3 User Guide, "Event message structure"."""
    return {
        "eventVersion": "2.2",
        "eventSource": "aws:s3",
        "awsRegion": "us-west-2",
        "eventTime": "1970-01-01T00:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "AIDAJDPLRKLG7UEXAMPLE"},
        "requestParameters": {"sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810", "x-amz-id-2": "FMyUVURIY8/IgAtTv8xRjskZQpcIZ9KG"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "testConfigRule",
            "bucket": {
                "name": bucket,
                "ownerIdentity": {"principalId": "A3NL1KOZZKExample"},
                "arn": f"arn:aws:s3:::{bucket}",
            },
            "object": {
                "key": key,
                "size": 1024,
                "eTag": "d41d8cd98f00b204e9800998ecf8427e",
                "versionId": "096fKKXTRTtl3on89fVO.nfljtsv6qko",
                "sequencer": "0055AED6DCD90281E5",
            },
        },
        "glacierEventData": {"restoreEventData": {"lifecycleRestorationExpiryTime": "1970-01-01T00:00:00.000Z"}},
    }


def minio(key: str, *, name: str = "s3:ObjectCreated:Put") -> dict[str, object]:
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": "2026-11-20T12:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "minioadmin"},
        "requestParameters": {"principalId": "minioadmin", "region": "", "sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "17", "x-minio-origin-endpoint": "http://127.0.0.1:9000"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": "acme", "ownerIdentity": {"principalId": "minioadmin"}, "arn": "arn:aws:s3:::acme"},
            "object": {"key": quote_plus(key, safe=""), "size": 3, "eTag": "e", "contentType": "text/csv"},
        },
        "source": {"host": "127.0.0.1", "port": "", "userAgent": "MinIO (linux; amd64)"},
    }


def ceph(key: str, *, name: str = "ObjectCreated:Put") -> dict[str, object]:
    return {
        "eventVersion": "2.2",
        "eventSource": "ceph:s3",
        "awsRegion": "",
        "eventTime": "2026-11-20T12:00:00.000Z",
        "eventName": name,
        "userIdentity": {"principalId": "tester"},
        "requestParameters": {"sourceIPAddress": ""},
        "responseElements": {"x-amz-request-id": "c", "x-amz-id-2": "d"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "notify",
            "bucket": {
                "name": "acme",
                "ownerIdentity": {"principalId": "tester"},
                "arn": "arn:aws:s3::acme",
                "id": "1",
            },
            "object": {
                "key": key,
                "size": 3,
                "etag": "e",
                "versionId": "",
                "sequencer": "1",
                "metadata": [],
                "tags": [],
            },
        },
        "eventId": "1.2.3",
        "opaqueData": "",
    }


def records(*each: object, **more: object) -> bytes:
    return json.dumps({"Records": each, **more}).encode()


def published(message: str, **changes: object) -> dict[str, object]:
    """Amazon SNS Developer Guide, "HTTP/HTTPS notification JSON format"; a queue gets the same."""
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-west-2:123456789012:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": message,
        "Timestamp": "2012-05-02T00:54:06.655Z",
        "SignatureVersion": "1",
        "Signature": "EXAMPLEw6JRN",
        "SigningCertURL": "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem",
        "UnsubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=Unsubscribe",
    } | changes


def bridged(key: str, *, name: str = "Object Created", bucket: str = "acme", source: str = "aws.s3") -> dict[str, Any]:
    """Amazon S3 User Guide, "EventBridge event message structure"."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": name,
        "source": source,
        "account": "111122223333",
        "time": "2021-11-12T00:00:00Z",
        "region": "ca-central-1",
        "resources": [f"arn:aws:s3:::{bucket}"],
        "detail": {
            "version": "0",
            "bucket": {"name": bucket},
            "object": {
                "key": key,
                "size": 5,
                "etag": "b1946ac92492d2347c6235b4d2611184",
                "version-id": "IYV3p45BT0ac8hjHg1houSdS1a.Mro8e",
                "sequencer": "617f08299329d189",
            },
            "request-id": "N4N7GDK58NMKJ12R",
            "requester": "123456789012",
            "source-ip-address": "1.2.3.4",
            "reason": "PutObject",
        },
    }
