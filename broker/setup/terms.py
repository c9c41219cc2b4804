"""What has to be known of a destination to say how it is set up, and the words for what nobody has told us."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from broker.storage.s3.dialects import Dialect, DialectName
from broker.storage.s3.keeping import Keeping
from broker.storage.s3.policies import Right


@dataclass(frozen=True, slots=True, kw_only=True)
class Blank:
    """A word that stands for what the configuration does not say. `variable` is its name in Terraform."""

    variable: str
    meaning: str
    is_sensitive: bool = False


BLANKS: Mapping[str, Blank] = {
    "BUCKET_ACCOUNT_ID": Blank(variable="bucket_account_id", meaning="Account that owns the bucket, twelve digits"),
    "BROKER_PRINCIPAL_ARN": Blank(variable="broker_principal_arn", meaning="Who assumes the roles: the broker's ARN"),
    "WRITE_PRINCIPAL_ARN": Blank(variable="write_principal_arn", meaning="Whose credential signs uploads"),
    "READ_PRINCIPAL_ARN": Blank(variable="read_principal_arn", meaning="Whose credential reads"),
    "REMOVE_PRINCIPAL_ARN": Blank(variable="remove_principal_arn", meaning="Whose credential removes"),
    "EXTERNAL_ID": Blank(variable="external_id", meaning="The external_id of the configuration", is_sensitive=True),
    "OIDC_PROVIDER": Blank(variable="oidc_provider", meaning="Host and path of the identity provider"),
    "OIDC_SUBJECT": Blank(variable="oidc_subject", meaning="The broker's own subject in its tokens"),
    "BROKER_URL": Blank(variable="broker_url", meaning="Where the broker answers: https://broker.example"),
    "EVENT_TOKEN": Blank(variable="event_token", meaning="The token of the source", is_sensitive=True),
    "PROJECT_ID": Blank(variable="project_id", meaning="Google Cloud project of the service accounts"),
    "PROJECT_NUMBER": Blank(variable="project_number", meaning="Number of the Google Cloud project of the bucket"),
    "BROKER_SERVICE_ACCOUNT": Blank(variable="broker_service_account", meaning="Service account that the broker is"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleTerms:
    """A role that the configuration names. `external_id` is None where none is asked for."""

    arn: str
    assumed_by: str = "BROKER_PRINCIPAL_ARN"
    external_id: str | None = None
    is_web_identity: bool = False
    duration: timedelta = timedelta(hours=1)

    @property
    def name(self) -> str:
        return self.arn.rpartition("/")[2]

    @property
    def account(self) -> str:
        return self.arn.split(":")[4]


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """`buckets` and `accounts` are those of every destination of which the source may speak: one policy is for all."""

    source: str
    arn: str
    buckets: tuple[str, ...]
    accounts: tuple[str, ...]
    visibility: timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    source: str
    arn: str
    buckets: tuple[str, ...]
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """EventBridge, which calls us through an API destination."""

    source: str
    key_header: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """A store that calls us by itself."""

    source: str


Sender = Queue | Topic | Bus | Push


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    name: str
    dialect_name: DialectName
    dialect: Dialect
    bucket: str
    prefix: str
    region: str
    partition: str
    account: str
    origins: tuple[str, ...]
    keeping: Keeping
    roles: Mapping[Right, RoleTerms]
    senders: tuple[Sender, ...]
    longest_upload: timedelta

    @property
    def bucket_arn(self) -> str:
        return f"arn:{self.partition}:s3:::{self.bucket}"
