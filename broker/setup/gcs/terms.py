"""What has to be known of a destination in Google Cloud Storage to say how it is set up."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

BROKER: Final = "BROKER_SERVICE_ACCOUNT"  # the word for whom the configuration does not name, see `setup.terms`
_DOMAIN: Final = ".iam.gserviceaccount.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Pub/Sub calls us. `audience` and `caller` are what the door expects in its token."""

    source: str
    subscription: str
    audience: str
    caller: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """`poll` asks a subscription. `ack_deadline` is how long a message is ours."""

    source: str
    subscription: str
    ack_deadline: timedelta


Subscription = Push | Pull


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsTerms:
    """:param delegates: service accounts between the broker's own identity and the three, in order."""

    name: str
    bucket: str
    prefix: str
    writer: str
    reader: str
    janitor: str
    delegates: tuple[str, ...]
    origins: tuple[str, ...]
    subscriptions: tuple[Subscription, ...]

    @property
    def project(self) -> str:
        """Of the writer, and so, we suppose, of the bucket."""
        return project_of(self.writer)

    @property
    def accounts(self) -> Mapping[str, str]:
        return {"writer": self.writer, "reader": self.reader, "janitor": self.janitor}


def project_of(service_account: str) -> str:
    """`NAME@PROJECT.iam.gserviceaccount.com`; of other addresses nobody can tell."""
    domain = service_account.partition("@")[2]
    return domain.removesuffix(_DOMAIN) if domain.endswith(_DOMAIN) else "PROJECT_ID"


def member(service_account: str) -> str:
    return f"serviceAccount:{service_account}"
