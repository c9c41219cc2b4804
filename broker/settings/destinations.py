"""Where objects are put, under which policy, and how the store is to keep them."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.domain.policy import MultipartTerms, Policy
from broker.settings.credentials import RightSettings


class EncryptionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By whom the store has objects encrypted: itself, or a key of KMS."""

    mode: Literal["AES256", "aws:kms", "aws:kms:dsse"]
    kms_key_id: str | None = None
    bucket_key: bool | None = None


class DestinationSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    provider: Literal["s3"] = "s3"
    dialect: Literal["aws", "ceph", "r2", "generic"] = "generic"
    # Both may come from a JSON secret among the credentials, see wiring.accounts.
    bucket: Annotated[str, Meta(pattern=r"^(.{3,63})?$(?!\n)")] = ""
    region: str = ""
    prefix: Annotated[
        str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$")
    ] = "uploads"
    endpoint: str | None = None
    public_endpoint: str | None = None
    consumer_endpoint: str | None = None
    addressing: Literal["auto", "virtual", "path"] = "auto"
    policy: Policy = Policy()
    multipart: MultipartTerms = MultipartTerms()
    credentials: RightSettings = RightSettings()
    processing: Literal["default", "none"] = "default"
    on_reject: Literal["delete", "keep"] = "delete"
    late: Literal["accept", "remove"] = "accept"
    accept_unsigned_headers: bool = False
    dual_stack: bool = False
    encryption: EncryptionSettings | None = None
    storage_class: str | None = None
    tags: dict[str, str] = {}
    acl: Literal["bucket-owner-full-control"] | None = None
    expected_bucket_owner: str | None = None
