"""With what the URIs of uploads are sealed that stores hold open. That it is missing is said at the start."""

from broker.domain.errors import ConfigurationInvalid
from broker.domain.uris import UriSealer
from broker.ports import Buckets
from broker.settings.secrets import SecretSettings


def uri_sealer_of(secrets: SecretSettings, buckets: Buckets) -> UriSealer:
    """:raises ConfigurationInvalid: a destination opens such uploads, and there is no key; or a key is not there."""
    keys = tuple(secret.reveal_key() for secret in secrets.encryption_keys)
    names = [name for name, bucket in buckets.items() if bucket.resumable is not None]
    if names and not keys:
        raise ConfigurationInvalid(
            f"secrets.encryption_keys: destination {names[0]!r} opens resumable uploads, whose URIs are secrets that "
            "the ledger keeps encrypted: at least one key is needed (`openssl rand -base64 48`)"
        )
    return UriSealer(keys)
