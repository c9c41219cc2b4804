"""A destination in an S3 store: which right gets which credential and address.

What would lose data or permit more than it says is refused here, when the process starts.
"""

from datetime import timedelta
from functools import partial

import aiohttp
from botocore.session import Session

from broker.contract import Checksum
from broker.domain.errors import ConfigurationInvalid, InvalidInput
from broker.domain.objects import UploadSpec
from broker.domain.policy import Destination, demand
from broker.ports import Bucket, Clock, MultipartRights
from broker.settings import CredentialSettings, DestinationSettings
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import ChainCredentials, Credentials, FixedCredentials
from broker.storage.s3.dialects import DIALECTS
from broker.storage.s3.endpoint import Addresses, usual_addressing
from broker.storage.s3.lister import S3ObjectLister
from broker.storage.s3.mark import S3StoreMark
from broker.storage.s3.multipart import S3MultipartRemover, S3MultipartUploads
from broker.storage.s3.parts import S3PartSigner
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.sigv4 import Credential, SigV4
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover
from broker.wiring.s3_keeping import check_dual_stack, keeping_of

HEAD_TIMEOUT = timedelta(seconds=10)  # below the looker's hold, so that a claim never runs out during a HEAD


def s3_bucket(name: str, place: DestinationSettings, http: aiohttp.ClientSession, clock: Clock) -> Bucket:
    addresses = _addresses(name, place)
    sigv4, dialect, rights = SigV4(region=place.region), DIALECTS[place.dialect], place.credentials
    keeping = keeping_of(name, place)
    _check_unsigned_headers(name, place)
    default = _credentials(name, rights.default)
    write = _credentials(name, rights.write) if rights.write else default
    read = _credentials(name, rights.read) if rights.read else default
    remove = _credentials(name, rights.remove) if rights.remove else default
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
        destination=Destination(
            name=name,
            bucket=place.bucket,
            prefix=place.prefix,
            policy=place.policy,
            multipart=place.multipart,
            processing=place.processing,
            on_reject=place.on_reject,
            late=place.late,
        ),
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


def _check_unsigned_headers(name: str, place: DestinationSettings) -> None:
    """An unsigned x-amz-copy-source makes a signed PUT read with the write credential.

    :raises ConfigurationInvalid: nobody answered for that, or the write credential evidently reads too.
    """
    if not DIALECTS[place.dialect].accepts_unsigned_headers:
        return
    if not place.accept_unsigned_headers:
        raise ConfigurationInvalid(
            f"destinations.{name}: dialect {place.dialect!r} may obey headers that nobody signed, so its write "
            "credential must not be able to read; once that is so, say accept_unsigned_headers = true"
        )
    rights = place.credentials
    if (rights.write or rights.default) == (rights.read or rights.default):
        raise ConfigurationInvalid(
            f"destinations.{name}.credentials: with accept_unsigned_headers the write credential must not be able to "
            "read: name credentials.write apart from the others"
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


def _addresses(name: str, place: DestinationSettings) -> Addresses:
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


def _credentials(name: str, settings: CredentialSettings) -> Credentials:
    if settings.access_key_id is None and settings.secret_access_key is None:
        return ChainCredentials(partial(Session, profile=settings.profile))
    if settings.access_key_id is None or settings.secret_access_key is None:
        raise ConfigurationInvalid(
            f"destinations.{name}.credentials: access_key_id and secret_access_key belong together"
        )
    key_id = settings.access_key_id
    return FixedCredentials(
        credential=Credential(
            access_key=key_id if isinstance(key_id, str) else key_id.reveal(),
            secret_key=settings.secret_access_key.reveal(),
            session_token=settings.session_token.reveal() if settings.session_token else None,
        )
    )
