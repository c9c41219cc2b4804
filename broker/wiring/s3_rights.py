"""Which credential each right of a destination in S3 has, and what it may at most."""

from datetime import timedelta
from typing import Final

from broker.domain.errors import ConfigurationInvalid
from broker.settings import CredentialSettings, S3Destination
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.policies import Right
from broker.storage.s3.session_policies import session_policy
from broker.wiring.accounts import account_of
from broker.wiring.credentials import Use
from broker.wiring.s3_keeping import keeping_of

RIGHTS: Final[tuple[Right, ...]] = ("write", "read", "remove")

_OF_CALLS = timedelta(minutes=5)  # what a credential that signs only calls, or reads of minutes, should live


def credential_of(name: str, place: S3Destination, right: Right) -> tuple[CredentialSettings, Use]:
    """What `Keyring.of` is to be asked for.

    :param place: with its region and bucket (`accounts.located`).
    """
    is_default, settings = _settings(place, right)
    use = Use(
        place=f"destinations.{name}.credentials.{'default' if is_default and not settings.role_arn else right}",
        region=place.region,
        wanted=max(place.policy.url_ttl, _OF_CALLS) if right == "write" else _OF_CALLS,
        policy=session_policy(
            right,
            bucket=place.bucket,
            prefix=place.prefix,
            region=place.region,
            dialect=place.dialect,
            keeping=keeping_of(name, place),
        ),
        has_sts=place.dialect == "aws",
    )
    return settings, use


def check_unsigned_headers(name: str, place: S3Destination) -> None:
    """An unsigned x-amz-copy-source makes a signed PUT read with the write credential.

    :raises ConfigurationInvalid: nobody answered for that, or the write credential evidently reads too.
    """
    dialect = DIALECTS[place.dialect]
    if not dialect.accepts_unsigned_headers:
        return
    if not place.accept_unsigned_headers:
        raise ConfigurationInvalid(
            f"destinations.{name}: dialect {place.dialect!r} may obey headers that nobody signed, so its write "
            "credential must not be able to read; once that is so, say accept_unsigned_headers = true"
        )
    (_, write), (_, read) = _settings(place, "write"), _settings(place, "read")
    if dialect.has_session_policies and write.role_arn and write.session_policy in {None, "minimal"}:
        return  # narrowed to writing, whatever else its role may
    if _whose(write) == _whose(read):
        raise ConfigurationInvalid(
            f"destinations.{name}.credentials: with accept_unsigned_headers the write credential must not be able to "
            "read: name credentials.write apart from the others"
        )


def _settings(place: S3Destination, right: Right) -> tuple[bool, CredentialSettings]:
    """Whether it is the default one, and which."""
    own: CredentialSettings | None = getattr(place.credentials, right)
    return own is None, own or place.credentials.default


def _whose(settings: CredentialSettings) -> tuple[str, str | None]:
    """What decides what a credential may, as far as the configuration tells: the role or the key itself, however it is
    come by. A session policy that somebody gave decides, too, but what it permits is not judged here."""
    if settings.role_arn is not None:
        return "role", settings.role_arn
    account = account_of(settings, "")
    if account is not None:
        return "key", account.access_key_id
    key_id = settings.access_key_id
    if key_id is not None:
        return "key", key_id if isinstance(key_id, str) else key_id.reveal()
    return "profile", settings.profile
