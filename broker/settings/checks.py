"""What contradicts itself, or another place, though each value may stand where it does."""

from collections.abc import Mapping
from datetime import timedelta
from urllib.parse import urlsplit

from broker.domain.errors import ConfigurationInvalid
from broker.domain.principals import ANY_DESTINATION, check_key_id
from broker.domain.webhooks import GIVEN_UP_AFTER
from broker.settings.credentials import RightSettings
from broker.settings.destinations import DestinationSettings, GcsDestination, S3Destination
from broker.settings.durations import LONGEST, spoken
from broker.settings.google import project_of
from broker.settings.sources import PubsubPushSource, PubsubSource, QueueSource, SqsSource
from broker.settings.tree import Settings


def check(settings: Settings) -> None:
    """:raises ConfigurationInvalid: one sentence, naming the place."""
    for name, source in settings.sources.items():
        unknown = set(source.destinations) - settings.destinations.keys()
        if unknown:
            raise ConfigurationInvalid(f"sources.{name}.destinations: there is no destination {min(unknown)!r}")
    _check_queues({name: each for name, each in settings.sources.items() if isinstance(each, QueueSource)})
    _check_google(settings)
    for key_id, key in settings.keys.items():
        check_key_id(key_id)
        if not (key.hash or key.hashes):
            raise ConfigurationInvalid(f"keys.{key_id}: hash is missing; `upload-broker keys add` prints one")
    _check_bounds("jobs.lease", settings.jobs.lease, at_least=timedelta(milliseconds=100))
    _check_bounds("jobs.read_ttl", settings.jobs.read_ttl, at_most=timedelta(minutes=5))  # a leaked grant ends soon
    _check_destinations(settings)
    _check_signing_rates(settings)
    _check_webhooks(settings)


def _check_destinations(settings: Settings) -> None:
    for name, destination in settings.destinations.items():
        if isinstance(destination, S3Destination):
            _check_named(name, destination)
        policy, place = destination.policy, f"destinations.{name}.policy"
        _check_bounds(f"{place}.url_ttl", policy.url_ttl, at_most=_longest_url(destination))
        _check_bounds(f"{place}.deadline", policy.deadline)
        _check_bounds(
            f"{place}.longest_look_interval", policy.longest_look_interval, at_least=timedelta(milliseconds=100)
        )
        if policy.deadline > policy.retention:
            raise ConfigurationInvalid(f"{place}.deadline: at most retention")
        if settings.webhooks and policy.retention <= GIVEN_UP_AFTER:
            raise ConfigurationInvalid(
                f"{place}.retention: more than {spoken(GIVEN_UP_AFTER)}, for as long are webhooks told of a session"
            )


def _check_named(name: str, destination: S3Destination) -> None:
    if not destination.bucket and not _has_json_secret(destination.credentials):
        raise ConfigurationInvalid(f"destinations.{name}: bucket is missing, and no JSON secret among its credentials")


def _check_signing_rates(settings: Settings) -> None:
    """Of one project's quota nobody can count at two rates."""
    rates: dict[str, tuple[str, float]] = {}
    for name, place in settings.destinations.items():
        if isinstance(place, GcsDestination):
            for account in (place.writer, place.reader):
                project, rate = project_of(account), place.signing_rate_per_second
                other, theirs = rates.setdefault(project, (name, rate))
                if theirs != rate:
                    raise ConfigurationInvalid(
                        f"destinations.{name}.signing_rate_per_second: {other!r} signs in project {project!r}, too, "
                        f"and says {theirs:g}"
                    )


def _longest_url(destination: DestinationSettings) -> timedelta:
    match destination:
        case S3Destination():
            return timedelta(days=7)  # SigV4: at most 604,800 seconds
        case GcsDestination():
            return timedelta(hours=12)  # IAM signBlob: its keys are good for 12 hours after they signed


def _has_json_secret(rights: RightSettings) -> bool:
    named = (rights.default, rights.write, rights.read, rights.remove)
    return any(each is not None and (each.env_json or each.file_json) for each in named)


def _check_queues(sources: Mapping[str, QueueSource]) -> None:
    asked: dict[str, str] = {}
    for name, source in sources.items():
        field, queue = _check_queue(name, source)
        other = asked.setdefault(queue, name)
        if other != name:
            raise ConfigurationInvalid(
                f"sources.{name}.{field}: {other!r} asks that queue, too, and each would take the other's messages"
            )


def _check_queue(name: str, source: QueueSource) -> tuple[str, str]:
    """How long it lends. Which field names the queue, and what it says."""
    match source:
        case SqsSource():
            # SQS, "Visibility timeout": 12 hours at most. Below seconds it would come again while it is being recorded.
            least, most = timedelta(seconds=4), timedelta(hours=12)
            _check_bounds(f"sources.{name}.visibility", source.visibility, at_least=least, at_most=most)
            return "queue_url", source.queue_url
        case PubsubSource():
            # Pub/Sub, "Lease management": 10 seconds to 600.
            least, most = timedelta(seconds=10), timedelta(minutes=10)
            _check_bounds(f"sources.{name}.ack_deadline", source.ack_deadline, at_least=least, at_most=most)
            return "subscription", source.subscription


def _check_google(settings: Settings) -> None:
    """What is believed, and to whom a token is shown, needs TLS – beyond this machine."""
    for name, place in settings.destinations.items():
        if isinstance(place, GcsDestination):
            _check_tls(f"destinations.{name}.endpoint", place.endpoint)
            _check_tls(f"destinations.{name}.iam_endpoint", place.iam_endpoint)
    for name, source in settings.sources.items():
        match source:
            case PubsubPushSource():
                _check_tls(f"sources.{name}.certs_url", source.certs_url)
            case PubsubSource():
                _check_tls(f"sources.{name}.endpoint", source.endpoint)


def _check_tls(place: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        raise ConfigurationInvalid(f"{place}: it is no URL") from None
    is_near = parts.scheme == "http" and host in {"127.0.0.1", "::1", "localhost"}
    if not host or "@" in parts.netloc or not (is_near or parts.scheme == "https"):
        raise ConfigurationInvalid(f"{place}: it must begin with https:// (http:// on this machine) and name a host")


def _check_webhooks(settings: Settings) -> None:
    for name, webhook in settings.webhooks.items():
        unknown = set(webhook.destinations) - settings.destinations.keys() - {ANY_DESTINATION}
        if unknown:
            raise ConfigurationInvalid(f"webhooks.{name}.destinations: there is no destination {min(unknown)!r}")
        _check_bounds(f"webhooks.{name}.timeout", webhook.timeout, at_most=timedelta(minutes=1))


def _check_bounds(
    place: str, given: timedelta, *, at_least: timedelta = timedelta(seconds=1), at_most: timedelta = LONGEST
) -> None:
    if not at_least <= given <= at_most:
        raise ConfigurationInvalid(f"{place}: at least {spoken(at_least)} and at most {spoken(at_most)}")
