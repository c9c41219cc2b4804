"""The JSON secret of an account: one text that says who signs, and where the bucket is.

    {"access_key_id": "…", "secret_access_key": "…", "region_name": "…", "s3_bucket_name": "…"}

One secret for each account is how many teams hand them out. A destination takes region and bucket from it where it
names none of its own. Other keys may stand beside these four, since other programs read the same secret. No error ever
repeats what is in it.
"""

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from broker.domain.errors import ConfigurationInvalid
from broker.settings import CredentialSettings, RightSettings, S3Destination, Secret
from broker.storage.s3.sigv4 import Credential

USUAL_REGION = "us-east-1"


class Account(Struct, frozen=True, kw_only=True):
    access_key_id: str
    secret_access_key: str
    session_token: str | None = None
    region_name: str = ""
    s3_bucket_name: str = ""

    def __repr__(self) -> str:
        return "Account(***)"

    @property
    def credential(self) -> Credential:
        return Credential(
            access_key=self.access_key_id, secret_key=self.secret_access_key, session_token=self.session_token
        )


def account_of(settings: CredentialSettings, place: str) -> Account | None:
    """:raises ConfigurationInvalid: the secret is not there, or is not such a text."""
    if settings.env_json is None and settings.file_json is None:
        return None
    text = Secret(env=settings.env_json, file=settings.file_json).reveal()
    try:
        account = msgspec.json.decode(text.encode(), type=Account)
    except (msgspec.MsgspecError, UnicodeEncodeError):
        account = None
    if account is None or not (account.access_key_id and account.secret_access_key):
        raise ConfigurationInvalid(
            f"{place}: what {_name(settings)} holds is no JSON object with the texts access_key_id and "
            "secret_access_key, and region_name and s3_bucket_name where the destination has none"
        ) from None
    return account


def located(name: str, place: S3Destination) -> S3Destination:
    """The destination with its region and bucket, wherever they are said.

    :raises ConfigurationInvalid: nowhere, or differently at two places.
    """
    region, bucket = place.region, place.bucket
    for right, settings in _named(place.credentials):
        account = account_of(settings, f"destinations.{name}.credentials.{right}")
        if account is not None:
            secret = _name(settings)
            region = _agreed(name, "region", region, account.region_name, f"region_name in {secret}")
            bucket = _agreed(name, "bucket", bucket, account.s3_bucket_name, f"s3_bucket_name in {secret}")
    if not bucket:
        raise ConfigurationInvalid(f"destinations.{name}: neither it nor its JSON secret names a bucket")
    if not 3 <= len(bucket) <= 63:
        raise ConfigurationInvalid(f"destinations.{name}: its JSON secret names a bucket that can be none")
    return msgspec.structs.replace(place, region=region or USUAL_REGION, bucket=bucket)


def _named(rights: RightSettings) -> Iterator[tuple[str, CredentialSettings]]:
    for right in ("default", "write", "read", "remove"):
        settings: CredentialSettings | None = getattr(rights, right)
        if settings is not None:
            yield right, settings


def _agreed(name: str, what: str, known: str, told: str, where: str) -> str:
    if known and told and known != told:
        # Neither value: one of them is a secret's content.
        raise ConfigurationInvalid(f"destinations.{name}: its {what} is not the {where}; name it at one place")
    return known or told


def _name(settings: CredentialSettings) -> str:
    return settings.env_json or str(settings.file_json)
