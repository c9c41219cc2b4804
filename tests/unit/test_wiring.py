"""The roof refuses to open a destination whose store would let a signed request do more than it says."""

import re

import aiohttp
import pytest

from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid
from broker.domain.policy import Policy
from broker.settings import CredentialSettings, DestinationSettings, RightSettings, Secret
from broker.wiring import _bucket

READER = CredentialSettings(access_key_id="READER", secret_access_key=Secret(env="TEST_SECRET"))
WRITER = CredentialSettings(access_key_id="WRITER", secret_access_key=Secret(env="TEST_SECRET"))


async def open_destination(settings: DestinationSettings) -> None:
    async with aiohttp.ClientSession() as http:
        _bucket("eu", settings, http, SystemClock())


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


async def test_a_store_that_refuses_unsigned_headers_needs_one_credential() -> None:
    await open_destination(destination("aws", RightSettings(default=READER), accepts=False))
