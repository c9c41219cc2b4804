"""A destination in Google Cloud Storage: which service account has which right, and at which address."""

from broker.domain.policy import Destination
from broker.settings import GcsDestination


def gcs_destination(name: str, place: GcsDestination) -> Destination:
    return Destination(
        name=name,
        bucket=place.bucket,
        prefix=place.prefix,
        policy=place.policy,
        resumable=place.resumable,
        processing=place.processing,
        on_reject=place.on_reject,
        late=place.late,
    )
