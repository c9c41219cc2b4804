"""A destination in Google Cloud Storage: which service account has which right, and at which address."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import aiohttp

from broker.domain.errors import ConfigurationInvalid
from broker.domain.policy import Destination
from broker.ports import Bucket, Clock
from broker.settings import GcsDestination
from broker.storage.gcs.caller import GcsCaller
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.lister import GcsObjectLister
from broker.storage.gcs.mark import GcsStoreMark
from broker.storage.gcs.resumable import GcsResumableUploads
from broker.storage.gcs.signer import GcsGetSigner, GcsPutSigner
from broker.storage.gcs.store import GcsObjectHead, GcsObjectRemover
from broker.wiring.credentials import Keyring
from broker.wiring.google import Right

# Ours. Five of them are less than the looker's hold, so that a claim does not run out during a look that hangs.
CALL_TIMEOUT: Final = timedelta(seconds=5)

# Cloud Storage, "OAuth 2.0 scopes": all that a token is good for, whatever its account may.
_READ_WRITE: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)
_READ_ONLY: Final = ("https://www.googleapis.com/auth/devstorage.read_only",)
_SCOPES: Final[Mapping[Right, Sequence[str]]] = {
    "writer": _READ_WRITE,
    "reader": _READ_ONLY,
    "janitor": _READ_WRITE,
}
_SIGNING: Final[Sequence[Right]] = ("writer", "reader")


def gcs_bucket(name: str, place: GcsDestination, http: aiohttp.ClientSession, clock: Clock, keyring: Keyring) -> Bucket:
    """:raises ConfigurationInvalid: an address that is none."""
    internal = _endpoint(name, "endpoint", place.endpoint)
    public = _endpoint(name, "public_endpoint", place.public_endpoint or internal.origin)
    consumer = _endpoint(name, "consumer_endpoint", place.consumer_endpoint or public.origin)
    google = keyring.google
    writing, reading, tidying = (google.tokens(name, right, place, http, scopes) for right, scopes in _SCOPES.items())
    writer, reader = (google.signatory(name, right, place, http) for right in _SIGNING)
    caller = GcsCaller(http=http, endpoint=internal, clock=clock, timeout=CALL_TIMEOUT)
    bucket = place.bucket
    return Bucket(
        destination=gcs_destination(name, place),
        signs_afar=True,
        put=GcsPutSigner(endpoint=public, bucket=bucket, signatory=writer),
        get=GcsGetSigner(endpoint=public, bucket=bucket, signatory=reader),
        objects=GcsObjectHead(caller=caller, tokens=reading, bucket=bucket),
        remover=GcsObjectRemover(caller=caller, tokens=tidying, bucket=bucket),
        resumable=GcsResumableUploads(caller=caller, tokens=writing, bucket=bucket, public=public, proved=place.proved),
        consumer_get=GcsGetSigner(endpoint=consumer, bucket=bucket, signatory=reader),
        lister=GcsObjectLister(caller=caller, tokens=tidying, bucket=bucket, prefix=place.prefix),
        mark=GcsStoreMark(caller=caller, reading=reading, writing=writing, bucket=bucket, prefix=place.prefix),
    )


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


def _endpoint(name: str, field: str, url: str) -> Endpoint:
    try:
        return Endpoint.of(url)
    except ValueError as exc:
        raise ConfigurationInvalid(f"destinations.{name}.{field}: {exc}") from exc
