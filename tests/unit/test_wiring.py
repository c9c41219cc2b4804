"""The roof refuses to open a destination whose store would let a signed request do more than it says."""

import re
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from broker.clock import SystemClock
from broker.domain.errors import ConfigurationInvalid
from broker.domain.objects import Pin
from broker.domain.policy import Policy
from broker.settings import CredentialSettings, RightSettings, S3Destination, Secret
from broker.wiring.credentials import open_keyring
from broker.wiring.s3 import s3_bucket

READER = CredentialSettings(access_key_id="READER", secret_access_key=Secret(env="TEST_SECRET"))
WRITER = CredentialSettings(access_key_id="WRITER", secret_access_key=Secret(env="TEST_SECRET"))


async def open_destination(settings: S3Destination) -> None:
    async with aiohttp.ClientSession() as http, open_keyring(SystemClock()) as keyring:
        s3_bucket("eu", settings, http, SystemClock(), keyring)


def destination(dialect: str, rights: RightSettings, *, accepts: bool) -> S3Destination:
    return S3Destination(
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
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


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
    settings = S3Destination(
        dialect="aws",
        bucket="uploads",
        endpoint="http://10.0.0.7:9000",
        public_endpoint="https://files.example",
        consumer_endpoint="http://store.inside:9000",
        credentials=RightSettings(default=READER),
    )
    now = datetime.now(UTC)
    async with aiohttp.ClientSession() as http, open_keyring(SystemClock()) as keyring:
        bucket = s3_bucket("eu", settings, http, SystemClock(), keyring)
        signers = [signer for signer in (bucket.get, bucket.consumer_get) if signer is not None]
        urls = [(await each.sign_get("k", Pin(etag="e"), filename="f", now=now, ends=now)).url for each in signers]

    assert [url.partition("/uploads/k?")[0] for url in urls] == ["https://files.example", "http://store.inside:9000"]


async def test_a_store_that_refuses_unsigned_headers_needs_one_credential() -> None:
    await open_destination(destination("aws", RightSettings(default=READER), accepts=False))


# --- roles: what counts is what a credential may ----------------------------------------------------------

ROLE = "arn:aws:iam::111122223333:role/uploads"
OTHER_ROLE = "arn:aws:iam::111122223333:role/reads"
STS = "http://127.0.0.1:9"


def role(arn: str = ROLE, **more: object) -> CredentialSettings:
    return msgspec.convert({"role_arn": arn, "sts_endpoint": STS, **more}, CredentialSettings)


@pytest.mark.parametrize(
    "rights",
    [
        RightSettings(default=role()),
        RightSettings(default=role(session_policy="minimal")),
        RightSettings(default=role(session_policy="none"), write=role()),
        RightSettings(write=role(session_policy="none"), read=role(OTHER_ROLE, session_policy="none")),
    ],
    ids=["narrowed by default", "narrowed in words", "one narrowed", "two roles"],
)
async def test_a_role_that_is_narrowed_to_writing_cannot_read(rights: RightSettings) -> None:
    await open_destination(destination("ceph", rights, accepts=True))


@pytest.mark.parametrize(
    ("dialect", "rights"),
    [
        ("ceph", RightSettings(default=role(session_policy="none"))),
        (
            "ceph",
            RightSettings(
                write=role(session_policy="none", role_session_name="other", duration=timedelta(minutes=15)),
                read=role(session_policy="none", source={"profile": "other"}),
            ),
        ),
        ("ceph", RightSettings(write=role(session_policy={"env": "TEST_POLICY"}), read=role(session_policy="none"))),
        ("generic", RightSettings(default=role())),
        ("r2", RightSettings(write=role(), read=role(session_policy="none"))),
    ],
    ids=[
        "one role",
        "one role, come by differently",
        "a policy nobody read",
        "a store that may not narrow",
        "nor this",
    ],
)
async def test_one_role_is_one_credential_unless_it_is_known_to_be_narrowed(
    dialect: str, rights: RightSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_POLICY", "{}")

    with pytest.raises(ConfigurationInvalid, match=re.escape("destinations.eu.credentials")):
        await open_destination(destination(dialect, rights, accepts=True))


async def test_one_key_under_two_names_is_one_credential(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCOUNT", '{"access_key_id": "READER", "secret_access_key": "secret"}')
    monkeypatch.setenv("KEY_ID", "READER")
    named = CredentialSettings(access_key_id=Secret(env="KEY_ID"), secret_access_key=Secret(env="TEST_SECRET"))

    for same in (CredentialSettings(env_json="ACCOUNT"), named):
        with pytest.raises(ConfigurationInvalid, match=re.escape("destinations.eu.credentials")):
            await open_destination(destination("ceph", RightSettings(default=READER, write=same), accepts=True))


async def test_a_store_that_is_not_amazons_needs_its_sts_named() -> None:
    rights = RightSettings(default=CredentialSettings(role_arn=ROLE))

    with pytest.raises(ConfigurationInvalid, match=re.escape("destinations.eu.credentials.write: sts_endpoint")):
        await open_destination(destination("ceph", rights, accepts=True))


async def test_a_session_policy_that_sts_would_refuse_for_its_length_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TEST_POLICY", "x" * 2_049)
    rights = RightSettings(default=role(session_policy={"env": "TEST_POLICY"}), write=WRITER)

    with pytest.raises(ConfigurationInvalid, match=r"read: the session policy has 2049 characters"):
        await open_destination(destination("ceph", rights, accepts=True))
