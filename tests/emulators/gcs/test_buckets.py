"""What `setup` and `check` do to a bucket: CORS, lifecycle, versions, notifications, permissions."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from google.api_core.exceptions import BadRequest
from google.cloud import storage

from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess
from tests.emulators.gcs.conftest import (
    ADMIN,
    EVERYTHING,
    READER,
    Api,
    Tokens,
    api_of,
    client_of,
    reason,
)
from tests.emulators.gcs.signing import Signer
from tests.emulators.wire import Answer, exchange

PAGE, OTHER = "https://app.example.com", "https://evil.example.com"
RULE = {
    "origin": [PAGE],
    "method": ["PUT", "GET"],
    "responseHeader": ["Content-Type", "x-goog-meta-*"],
    "maxAgeSeconds": 60,
}


def test_google_cloud_storage_sets_a_bucket_up(client_as: Callable[..., storage.Client]) -> None:
    bucket = client_as(ADMIN).get_bucket("versions")
    bucket.cors = [RULE]
    bucket.add_lifecycle_delete_rule(age=7, matches_prefix=["uploads/"])
    bucket.soft_delete_policy.retention_duration_seconds = 0
    bucket.labels = {"owner": "team"}
    bucket.patch(if_metageneration_match=bucket.metageneration)
    fresh = client_as(ADMIN).get_bucket("versions")
    assert (fresh.cors, fresh.labels, fresh.versioning_enabled) == ([RULE], {"owner": "team"}, True)
    assert [dict(each)["action"] for each in fresh.lifecycle_rules] == [{"type": "Delete"}]
    assert fresh.soft_delete_policy.retention_duration_seconds == 0
    fresh.cors = []
    fresh.clear_lifecycle_rules()
    fresh.patch()
    assert (fresh.cors, list(fresh.lifecycle_rules)) == ([], [])


def test_google_cloud_storage_configures_notifications(client_as: Callable[..., storage.Client]) -> None:
    bucket = client_as(ADMIN).bucket("versions")
    wanted = bucket.notification(
        topic_name="uploads",
        topic_project="project-1",
        event_types=["OBJECT_FINALIZE"],
        payload_format="JSON_API_V1",
        custom_attributes={"a": "1"},
        blob_name_prefix="uploads/",
    )
    wanted.create()
    (seen,) = bucket.list_notifications()
    assert (seen.topic_name, seen.event_types, seen.blob_name_prefix) == ("uploads", ["OBJECT_FINALIZE"], "uploads/")
    assert bucket.get_notification(seen.notification_id).custom_attributes == {"a": "1"}
    seen.delete()
    assert list(bucket.list_notifications()) == []
    unknown = bucket.notification(topic_name="uploads", topic_project="project-1", event_types=["OBJECT_SUNG"])
    with pytest.raises(BadRequest):
        unknown.create()
    assert "@gs-project-accounts.iam.gserviceaccount.com" in client_as(ADMIN).get_service_account_email()


def test_account_learns_what_it_may(client_as: Callable[..., storage.Client]) -> None:
    asked = ["storage.objects.create", "storage.objects.get", "storage.buckets.setIamPolicy"]
    assert client_as(ADMIN).bucket("uploads").test_iam_permissions(asked) == asked[:2]
    assert client_as(READER).bucket("uploads").test_iam_permissions(asked) == ["storage.objects.get"]


@pytest.mark.parametrize(
    "change",
    [
        b"{",
        {"acl": []},
        {"cors": [{"origin": ["*"], "methods": ["PUT"]}]},
        {"cors": [{"origin": ["*"], "method": ["SING"]}]},
        {"lifecycle": {"rule": [{"action": {"type": "Sing"}, "condition": {"age": 1}}]}},
        {"lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {}}]}},
        {"softDeletePolicy": {"retentionDurationSeconds": "60"}},
        {"versioning": {"enabled": "yes"}},
    ],
)
def test_change_that_is_none_is_refused(api: Api, change: dict[str, object] | bytes) -> None:
    before = json.loads(api("GET", "/storage/v1/b/versions").body)
    assert reason(api("PATCH", "/storage/v1/b/versions", ADMIN, change)) == (400, "invalid")
    assert json.loads(api("GET", "/storage/v1/b/versions").body) == before


def test_change_of_a_bucket_that_changed_meanwhile_is_refused(api: Api) -> None:
    stale = api("PATCH", "/storage/v1/b/versions?ifMetagenerationMatch=0", ADMIN, {"labels": {}})
    assert reason(stale) == (412, "conditionNotMet")


def preflight(gcs: GcsProcess, origin: str, method: str, headers: str = "", path: str = "/versions/k") -> Answer:
    asked = {"origin": origin, "access-control-request-method": method, "access-control-request-headers": headers}
    return exchange(gcs.endpoint, "OPTIONS", path, asked)


def test_pages_are_let_in_as_the_bucket_says(api: Api, gcs: GcsProcess, signer: Signer) -> None:
    """What it lets a page send stands in `responseHeader`, too."""
    assert api("PATCH", "/storage/v1/b/versions", ADMIN, {"cors": [RULE]}).status == 200
    let_in = preflight(gcs, PAGE, "PUT", "content-type, x-goog-meta-upload-session")
    assert let_in.headers["access-control-allow-origin"] == PAGE
    assert let_in.headers["access-control-max-age"] == "60"
    for answer in (
        preflight(gcs, OTHER, "PUT"),
        preflight(gcs, PAGE, "DELETE"),
        preflight(gcs, PAGE, "PUT", "content-type, x-goog-hash"),
        preflight(gcs, PAGE, "PUT", path="/uploads/k"),
        preflight(gcs, PAGE, "PUT", path="/nowhere/k"),
    ):
        assert (answer.status, "access-control-allow-origin" in answer.headers) == (200, False)
    refused = exchange(gcs.endpoint, "PUT", signer.sign("PUT", "/versions/k"), {"origin": PAGE}, b"x")
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (403, PAGE)
    assert api("PATCH", "/storage/v1/b/versions", ADMIN, {"cors": None}).status == 200
    assert "access-control-allow-origin" not in preflight(gcs, PAGE, "PUT").headers


def test_json_api_lets_every_page_ask(gcs: GcsProcess) -> None:
    answer = preflight(gcs, OTHER, "GET", "authorization", path="/storage/v1/b/uploads/o")
    assert answer.headers["access-control-allow-origin"] == OTHER


def test_origin_of_the_command_line_may_use_every_bucket(iam: GoogleIamProcess, tmp_path: Path) -> None:
    with start_gcs(iam=iam.endpoint, data=tmp_path, arguments=[f"--origin={PAGE}"]) as gcs:
        assert preflight(gcs, PAGE, "PUT", "x-goog-hash", "/uploads/k").headers["access-control-allow-origin"] == PAGE
        assert "access-control-allow-origin" not in preflight(gcs, OTHER, "PUT", path="/uploads/k").headers


def test_bucket_remembers_over_a_restart(iam: GoogleIamProcess, token: Tokens, tmp_path: Path) -> None:
    grants = [f"uploads:{ADMIN}={EVERYTHING}"]
    with start_gcs(iam=iam.endpoint, data=tmp_path, grants=grants) as gcs:
        client = client_of(iam, gcs, ADMIN)
        bucket = client.get_bucket("uploads")
        bucket.cors = [RULE]
        bucket.patch()
        client.close()
    with start_gcs(iam=iam.endpoint, data=tmp_path, grants=grants) as gcs:
        assert json.loads(api_of(gcs, token)("GET", "/storage/v1/b/uploads").body)["cors"] == [RULE]
