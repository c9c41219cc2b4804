"""A destination in an S3 store: which right gets which credential and address.

What would lose data or permit more than it says is refused here, when the process starts.
"""

from datetime import timedelta

import aiohttp

from broker.contract import Checksum
from broker.domain.errors import ConfigurationInvalid, InvalidInput
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination, demand
from broker.ports import Bucket, Clock, MultipartRights
from broker.settings import S3Destination
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.endpoint import Addresses, usual_addressing
from broker.storage.s3.lister import S3ObjectLister
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.multipart import S3MultipartRemover, S3MultipartUploads
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover
from broker.wiring.accounts import located
from broker.wiring.credentials import Keyring
from broker.wiring.s3_keeping import check_dual_stack, keeping_of
from broker.wiring.s3_rights import RIGHTS, check_unsigned_headers, credential_of

HEAD_TIMEOUT = timedelta(seconds=10)  # below the looker's hold, so that a claim never runs out during a HEAD


def s3_bucket(name: str, place: S3Destination, http: aiohttp.ClientSession, clock: Clock, keyring: Keyring) -> Bucket:
    place = located(name, place)
    addresses = _addresses(name, place)
    sigv4, dialect = SigV4(region=place.region), DIALECTS[place.dialect]
    keeping = keeping_of(name, place)
    check_unsigned_headers(name, place)
    write, read, remove = (keyring.of(*credential_of(name, place, right)) for right in RIGHTS)
    caller = S3Caller(
        http=http,
        sigv4=sigv4,
        endpoint=addresses.internal,
        clock=clock,
        timeout=HEAD_TIMEOUT,
        headers=keeping.call_headers,
    )
    head = S3ObjectHead(caller=caller, credentials=read)
    bucket = Bucket(
        destination=s3_destination(name, place),
        put=S3PutSigner(sigv4=sigv4, endpoint=addresses.public, credentials=write, dialect=dialect, keeping=keeping),
        get=S3GetSigner(sigv4=sigv4, endpoint=addresses.public, credentials=read),
        objects=head,
        remover=S3ObjectRemover(caller=caller, credentials=remove, dialect=dialect, objects=head),
        multipart=MultipartRights(
            signer=S3PartSigner(sigv4=sigv4, endpoint=addresses.public, credentials=write, dialect=dialect),
            uploads=S3MultipartUploads(caller=caller, credentials=write, dialect=dialect, keeping=keeping),
            remover=S3MultipartRemover(caller=caller, credentials=remove),
        ),
        consumer_get=S3GetSigner(sigv4=sigv4, endpoint=addresses.consumer, credentials=read),
        lister=S3ObjectLister(caller=caller, credentials=remove, prefix=place.prefix),
        mark=S3StoreMark(caller=caller, reading=read, writing=write, prefix=place.prefix, keeping=keeping),
    )
    _check_strategy(bucket, place.dialect)
    return bucket


def s3_destination(name: str, place: S3Destination) -> Destination:
    """:raises ConfigurationInvalid: nobody says where it is."""
    if not place.bucket:
        place = located(name, place)
    return Destination(
        name=name,
        bucket=place.bucket,
        prefix=place.prefix,
        policy=place.policy,
        multipart=place.multipart,
        processing=place.processing,
        on_reject=place.on_reject,
        late=place.late,
    )


_PROBE = UploadSpec(
    filename="probe", size_bytes=0, content_type="application/octet-stream", checksum=Checksum(sha256="A" * 43 + "=")
)


def _check_strategy(bucket: Bucket, dialect: str) -> None:
    """What every mint would be refused for is said at start-up.

    :raises ConfigurationInvalid: the dialect cannot give what `policy.require` demands.
    """
    try:
        demand(_PROBE, bucket.destination, bucket.put.binds(_PROBE))
    except InvalidInput as exc:
        raise ConfigurationInvalid(
            f"destinations.{bucket.destination.name}: dialect {dialect!r}: {exc.detail}; "
            "name the store's own dialect, or require less in policy.require"
        ) from exc


def _addresses(name: str, place: S3Destination) -> Addresses:
    check_dual_stack(name, place)
    addressing = place.addressing
    if addressing == "auto":
        addressing = usual_addressing(bucket=place.bucket, url=place.endpoint)
    try:
        return Addresses.of(
            bucket=place.bucket,
            region=place.region,
            addressing=addressing,
            endpoint=place.endpoint,
            public_endpoint=place.public_endpoint,
            consumer_endpoint=place.consumer_endpoint,
            is_dual_stack=place.dual_stack,
        )
    except ValueError as exc:
        raise ConfigurationInvalid(f"destinations.{name}: {exc}") from exc
