"""The JSON secret of an account says who signs and where; nothing of it is ever repeated."""

import json
import re
from pathlib import Path

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.operate_setup import print_setup
from broker.settings import CredentialSettings, RightSettings, S3Destination, Settings, load
from broker.wiring.accounts import account_of, located

SECRET = {
    "access_key_id": "AKIACANARY",
    "secret_access_key": "canary-secret",
    "region_name": "eu-canary-1",
    "s3_bucket_name": "canary-bucket",
}


@pytest.fixture(autouse=True)
def account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT_EU", json.dumps(SECRET))


def destination(**more: object) -> S3Destination:
    return S3Destination(
        credentials=RightSettings(default=CredentialSettings(env_json="ACCOUNT_EU")),
        **more,  # type: ignore[arg-type]
    )


def test_region_and_bucket_come_from_the_secret() -> None:
    place = located("eu", destination())

    assert (place.region, place.bucket) == ("eu-canary-1", "canary-bucket")


def test_the_key_comes_from_the_secret_in_the_environment_or_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(json.dumps({**SECRET, "note": "for the other program", "port": 1}))
    by_file = CredentialSettings(file_json=str(tmp_path / "secret"))

    for settings in (CredentialSettings(env_json="ACCOUNT_EU"), by_file):
        found = account_of(settings, "x")
        assert found is not None
        assert (found.credential.access_key, found.credential.secret_key) == ("AKIACANARY", "canary-secret")
        assert "canary" not in repr(found).lower()


def test_a_destination_that_says_the_same_is_no_conflict() -> None:
    assert located("eu", destination(region="eu-canary-1", bucket="canary-bucket")).bucket == "canary-bucket"


@pytest.mark.parametrize(("field", "value"), [("region", "us-east-1"), ("bucket", "acme-uploads")])
def test_a_destination_that_says_something_else_is_refused_and_the_secret_not_repeated(field: str, value: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refusal:
        located("eu", destination(**{field: value}))

    assert re.match(rf"destinations\.eu: its {field} is not the .* in ACCOUNT_EU", refusal.value.detail)
    assert "canary" not in refusal.value.detail.lower()


def test_two_secrets_that_name_two_buckets_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT_OTHER", json.dumps({**SECRET, "s3_bucket_name": "another-canary"}))
    rights = RightSettings(
        default=CredentialSettings(env_json="ACCOUNT_EU"), write=CredentialSettings(env_json="ACCOUNT_OTHER")
    )

    with pytest.raises(ConfigurationInvalid, match=r"bucket is not the s3_bucket_name in ACCOUNT_OTHER") as refusal:
        located("eu", S3Destination(credentials=rights))

    assert "canary" not in refusal.value.detail.lower()


@pytest.mark.parametrize(
    "text",
    [
        "canary-no-json",
        '"canary"',
        '{"access_key_id": "AKIACANARY"}',
        '{"access_key_id": "AKIACANARY", "secret_access_key": ["canary"]}',
        '{"access_key_id": "", "secret_access_key": "canary"}',
        '{"access_key_id": "AKIACANARY", "secret_access_key": "canary\udc80"}',
    ],
)
def test_a_secret_that_is_none_is_refused_and_not_repeated(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT_EU", text)

    with pytest.raises(ConfigurationInvalid, match=r"destinations\.eu\.credentials\.default.*ACCOUNT_EU") as refusal:
        located("eu", destination())

    assert "canary" not in refusal.value.detail.lower()
    assert refusal.value.__cause__ is None


@pytest.mark.parametrize("bucket", ["", "ab", "x" * 64])
def test_a_bucket_that_can_be_none_is_refused(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT_EU", json.dumps({**SECRET, "s3_bucket_name": bucket}))

    with pytest.raises(ConfigurationInvalid, match=r"destinations\.eu: .*bucket"):
        located("eu", destination())


def test_without_anybody_who_says_it_the_region_is_the_usual_one() -> None:
    assert located("eu", S3Destination(bucket="acme-uploads")).region == "us-east-1"


def test_without_a_secret_the_bucket_must_be_named(tmp_path: Path) -> None:
    (tmp_path / "broker.toml").write_text("[destinations.eu]\nregion = 'eu-central-1'\n")

    with pytest.raises(ConfigurationInvalid, match=r"destinations\.eu: bucket is missing"):
        load(tmp_path / "broker.toml", {})


def test_policies_are_printed_for_the_bucket_of_the_secret() -> None:
    printed = print_setup(Settings(destinations={"eu": destination()}), "eu", form="json", given={})

    assert "arn:aws:s3:::canary-bucket/uploads/*" in printed
