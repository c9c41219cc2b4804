"""From the settings of a destination to what `setup s3 --print` has to know of it.

Nobody is asked. Of secrets only the JSON of an account is read, because it may say region and bucket; none is printed.
"""

from collections.abc import Mapping

from broker.domain.errors import ConfigurationInvalid
from broker.domain.policy import grace
from broker.settings import (
    CredentialSettings,
    EventBridgeSource,
    PubsubPushSource,
    PubsubSource,
    S3Destination,
    S3EventSource,
    Settings,
    SnsSource,
    SourceSettings,
    SqsSource,
)
from broker.setup.terms import Bus, Push, Queue, RoleTerms, Sender, Terms, Topic
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.policies import Right
from broker.storage.s3.session_policies import partition_of
from broker.wiring.accounts import located
from broker.wiring.queues import address_of
from broker.wiring.s3_keeping import keeping_of
from broker.wiring.s3_rights import RIGHTS


def terms_of(settings: Settings, name: str) -> Terms:
    """:raises ConfigurationInvalid: there is no such destination, it is none of S3, or it cannot be used."""
    if name not in settings.destinations:
        raise ConfigurationInvalid(f"there is no destination {name!r}")
    given = settings.destinations[name]
    if not isinstance(given, S3Destination):
        raise ConfigurationInvalid(f"destinations.{name}: it is none of S3")
    place = located(name, given)
    roles = _roles(place)
    partition = partition_of(place.region) if place.dialect == "aws" else "aws"
    return Terms(
        name=name,
        dialect_name=place.dialect,
        dialect=DIALECTS[place.dialect],
        bucket=place.bucket,
        prefix=place.prefix,
        region=place.region,
        partition=partition,
        account=_account(place, roles),
        origins=settings.cors.allow_origins,
        keeping=keeping_of(name, place),
        roles=roles,
        senders=tuple(_senders(settings, name, place.region, partition)),
        longest_upload=place.policy.deadline + grace(place.policy, 0),
    )


def _roles(place: S3Destination) -> dict[Right, RoleTerms]:
    return {right: role for right in RIGHTS if (role := _role(place, right)) is not None}


def _role(place: S3Destination, right: Right) -> RoleTerms | None:
    own: CredentialSettings | None = getattr(place.credentials, right)
    given = own or place.credentials.default
    if given.role_arn is None:
        return None
    external_id = given.external_id
    source = given.source
    return RoleTerms(
        arn=given.role_arn,
        assumed_by=(source.role_arn if source else None) or "BROKER_PRINCIPAL_ARN",
        # One that was given as a secret is not printed.
        external_id=external_id if external_id is None or isinstance(external_id, str) else "EXTERNAL_ID",
        is_web_identity=given.web_identity_token_file is not None,
        duration=given.duration,
    )


def _account(place: S3Destination, roles: Mapping[Right, RoleTerms]) -> str:
    """A role that reads a bucket is mostly of the bucket's own account; the expected owner is by definition."""
    return place.expected_bucket_owner or next((role.account for role in roles.values()), "BUCKET_ACCOUNT_ID")


def _senders(settings: Settings, destination: str, region: str, partition: str) -> list[Sender]:
    senders = (
        _sender(settings, name, source, region, partition)
        for name, source in settings.sources.items()
        if destination in source.destinations
    )
    return [sender for sender in senders if sender is not None]


def _sender(settings: Settings, name: str, source: SourceSettings, region: str, partition: str) -> Sender | None:
    named = {each: settings.destinations[each] for each in source.destinations}
    places = [located(each, place) for each, place in named.items() if isinstance(place, S3Destination)]
    buckets = tuple(dict.fromkeys(place.bucket for place in places))
    accounts = tuple(dict.fromkeys(_account(place, _roles(place)) for place in places))
    match source:
        case SqsSource():
            account, _, queue = source.queue_url.partition("://")[2].partition("/")[2].rpartition("/")
            owner = account if account.isdecimal() else "BUCKET_ACCOUNT_ID"
            arn = f"arn:{partition}:sqs:{address_of(name, source).region}:{owner}:{queue}"
            return Queue(source=name, arn=arn, buckets=buckets, accounts=accounts, visibility=source.visibility)
        case SnsSource():
            # S3 publishes to a topic of the bucket's own region only.
            arn = next((each for each in source.topic_arns if each.split(":")[3:4] == [region]), source.topic_arns[0])
            return Topic(source=name, arn=arn, buckets=buckets, accounts=accounts)
        case EventBridgeSource():
            return Bus(source=name, key_header=source.key_header)
        case S3EventSource():
            return Push(source=name)
        case PubsubPushSource() | PubsubSource():
            return None  # no S3 tells by Pub/Sub; who does otherwise has set it up
