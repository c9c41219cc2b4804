"""A destination in Google Cloud Storage is put together: each right at its address, by its account, for its scope."""

import aiohttp
import msgspec

from broker.clock import SystemClock
from broker.ports import Bucket
from broker.settings import GcsDestination
from broker.storage.gcs.resumable import GcsResumableUploads
from broker.storage.gcs.signer import GcsGetSigner, GcsPutSigner
from broker.storage.gcs.store import GcsObjectHead, GcsObjectRemover
from broker.wiring.providers import buckets_of
from broker.workers.looker import HOLD
from tests.still_keyring import still_keyring

SCANS = msgspec.convert(
    {
        "bucket": "acme-uploads",
        "writer": "writer@acme.iam.gserviceaccount.com",
        "reader": "reader@acme.iam.gserviceaccount.com",
        "janitor": "janitor@acme.iam.gserviceaccount.com",
        "source": {"key_file": "/nowhere/at/all.json"},
    },
    GcsDestination,
)


async def opened(**places: GcsDestination) -> dict[str, Bucket]:
    with still_keyring() as keyring:
        async with aiohttp.ClientSession() as http:
            return buckets_of(places, http, SystemClock(), keyring)


def addresses(bucket: Bucket) -> list[str]:
    put, get, consumer, head, resumable = bucket.put, bucket.get, bucket.consumer_get, bucket.objects, bucket.resumable
    assert isinstance(put, GcsPutSigner)
    assert isinstance(get, GcsGetSigner)
    assert isinstance(consumer, GcsGetSigner)
    assert isinstance(head, GcsObjectHead)
    assert isinstance(resumable, GcsResumableUploads)
    assert resumable.caller == head.caller
    return [
        each.origin for each in (put.endpoint, get.endpoint, resumable.public, consumer.endpoint, head.caller.endpoint)
    ]


async def test_clients_consumers_and_the_broker_each_have_their_own_address() -> None:
    usual = (await opened(scans=SCANS))["scans"]
    assert addresses(usual) == ["https://storage.googleapis.com"] * 5

    place = msgspec.structs.replace(
        SCANS,
        endpoint="http://10.0.0.7:9000/",
        public_endpoint="https://up.example",
        consumer_endpoint="https://private.example",
    )
    public, private = "https://up.example", "https://private.example"
    assert addresses((await opened(scans=place))["scans"]) == [public, public, public, private, "http://10.0.0.7:9000"]


async def test_each_account_does_what_is_its_own_and_no_more() -> None:
    bucket = (await opened(scans=SCANS))["scans"]

    put, get, head, remover = bucket.put, bucket.get, bucket.objects, bucket.remover
    assert isinstance(put, GcsPutSigner)
    assert isinstance(get, GcsGetSigner)
    assert isinstance(head, GcsObjectHead)
    assert isinstance(remover, GcsObjectRemover)
    assert isinstance(bucket.resumable, GcsResumableUploads)
    assert (put.signatory.email, get.signatory.email) == (SCANS.writer, SCANS.reader)
    assert len({id(each) for each in (head.tokens, remover.tokens, bucket.resumable.tokens)}) == 3
    assert bucket.multipart is None


async def test_a_look_at_a_store_that_hangs_ends_before_its_claim() -> None:
    """Cancel, the status where that says nothing, HEAD, removal, HEAD again: each to the end of its patience."""
    head = (await opened(scans=SCANS))["scans"].objects
    assert isinstance(head, GcsObjectHead)

    assert 5 * head.caller.timeout < HOLD


async def test_destinations_of_the_same_accounts_share_their_tokens() -> None:
    buckets = await opened(scans=SCANS, more=msgspec.structs.replace(SCANS, prefix="more"))

    one, other = buckets["scans"].objects, buckets["more"].objects
    assert isinstance(one, GcsObjectHead)
    assert isinstance(other, GcsObjectHead)
    assert one.tokens is other.tokens
