"""With what a store, or a queue, lets us do a thing: a credential of one kind, or a role that one assumes."""

import re
from datetime import timedelta
from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.settings.secrets import Secret

MAX_ROLE_CHAIN = 3  # ours: hub, account, right
_OF_ROLES = ("external_id", "role_session_name", "session_policy", "sts_endpoint", "web_identity_token_file", "source")
_KEY_KINDS = {
    "access_key_id": ("access_key_id", "secret_access_key", "session_token"),
    "env_json": ("env_json",),
    "file_json": ("file_json",),
    "profile": ("profile",),
}

RoleArn = Annotated[str, Meta(pattern=r"^arn:[a-z-]+:iam::[^:\s]*:role/[\x21-\x7e]+$(?!\n)", max_length=2_048)]


class CredentialSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One right's credential. One of

    - `access_key_id` and `secret_access_key`;
    - `env_json` or `file_json`: a secret that holds them in JSON, with `region_name` and `s3_bucket_name`;
    - `profile` of the AWS configuration;
    - `role_arn`, assumed by `source` – again one of these –, or by the token in `web_identity_token_file`;
    - nothing: botocore's default chain.

    `session_policy`: what the role's session may at most. "minimal" is one right on one prefix, the default of a
    destination's own credentials; "none" leaves it what the role may; else where a JSON document is found.
    """

    access_key_id: str | Secret | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    env_json: str | None = None
    file_json: str | None = None
    profile: str | None = None
    role_arn: RoleArn | None = None
    external_id: str | Secret | None = None
    role_session_name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+=,.@-]{2,64}$(?!\n)")] | None = None
    duration: timedelta = timedelta(hours=1)
    session_policy: Literal["minimal", "none"] | Secret | None = None
    sts_endpoint: str | None = None
    web_identity_token_file: str | None = None
    source: "CredentialSettings | None" = None

    def __post_init__(self) -> None:
        """What contradicts itself is refused with the place where it stands."""
        _check_credential(self)


def _check_credential(settings: CredentialSettings) -> None:
    """:raises ValueError: one sentence; msgspec adds the place."""
    given = {name for name in _KEY_KINDS if any(getattr(settings, field) is not None for field in _KEY_KINDS[name])}
    if len(given) > 1:
        raise ValueError(f"{' and '.join(sorted(given))} exclude each other: a credential is of one kind")
    if settings.role_arn is None:
        _check_no_role(settings)
        return
    if given:
        raise ValueError(f"{given.pop()} belongs into source = {{…}}, which assumes role_arn")
    if settings.web_identity_token_file is not None and (settings.source or settings.external_id):
        raise ValueError("a role of a web identity has neither source nor external_id")
    if not timedelta(minutes=15) <= settings.duration <= timedelta(hours=12):
        raise ValueError("duration: at least 15m and at most 12h")
    if settings.sts_endpoint is not None and not re.fullmatch(r"https?://[^/?#@\s]+/?", settings.sts_endpoint):
        raise ValueError('sts_endpoint is written "https://host", with a port where needed')
    if settings.source is not None:
        _check_source(settings, settings.source)


def _check_no_role(settings: CredentialSettings) -> None:
    alone = [name for name in _OF_ROLES if getattr(settings, name) is not None]
    if alone:
        raise ValueError(f"{alone[0]} needs role_arn")


def _check_source(settings: CredentialSettings, source: CredentialSettings) -> None:
    if source.session_policy == "minimal":
        raise ValueError("source: a session policy for one right on one prefix could not assume a role")
    # IAM User Guide, "Role chaining": at most one hour.
    if source.role_arn is not None and settings.duration > timedelta(hours=1):
        raise ValueError("duration: a role that another role assumes lives for at most 1h")
    roles, each = 1, settings.source
    while each is not None and each.role_arn is not None:
        roles, each = roles + 1, each.source
    if roles > MAX_ROLE_CHAIN:
        raise ValueError(f"source: at most {MAX_ROLE_CHAIN} roles one after the other")


class RightSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A credential a right; `default` serves those that are not named."""

    default: CredentialSettings = CredentialSettings()
    write: CredentialSettings | None = None
    read: CredentialSettings | None = None
    remove: CredentialSettings | None = None
