"""Roles from STS as moto speaks it: what is asked for, by whom, and what becomes of it in a signed request.

moto accepts any signature and any token: it proves what we ask, never that somebody would be refused. For that there is
Ceph (tests/peers/ceph/test_sts.py).
"""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
from moto.server import ThreadedMotoServer
from moto.sts.models import AssumedRole, sts_backends

from broker.clock import SystemClock
from broker.contract import SignedRequest
from broker.domain.errors import CredentialsUnavailable
from broker.domain.objects import Pin, UploadSpec
from broker.ports import Bucket
from broker.settings import CredentialSettings, S3Destination, load
from broker.storage.s3.sigv4 import Credential
from broker.wiring.credentials import Keyring, Use, open_keyring
from broker.wiring.providers import buckets_of
from tests.answering import answering

ACCOUNT, HUB = "111122223333", "444455556666"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/uploads"
HUB_ROLE = f"arn:aws:iam::{HUB}:role/broker"
CANARY = "canary-of-a-secret"
SPEC = UploadSpec(filename="report.csv", size_bytes=9, content_type="text/csv")


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIABROKER")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setenv("PARTNER_ID", "external-id-of-the-partner")
    monkeypatch.setenv("HUB_SECRET", CANARY)
    for account in (ACCOUNT, HUB):
        sts_backends[account]["aws"].assumed_roles.clear()


def assumed(account: str = ACCOUNT) -> list[AssumedRole]:
    return list(sts_backends[account]["aws"].assumed_roles)


def destination_in(tmp_path: Path, moto: str, credentials: str) -> S3Destination:
    """As an operator writes it; STS is where `{moto}` stands."""
    path = tmp_path / "broker.toml"
    path.write_text(f"""
[destinations.eu]
dialect = "aws"
bucket = "acme-uploads"
region = "eu-central-1"
prefix = "uploads"

[destinations.eu.credentials]
{credentials.replace("{moto}", moto)}
""")
    return load(path, {}).destinations["eu"]


class Opened:
    """A destination, as the broker opens it."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket

    async def put(self, ends: timedelta = timedelta(minutes=15)) -> SignedRequest:
        now = datetime.now(UTC)
        return await self.bucket.put.sign_put("uploads/a/report.csv", SPEC, "sealed", now=now, ends=now + ends)

    async def get(self) -> SignedRequest:
        now = datetime.now(UTC)
        assert self.bucket.get is not None
        pin = Pin(etag="e")
        return await self.bucket.get.sign_get("k", pin, filename="f", now=now, ends=now + timedelta(minutes=5))


@pytest.fixture
async def keyring() -> AsyncIterator[Keyring]:
    async with open_keyring(SystemClock()) as keyring:
        yield keyring


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def opened(place: S3Destination, http: aiohttp.ClientSession, keyring: Keyring) -> Opened:
    return Opened(buckets_of({"eu": place}, http, SystemClock(), keyring)["eu"])


def access_key(request: SignedRequest) -> str:
    return parse_qs(urlsplit(request.url).query)["X-Amz-Credential"][0].partition("/")[0]


async def test_each_right_has_a_session_of_its_own_narrowed_to_it(
    moto: str, tmp_path: Path, http: aiohttp.ClientSession, keyring: Keyring
) -> None:
    place = destination_in(
        tmp_path,
        moto,
        f'default = {{role_arn = "{ROLE}", external_id = {{env = "PARTNER_ID"}}, duration = "45m", '
        'sts_endpoint = "{moto}"}',
    )
    here = opened(place, http, keyring)
    put, get = await here.put(), await here.get()

    by_name = {role.session_name.removeprefix("upload-broker-eu.credentials."): role for role in assumed()}
    assert set(by_name) >= {"write", "read"}
    assert access_key(put) == by_name["write"].access_key_id != access_key(get) == by_name["read"].access_key_id
    assert {(role.role_arn, role.external_id) for role in by_name.values()} == {(ROLE, "external-id-of-the-partner")}
    assert "X-Amz-Security-Token" in put.url
    for role in by_name.values():
        left = role.expiration.replace(tzinfo=UTC) - datetime.now(UTC)
        assert timedelta(minutes=44) < left <= timedelta(minutes=45)
    write, read = (actions(by_name[right]) for right in ("write", "read"))
    assert write == {
        "s3:PutObject": "arn:aws:s3:::acme-uploads/uploads/*",
        "s3:ListMultipartUploadParts": "arn:aws:s3:::acme-uploads/uploads/*",
        "s3:ListBucket": "arn:aws:s3:::acme-uploads",
        "kms:GenerateDataKey": "*",  # through S3, and where the role may
        "kms:Decrypt": "*",
    }
    assert "s3:GetObject" in read
    assert "s3:PutObject" not in read


def actions(role: AssumedRole) -> dict[str, str]:
    policy: dict[str, Any] = json.loads(role.policy)
    assert len(role.policy) <= 2_048
    return {action: each["Resource"] for each in policy["Statement"] for action in each["Action"]}


async def test_a_signed_request_never_outlives_its_session(
    moto: str, tmp_path: Path, http: aiohttp.ClientSession, keyring: Keyring
) -> None:
    place = destination_in(
        tmp_path, moto, f'default = {{role_arn = "{ROLE}", duration = "15m", sts_endpoint = "{{moto}}"}}'
    )

    put = await opened(place, http, keyring).put(timedelta(hours=12))

    ends = next(role for role in assumed() if role.access_key_id == access_key(put)).expiration.replace(tzinfo=UTC)
    query = parse_qs(urlsplit(put.url).query)
    begins = datetime.strptime(query["X-Amz-Date"][0], "%Y%m%dT%H%M%S%z")
    assert put.expires_at == begins + timedelta(seconds=int(query["X-Amz-Expires"][0])) <= ends


async def test_a_role_is_assumed_by_a_role_that_is_assumed_by_a_key(
    moto: str, tmp_path: Path, http: aiohttp.ClientSession, keyring: Keyring
) -> None:
    place = destination_in(
        tmp_path,
        moto,
        f"""
[destinations.eu.credentials.default]
role_arn = "{ROLE}"
session_policy = "none"
role_session_name = "ours"
sts_endpoint = "{{moto}}"
[destinations.eu.credentials.default.source]
role_arn = "{HUB_ROLE}"
sts_endpoint = "{{moto}}"
[destinations.eu.credentials.default.source.source]
access_key_id = "AKIAHUB"
secret_access_key = {{env = "HUB_SECRET"}}
""",
    )

    put, get = (await opened(place, http, keyring).put()), (await opened(place, http, keyring).get())

    # By name: what a test before us asked for in the background may still arrive.
    (ours,), (hub,) = [role for role in assumed() if role.session_name == "ours"], assumed(HUB)
    assert access_key(put) == access_key(get) == ours.access_key_id
    assert ours.policy is None
    assert (hub.session_name, hub.policy) == ("upload-broker", None)


async def test_destinations_that_share_a_source_share_its_refresh(
    moto: str, tmp_path: Path, http: aiohttp.ClientSession, keyring: Keyring
) -> None:
    path = tmp_path / "broker.toml"
    sts = f'sts_endpoint = "{moto}"'
    credentials = f'{{role_arn = "{ROLE}", {sts}, source = {{role_arn = "{HUB_ROLE}", {sts}}}}}'
    path.write_text(
        "\n".join(
            f'[destinations.d{number}]\ndialect = "aws"\nbucket = "acme-{number}"\nregion = "eu-central-1"\n'
            f"credentials = {{default = {credentials}}}"
            for number in range(8)
        )
    )
    buckets = buckets_of(load(path, {}).destinations, http, SystemClock(), keyring)

    keys = {access_key(request) for request in await asyncio.gather(*(Opened(each).put() for each in buckets.values()))}

    assert len(keys) == 8
    assert len(assumed(HUB)) == 1


async def test_a_role_by_a_web_identity_is_asked_for_with_the_file_as_it_is_now(
    tmp_path: Path, http: aiohttp.ClientSession, moto: str, keyring: Keyring
) -> None:
    (tmp_path / "token").write_text("header.payload.signature\n")
    place = destination_in(
        tmp_path,
        moto,
        f'default = {{role_arn = "{ROLE}", web_identity_token_file = "{tmp_path}/token", sts_endpoint = "{{moto}}"}}',
    )

    put = await opened(place, http, keyring).put()

    assert access_key(put) in {role.access_key_id for role in assumed()}


async def test_the_chain_itself_finds_a_web_identity(
    moto: str, tmp_path: Path, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a Kubernetes pod, whose environment names the role."""
    (tmp_path / "token").write_text("header.payload.signature")
    for name, value in {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        "AWS_ROLE_ARN": ROLE,
        "AWS_ENDPOINT_URL_STS": moto,
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")

    found = await keyring.of(CredentialSettings(), Use(place="x", region="eu-central-1")).current(datetime.now(UTC))

    assert found.access_key in {role.access_key_id for role in assumed()}
    assert found.expires_at is not None


async def test_a_client_of_another_service_signs_with_the_same_credential(moto: str, keyring: Keyring) -> None:
    role = CredentialSettings(role_arn=ROLE, sts_endpoint=moto)
    session = keyring.session(role, Use(place="sources.queue.credentials", region="eu-central-1"))

    who = await asyncio.to_thread(
        lambda: session.create_client("sts", region_name="eu-central-1", endpoint_url=moto).get_caller_identity()
    )

    assert who["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/uploads/upload-broker"


# --- what STS says when it says no -------------------------------------------------------------------------


def refusal(code: str) -> bytes:
    return (
        f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
        f"<Code>{code}</Code><Message>User {CANARY} may not</Message></Error></ErrorResponse>"
    ).encode()


@pytest.mark.parametrize(
    ("status", "code", "fix"),
    [
        (403, "AccessDenied", "trust policy.*ExternalId.*sts:AssumeRole"),
        (400, "ValidationError", "maximum session duration"),
        (400, "PackedPolicyTooLarge", "session policy"),
        (403, "InvalidClientTokenId", "own credential is not valid"),
        (403, "SomethingNew", "API Reference"),
    ],
)
async def test_a_refusal_names_destination_right_and_code_and_what_to_mend(
    tmp_path: Path,
    http: aiohttp.ClientSession,
    keyring: Keyring,
    caplog: pytest.LogCaptureFixture,
    status: int,
    code: str,
    fix: str,
) -> None:
    caplog.set_level(logging.INFO)
    with answering({("POST", "/"): (status, refusal(code))}) as (url, _):
        place = destination_in(
            tmp_path,
            url,
            f'default = {{role_arn = "{ROLE}", external_id = {{env = "PARTNER_ID"}}, sts_endpoint = "{{moto}}"}}',
        )
        with pytest.raises(CredentialsUnavailable) as raised:
            await opened(place, http, keyring).put()

    said = raised.value.detail
    assert said.startswith(f"destinations.eu.credentials.write: STS answers {code} to AssumeRole of {ROLE}: ")
    (line,) = [each for each in caplog.records if vars(each).get("credentials") == "destinations.eu.credentials.write"]
    assert re.search(fix, said)
    assert vars(line)["reason"] in said
    everything = said + caplog.text + "".join(str(vars(each)) for each in caplog.records)
    for secret in (CANARY, "external-id-of-the-partner"):
        assert secret not in everything


async def test_an_sts_that_is_not_there_is_said_so(
    tmp_path: Path, http: aiohttp.ClientSession, keyring: Keyring
) -> None:
    place = destination_in(
        tmp_path, "http://127.0.0.1:9", f'default = {{role_arn = "{ROLE}", sts_endpoint = "{{moto}}"}}'
    )

    with pytest.raises(CredentialsUnavailable, match=r"STS does not answer AssumeRole .* \(EndpointConnectionError\)"):
        await opened(place, http, keyring).put()


async def test_a_source_that_has_nothing_is_named_with_the_role_that_wanted_it(
    moto: str, tmp_path: Path, http: aiohttp.ClientSession, keyring: Keyring, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    place = destination_in(tmp_path, moto, f'default = {{role_arn = "{ROLE}", sts_endpoint = "{{moto}}"}}')

    with pytest.raises(
        CredentialsUnavailable,
        match=rf"^destinations.eu.credentials.write: nothing to assume {ROLE} with: .*\.source.*finds no credentials",
    ):
        await opened(place, http, keyring).put()


async def test_a_token_file_that_is_gone_is_named(moto: str, tmp_path: Path, keyring: Keyring) -> None:
    role = CredentialSettings(role_arn=ROLE, sts_endpoint=moto, web_identity_token_file=str(tmp_path / "nowhere"))

    with pytest.raises(CredentialsUnavailable, match=r"nowhere cannot be read: No such file"):
        await keyring.of(role, Use(place="x", region="eu-central-1")).current(datetime.now(UTC))


async def test_no_repr_tells_a_secret(moto: str, keyring: Keyring) -> None:
    role = CredentialSettings(role_arn=ROLE, sts_endpoint=moto, external_id="external-id-of-the-partner")
    held: Any = keyring.of(role, Use(place="x", region="eu-central-1"))
    credential: Credential = await held.current(datetime.now(UTC))

    said = repr((credential, held, vars(held), held._source, vars(keyring)))
    assert credential.secret_key not in said
    assert str(credential.session_token) not in said
    assert "external-id-of-the-partner" not in said.replace(repr(role), "")
