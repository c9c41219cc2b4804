"""What a browser asks before it sends, and what it needs to be allowed to read."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.process import S3Process, start_s3
from tests.emulators.conftest import Client, client_of
from tests.emulators.signing import Signer
from tests.emulators.wire import Answer, exchange

ORIGIN = "https://app.example"
RULE: dict[str, Any] = {
    "AllowedOrigins": ["https://*.example"],
    "AllowedMethods": ["PUT"],
    "AllowedHeaders": ["content-type", "x-amz-meta-*"],
    "ExposeHeaders": ["ETag"],
    "MaxAgeSeconds": 60,
}


def preflight(s3: S3Process, bucket: str, origin: str = ORIGIN, method: str = "PUT", headers: str = "") -> Answer:
    asked = {"origin": origin, "access-control-request-method": method}
    return exchange(
        s3.endpoint,
        "OPTIONS",
        f"/{bucket}/key",
        asked | ({"access-control-request-headers": headers} if headers else {}),
    )


@pytest.fixture
def ruled(client: Client) -> Iterator[str]:
    client.put_bucket_cors(Bucket="private", CORSConfiguration={"CORSRules": [RULE]})
    yield "private"
    client.delete_bucket_cors(Bucket="private")


def test_preflight_follows_the_rules_of_the_bucket(s3: S3Process, client: Client, ruled: str) -> None:
    assert client.get_bucket_cors(Bucket=ruled)["CORSRules"] == [RULE]
    allowed = preflight(s3, ruled, headers="Content-Type, x-amz-meta-a")
    assert allowed.status == 200
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert allowed.headers["access-control-allow-headers"] == "content-type, x-amz-meta-a"
    assert allowed.headers["access-control-max-age"] == "60"
    for refused in (
        preflight(s3, ruled, origin="https://evil.test"),
        preflight(s3, ruled, method="DELETE"),
        preflight(s3, ruled, headers="x-other"),
        preflight(s3, "uploads"),
    ):
        assert (refused.status, refused.code) == (403, "AccessForbidden")
        assert "access-control-allow-origin" not in refused.headers


def test_page_may_read_answers_and_refusals(s3: S3Process, signer: Signer, ruled: str, key: str) -> None:
    target = signer.presign("PUT", f"/{ruled}/{key}", headers={"if-none-match": "*"})
    headers = {"origin": ORIGIN, "if-none-match": "*"}
    for status in (200, 412):
        answer = exchange(s3.endpoint, "PUT", target, headers, b"x")
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == ORIGIN
        assert answer.headers["access-control-expose-headers"] == "ETag"
    other = exchange(s3.endpoint, "PUT", target, headers | {"origin": "https://evil.test"}, b"x")
    assert "access-control-allow-origin" not in other.headers


def test_origin_of_the_command_line_may_do_everything() -> None:
    with start_s3(arguments=[f"--cors-origin={ORIGIN}"]) as s3:
        assert preflight(s3, "uploads", headers="x-any, content-type").status == 200
        assert preflight(s3, "uploads", origin="https://evil.test").status == 403
        client = client_of(s3)
        client.put_bucket_cors(Bucket="uploads", CORSConfiguration={"CORSRules": [RULE]})
        client.close()
        assert preflight(s3, "uploads", headers="x-any").status == 403
