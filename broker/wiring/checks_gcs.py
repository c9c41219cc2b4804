"""The site of a destination in Google Cloud Storage, as `check` tries it."""

from typing import Final

import aiohttp

from broker.checks.gcs.operator import Operator, looker
from broker.checks.gcs.site import GcsSite
from broker.checks.gcs.troubles import ACCOUNTS
from broker.domain.errors import ConfigurationInvalid
from broker.ports import Bucket, Clock
from broker.settings import GcsDestination
from broker.storage.gcs.caller import GcsCaller
from broker.storage.gcs.endpoint import Endpoint
from broker.wiring.gcs import CALL_TIMEOUT
from broker.wiring.google import GoogleKeyring

# OAuth 2.0 Scopes for Google APIs: what the broker itself may do in the store, were it allowed to.
_STORAGE: Final = ("https://www.googleapis.com/auth/devstorage.full_control",)
_CREDENTIALS, _IAM = "iamcredentials.googleapis.com", "iam.googleapis.com"
_NOBODY: Final = "none of our accounts may look"


def gcs_site(
    bucket: Bucket,
    place: GcsDestination,
    *,
    http: aiohttp.ClientSession,
    clock: Clock,
    google: GoogleKeyring,
    origins: tuple[str, ...],
    is_operator: bool,
) -> GcsSite:
    """:raises ConfigurationInvalid: also when an operator is asked for, and there is none."""
    name = bucket.destination.name
    at = f"destinations.{name}.source"
    # The service accounts themselves are another API, at another of Google's addresses; elsewhere at the same.
    iam = Endpoint.of(place.iam_endpoint.replace(_CREDENTIALS, _IAM))
    return GcsSite.of(
        bucket,
        iam=GcsCaller(http=http, endpoint=iam, clock=clock, timeout=CALL_TIMEOUT),
        source=google.source(place.source, at),
        in_storage=google.source(place.source, at, _STORAGE),
        unscoped={right: google.tokens(name, of, place, http, _STORAGE) for right, of in ACCOUNTS.items()},
        accounts=place,
        origins=origins,
        operator=_operator(place) if is_operator else _NOBODY,
    )


def _operator(place: GcsDestination) -> Operator:
    try:
        from broker.setup.gcs.applying import open_client  # noqa: PLC0415 - of the extra
    except ImportError as exc:
        raise ConfigurationInvalid(f"--operator needs upload-broker[gcs] ({exc.name} is missing)") from exc
    return Operator(look=looker(open_client(place.endpoint)))
