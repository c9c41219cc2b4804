"""From the settings of a destination in Google Cloud Storage to what `setup gcs` has to know of it. Nobody is asked."""

from collections.abc import Iterator

from broker.domain.errors import ConfigurationInvalid
from broker.settings import GcsDestination, PubsubPushSource, PubsubSource, Settings
from broker.setup.gcs.terms import GcsTerms, Pull, Push, Subscription, project_of


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
        subscriptions=tuple(_subscriptions(settings, name)),
    )


def _subscriptions(settings: Settings, destination: str) -> Iterator[Subscription]:
    """A source that lets every subscription of its callers speak has one of its own name to be made."""
    for name, source in settings.sources.items():
        if destination not in source.destinations:
            continue
        match source:
            case PubsubPushSource():
                caller = source.service_accounts[0]
                own = f"projects/{project_of(caller)}/subscriptions/upload-broker-{name}"
                for each in source.subscriptions or (own,):
                    yield Push(source=name, subscription=each, audience=source.audience, caller=caller)
            case PubsubSource():
                yield Pull(source=name, subscription=source.subscription, ack_deadline=source.ack_deadline)
