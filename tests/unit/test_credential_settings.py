"""A credential is of one kind, and what contradicts itself is refused with the place where it stands."""

import re
from datetime import timedelta
from pathlib import Path

import pytest

from broker.domain.errors import ConfigurationInvalid
from broker.settings import CredentialSettings, Secret, Settings, load

ROLE = 'role_arn = "arn:aws:iam::111122223333:role/uploads"'
HUB = 'role_arn = "arn:aws-cn:iam::444455556666:role/path/hub"'
KEY = 'access_key_id = "AKIA", secret_access_key = {env = "S"}'


def loaded(tmp_path: Path, credential: str) -> Settings:
    (tmp_path / "broker.toml").write_text(
        f'destinations.eu = {{bucket = "acme", credentials = {{write = {{{credential}}}}}}}'
    )
    return load(tmp_path / "broker.toml", {})


def written(tmp_path: Path, credential: str) -> CredentialSettings:
    found = loaded(tmp_path, credential).destinations["eu"].credentials.write
    assert found is not None
    return found


@pytest.mark.parametrize(
    "credential",
    [
        "",
        KEY,
        f'{KEY}, session_token = {{file = "/run/t"}}',
        'env_json = "ACCOUNT"',
        'file_json = "/run/account"',
        'profile = "p"',
        ROLE,
        f'{ROLE}, external_id = "plain", role_session_name = "us@eu", sts_endpoint = "http://127.0.0.1:7480"',
        f'{ROLE}, web_identity_token_file = "/var/run/token", session_policy = "none"',
        f"{ROLE}, source = {{{KEY}}}",
        f'{ROLE}, source = {{{HUB}, source = {{{ROLE}, source = {{profile = "p"}}}}}}',
        'role_arn = "arn:aws:iam:::role/of-ceph"',
    ],
)
def test_every_kind_is_taken(tmp_path: Path, credential: str) -> None:
    written(tmp_path, credential)


def test_a_duration_is_written_as_everywhere_also_in_a_source(tmp_path: Path) -> None:
    found = written(tmp_path, f'{ROLE}, duration = "45m", source = {{{HUB}, duration = "12h"}}')

    assert found.source is not None
    assert (found.duration, found.source.duration) == (timedelta(minutes=45), timedelta(hours=12))


def test_a_session_policy_may_be_found_somewhere(tmp_path: Path) -> None:
    found = written(tmp_path, f'{ROLE}, session_policy = {{file = "/etc/policy.json"}}')

    assert found.session_policy == Secret(file="/etc/policy.json")


@pytest.mark.parametrize(
    ("credential", "says"),
    [
        (f'{KEY}, profile = "p"', "access_key_id and profile exclude each other"),
        ('env_json = "A", file_json = "/a"', "env_json and file_json exclude each other"),
        (f"{ROLE}, {KEY}", "access_key_id belongs into source"),
        (f'{ROLE}, env_json = "A"', "env_json belongs into source"),
        ('external_id = {env = "E"}', "external_id needs role_arn"),
        (f"source = {{{KEY}}}", "source needs role_arn"),
        ('session_policy = "none"', "session_policy needs role_arn"),
        ('web_identity_token_file = "/t"', "web_identity_token_file needs role_arn"),
        (f'{ROLE}, web_identity_token_file = "/t", external_id = "e"', "neither source nor external_id"),
        (f'{ROLE}, web_identity_token_file = "/t", source = {{{KEY}}}', "neither source nor external_id"),
        (f'{ROLE}, duration = "14m"', "at least 15m"),
        (f'{ROLE}, duration = "13h"', "at most 12h"),
        (f'{ROLE}, duration = "2h", source = {{{HUB}}}', "at most 1h"),
        (f'{ROLE}, source = {{{HUB}, session_policy = "minimal"}}', "could not assume a role"),
        (
            f"{ROLE}, source = {{{ROLE}, source = {{{ROLE}, source = {{{ROLE}, source = {{{KEY}}}}}}}}}",
            "at most 3 roles one after the other",
        ),
        (
            f"{ROLE}, source = {{{ROLE}, source = {{{ROLE}, source = {{{ROLE}}}}}}}",
            "at most 3 roles one after the other",
        ),
        ('role_arn = "uploads"', "matching regex"),
        (f'{ROLE}, role_session_name = "a b"', "matching regex"),
        (f'{ROLE}, sts_endpoint = "sts.example"', 'written "https://host"'),
        (f'{ROLE}, sts_endpoint = "https://user:canary@sts.example"', 'written "https://host"'),
        (f'{ROLE}, sts_endpoint = "https://sts.example\\nx"', 'written "https://host"'),
        (f'{ROLE}, session_policy = "all"', "session_policy"),
        ('secret_access_key = "canary"', "secret_access_key"),
        ('colour = "red"', "unknown field `colour`"),
    ],
)
def test_what_contradicts_itself_is_refused_with_its_place(tmp_path: Path, credential: str, says: str) -> None:
    with pytest.raises(ConfigurationInvalid) as refusal:
        loaded(tmp_path, credential)

    assert re.search(re.escape(says), refusal.value.detail), refusal.value.detail
    assert "destinations" in refusal.value.detail
    assert "canary" not in refusal.value.detail
