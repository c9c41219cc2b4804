"""From the settings of a destination in Google Cloud Storage to what `setup gcs` has to know of it. Nobody is asked."""

from broker.domain.errors import ConfigurationInvalid
from broker.settings import GcsDestination, Settings
from broker.setup.gcs.terms import GcsTerms


def gcs_terms_of(settings: Settings, name: str) -> GcsTerms:
    """:raises ConfigurationInvalid: there is no such destination, or it is somewhere else."""
    place = settings.destinations.get(name)
    if place is None:
        raise ConfigurationInvalid(f"there is no destination {name!r}")
    if not isinstance(place, GcsDestination):
        raise ConfigurationInvalid(f"destinations.{name} is not in Google Cloud Storage: `setup s3` prints it")
    return GcsTerms(
        name=name,
        bucket=place.bucket,
        prefix=place.prefix,
        writer=place.writer,
        reader=place.reader,
        janitor=place.janitor,
        delegates=place.delegates,
        origins=settings.cors.allow_origins,
        subscriptions=(),
    )
