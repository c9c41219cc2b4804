"""Where objects are put, under which policy, and how the store is to keep them: one kind a `provider`."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from broker.domain.policy import MultipartTerms, Policy, ResumableTerms
from broker.settings.credentials import RightSettings
from broker.settings.google import GoogleSourceSettings, ServiceAccount, ServiceUrl


class EncryptionSettings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """By whom the store has objects encrypted: itself, or a key of KMS."""

    mode: Literal["AES256", "aws:kms", "aws:kms:dsse"]
    kms_key_id: str | None = None
    bucket_key: bool | None = None


class _Destination(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="provider"):
    """Under which names objects are put, on which terms, and what becomes of them."""

    prefix: Annotated[
        str, Meta(min_length=1, max_length=256, pattern=r"^[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*$")
    ] = "uploads"
    policy: Policy = Policy()
    processing: Literal["default", "none"] = "default"
    on_reject: Literal["delete", "keep"] = "delete"
    late: Literal["accept", "remove"] = "accept"


class S3Destination(_Destination, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="s3"):
    """A bucket of a store that speaks S3. Bucket and region may come from a JSON secret among the credentials."""

    dialect: Literal["aws", "ceph", "r2", "generic"] = "generic"
    bucket: Annotated[str, Meta(pattern=r"^(.{3,63})?$(?!\n)")] = ""
    region: str = ""
    endpoint: str | None = None
    public_endpoint: str | None = None
    consumer_endpoint: str | None = None
    addressing: Literal["auto", "virtual", "path"] = "auto"
    multipart: MultipartTerms = MultipartTerms()
    credentials: RightSettings = RightSettings()
    accept_unsigned_headers: bool = False
    dual_stack: bool = False
    encryption: EncryptionSettings | None = None
    storage_class: str | None = None
    tags: dict[str, str] = {}
    acl: Literal["bucket-owner-full-control"] | None = None
    expected_bucket_owner: str | None = None


class GcsDestination(_Destination, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="gcs"):
    """A bucket of Google Cloud Storage, where a service account has each right and the broker impersonates it.

    :param writer: creates objects (storage.objects.create), `reader` gets them (storage.objects.get), `janitor` lists
        and deletes them (storage.objects.list, storage.objects.delete).
    :param delegates: service accounts between `source` and those three, the first of which `source` may impersonate.
    :param signing_rate_per_second: how many signatures the whole broker asks of IAM; a project's quota is 1,000.
    :param proved: what `upload-broker check` showed that this bucket enforces of resumable uploads.
    """

    # Cloud Storage, "Bucket names": 3 to 63 characters, with dots up to 222.
    bucket: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$(?!\n)")]
    endpoint: ServiceUrl = "https://storage.googleapis.com"
    public_endpoint: ServiceUrl | None = None
    consumer_endpoint: ServiceUrl | None = None
    iam_endpoint: ServiceUrl = "https://iamcredentials.googleapis.com"
    signing_rate_per_second: Annotated[float, Meta(gt=0, le=100_000)] = 800
    writer: ServiceAccount
    reader: ServiceAccount
    janitor: ServiceAccount
    delegates: tuple[ServiceAccount, ...] = ()
    source: GoogleSourceSettings = GoogleSourceSettings()
    proved: tuple[Literal["size", "content_type", "create_only"], ...] = ()
    resumable: ResumableTerms = ResumableTerms()


DestinationSettings = S3Destination | GcsDestination
