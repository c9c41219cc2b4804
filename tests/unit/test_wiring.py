"""The roof refuses to open a destination whose store would let a signed request do more than it says."""

import re
from datetime import UTC, datetime

import aiohttp
import pytest

from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid
from broker.domain.objects import Pin
from broker.domain.policy import Policy
from broker.settings import CredentialSettings, DestinationSettings, RightSettings, Secret
from broker.wiring.s3 import s3_bucket

READER = CredentialSettings(access_key_id="READER", secret_access_key=Secret(env="TEST_SECRET"))
WRITER = CredentialSettings(access_key_id="WRITER", secret_access_key=Secret(env="TEST_SECRET"))


async def open_destination(settings: DestinationSettings) -> None:
    async with aiohttp.ClientSession() as http:
        s3_bucket("eu", settings, http, SystemClock())


def destination(dialect: str, rights: RightSettings, *, accepts: bool) -> DestinationSettings:
    return DestinationSettings(
        dialect=dialect,  # type: ignore[arg-type]
        bucket="uploads",
        endpoint="http://127.0.0.1:7480",
        policy=Policy(require=("size", "content_type")),
        credentials=rights,
        accept_unsigned_headers=accepts,
    )


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SECRET", "secret")


@pytest.mark.parametrize("dialect", ["ceph", "r2", "generic"])
async def test_a_store_that_may_obey_unsigned_headers_is_refused_until_somebody_answers_for_it(dialect: str) -> None:
    rights = RightSettings(default=READER, write=WRITER)

    with pytest.raises(ConfigurationInvalid, match=r"eu.*credential must not be able to read.*accept_unsigned_headers"):
        await open_destination(destination(dialect, rights, accepts=False))

    await open_destination(destination(dialect, rights, accepts=True))


@pytest.mark.parametrize(
    "rights",
    [
        RightSettings(default=READER),
        RightSettings(default=READER, write=READER),
        RightSettings(write=WRITER, read=WRITER),
    ],
)
async def test_a_write_credential_that_also_reads_is_refused_there(rights: RightSettings) -> None:
    with pytest.raises(ConfigurationInvalid, match=re.escape("destinations.eu.credentials")):
        await open_destination(destination("ceph", rights, accepts=True))


async def test_clients_and_consumers_are_each_sent_to_their_own_address() -> None:
    settings = DestinationSettings(
        dialect="aws",
        bucket="uploads",
        endpoint="http://10.0.0.7:9000",
        public_endpoint="https://files.example",
        consumer_endpoint="http://store.inside:9000",
        credentials=RightSettings(default=READER),
    )
    now = datetime.now(UTC)
    async with aiohttp.ClientSession() as http:
        bucket = s3_bucket("eu", settings, http, SystemClock())
        signers = [signer for signer in (bucket.get, bucket.consumer_get) if signer is not None]
        urls = [(await each.sign_get("k", Pin(etag="e"), filename="f", now=now, ends=now)).url for each in signers]

    assert [url.partition("/uploads/k?")[0] for url in urls] == ["https://files.example", "http://store.inside:9000"]


async def test_a_store_that_refuses_unsigned_headers_needs_one_credential() -> None:
    await open_destination(destination("aws", RightSettings(default=READER), accepts=False))
