"""How a destination in S3 wants its objects kept, held to what its store is known to do.

Refused here, when the process starts: what the dialect's store does not know, or would take and not do.
"""

from broker.domain.errors import ConfigurationInvalid
from broker.settings import S3Destination
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.keeping import ARCHIVES, Feature, Keeping

_SETTINGS: dict[Feature, str] = {
    "sse-s3": "encryption.mode = AES256",
    "sse-kms": "encryption.mode = aws:kms",
    "sse-kms-extras": "aws:kms:dsse, encryption.bucket_key, and aws:kms without a kms_key_id",
    "storage_class": "storage_class",
    "tags": "tags",
    "acl": "acl",
    "owner": "expected_bucket_owner",
}


def keeping_of(name: str, place: S3Destination) -> Keeping:
    """:raises ConfigurationInvalid: one sentence, naming the setting."""
    encryption = place.encryption
    try:
        keeping = Keeping(
            encryption=encryption.mode if encryption else None,
            kms_key_id=encryption.kms_key_id if encryption else None,
            has_bucket_key=encryption.bucket_key if encryption else None,
            storage_class=place.storage_class,
            tags=place.tags,
            acl=place.acl,
            bucket_owner=place.expected_bucket_owner,
        )
    except ValueError as exc:
        raise ConfigurationInvalid(f"destinations.{name}.{exc}") from exc
    unknown = keeping.features - DIALECTS[place.dialect].keeps
    if unknown:
        said = ", ".join(_SETTINGS[each] for each in sorted(unknown))
        raise ConfigurationInvalid(
            f"destinations.{name}: a store of dialect {place.dialect!r} is not known to do what is asked by: {said}; "
            "what the bucket does by itself needs no setting"
        )
    if place.storage_class in ARCHIVES and place.processing != "none":
        raise ConfigurationInvalid(
            f"destinations.{name}.storage_class: nobody can read {place.storage_class} without restoring it first, so "
            'only with processing = "none"'
        )
    return keeping


def check_dual_stack(name: str, place: S3Destination) -> None:
    """:raises ConfigurationInvalid: there is nothing that it could mean."""
    if place.dual_stack and (place.dialect != "aws" or place.endpoint is not None):
        raise ConfigurationInvalid(
            f"destinations.{name}.dual_stack: chooses among the hosts of AWS; with an endpoint, name the one you want"
        )
