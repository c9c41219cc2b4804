"""IAM is asked again while it may be different the next time, and never for ever."""

import asyncio
import base64
import logging
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from broker.clock import SystemClock
from broker.domain.errors import CredentialsUnavailable, SigningQuotaExhausted
from broker.storage.gcs.iam import IamCredentials, Patience
from broker.storage.gcs.impersonation import Impersonated, ImpersonatedSource
from tests.unit.storage.gcs.iam_peer import SECRET, Iam, Tokens, running_iam
from tests.unit.storage.gcs.signing_peer import rsa_key

WRITER = "uploads-writer@acme.iam.gserviceaccount.com"
SCOPES = ("https://www.googleapis.com/auth/devstorage.read_write",)
QUICK = Patience(first=timedelta(milliseconds=2), longest=timedelta(milliseconds=8))


@pytest.fixture
async def iam() -> AsyncIterator[Iam]:
    async with running_iam() as iam:
        yield iam


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
async def client(iam: Iam, tokens: Tokens) -> AsyncIterator[IamCredentials]:
    async with aiohttp.ClientSession() as http:
        yield IamCredentials(http=http, source=tokens, clock=SystemClock(), endpoint=iam.endpoint, patience=QUICK)


async def test_a_blob_is_signed_by_the_key_of_the_account(client: IamCredentials, iam: Iam) -> None:
    signature = await client.sign_blob(WRITER, b"what is signed")

    rsa_key().public_key().verify(signature.value, b"what is signed", PKCS1v15(), SHA256())
    assert signature.key_id == "k1"
    assert repr(signature) == "Signature(key_id='k1')"
    assert iam.asked == [
        (
            f"/v1/projects/-/serviceAccounts/{WRITER}:signBlob",
            f"Bearer {SECRET}-1",
            {"payload": base64.b64encode(b"what is signed").decode(), "delegates": []},
        )
    ]


async def test_a_token_is_asked_for_its_scope_and_an_hour_by_the_chain_of_delegates(
    client: IamCredentials, iam: Iam
) -> None:
    source = ImpersonatedSource(email=WRITER, iam=client, scopes=SCOPES, delegates=("a@acme.test", "b@acme.test"))

    token = await source.fetch()

    assert token.text == "ya29.target"
    assert abs(token.expires_at - datetime.now(UTC) - timedelta(hours=1)) < timedelta(seconds=30)
    assert [asked for _, _, asked in iam.asked] == [
        {
            "scope": list(SCOPES),
            "lifetime": "3600s",
            "delegates": ["projects/-/serviceAccounts/a@acme.test", "projects/-/serviceAccounts/b@acme.test"],
        }
    ]


async def test_a_signature_names_the_delegates_too(client: IamCredentials, iam: Iam) -> None:
    await Impersonated(email=WRITER, iam=client, delegates=("a@acme.test",)).sign(b"x")

    assert [asked["delegates"] for _, _, asked in iam.asked] == [["projects/-/serviceAccounts/a@acme.test"]]


@pytest.mark.parametrize("status", [0, 299, 429, 500, 502, 503, 504])
async def test_what_passes_is_asked_again(client: IamCredentials, iam: Iam, status: int) -> None:
    iam.answers.extend([status] * 4)

    await client.sign_blob(WRITER, b"x")

    assert len(iam.asked) == 5


@pytest.mark.parametrize("status", [0, 500, 503])
async def test_what_does_not_pass_is_not_asked_for_ever(client: IamCredentials, iam: Iam, status: int) -> None:
    iam.answers.extend([status] * 50)

    with pytest.raises(CredentialsUnavailable):
        await client.sign_blob(WRITER, b"x")

    assert len(iam.asked) == 5


async def test_a_quota_that_stays_exhausted_is_said_as_such(client: IamCredentials, iam: Iam) -> None:
    iam.answers.extend([429] * 50)

    with pytest.raises(SigningQuotaExhausted) as refusal:
        await client.sign_blob(WRITER, b"x")

    assert refusal.value.retry_after > timedelta()


async def test_a_token_that_is_limited_is_a_credential_that_is_missing(client: IamCredentials, iam: Iam) -> None:
    iam.answers.extend([429] * 50)

    with pytest.raises(CredentialsUnavailable, match="429"):
        await client.generate_access_token(WRITER, scopes=SCOPES, lifetime=timedelta(hours=1))


async def test_a_permission_that_was_just_given_is_asked_for_twice_again(client: IamCredentials, iam: Iam) -> None:
    iam.answers.extend([403, 403])

    await client.sign_blob(WRITER, b"x")

    assert len(iam.asked) == 3


async def test_a_permission_that_is_missing_is_said_with_what_to_mend(client: IamCredentials, iam: Iam) -> None:
    iam.answers.extend([403] * 50)

    with pytest.raises(CredentialsUnavailable, match=r"403 SOME_WORD to signBlob .*serviceAccountTokenCreator"):
        await client.sign_blob(WRITER, b"x")

    assert len(iam.asked) == 3


async def test_a_token_that_is_not_honoured_is_replaced_once(client: IamCredentials, iam: Iam) -> None:
    iam.answers.append(401)

    await client.sign_blob(WRITER, b"x")

    assert [authorization for _, authorization, _ in iam.asked] == [f"Bearer {SECRET}-1", f"Bearer {SECRET}-2"]
    iam.answers.extend([401] * 50)
    with pytest.raises(CredentialsUnavailable, match="401"):
        await client.sign_blob(WRITER, b"x")
    assert len(iam.asked) == 4


@pytest.mark.parametrize("status", [400, 404])
async def test_what_will_be_the_same_is_asked_once(client: IamCredentials, iam: Iam, status: int) -> None:
    iam.answers.extend([status] * 50)

    with pytest.raises(CredentialsUnavailable, match=str(status)):
        await client.sign_blob(WRITER, b"x")

    assert len(iam.asked) == 1


@pytest.mark.parametrize("body", [b"", b"{}", b'{"keyId": "k", "signedBlob": "not base64!"}', b"\xff", b"[" * 9_999])
async def test_an_answer_that_is_none_is_an_answer_all_the_same(client: IamCredentials, iam: Iam, body: bytes) -> None:
    iam.body = body

    with pytest.raises(CredentialsUnavailable, match="something else"):
        await client.sign_blob(WRITER, b"x")


async def test_more_than_anybody_asked_for_is_not_read(client: IamCredentials, iam: Iam) -> None:
    iam.body = b"x" * 2**21

    with pytest.raises(CredentialsUnavailable, match="more than"):
        await client.sign_blob(WRITER, b"x")


async def test_nobody_waits_longer_than_the_whole_patience(iam: Iam, tokens: Tokens) -> None:
    iam.answers.extend([503] * 1_000)
    slow = Patience(again=1_000, first=timedelta(seconds=2), whole=timedelta(milliseconds=50))
    async with aiohttp.ClientSession() as http:
        client = IamCredentials(http=http, source=tokens, clock=SystemClock(), endpoint=iam.endpoint, patience=slow)

        async with asyncio.timeout(5):
            with pytest.raises(CredentialsUnavailable, match="does not answer"):
                await client.sign_blob(WRITER, b"x")


async def test_pauses_grow_are_spread_and_stay_below_the_longest() -> None:
    patience = Patience(first=timedelta(milliseconds=100), longest=timedelta(seconds=1))

    for times, most in ((1, 0.1), (2, 0.2), (3, 0.4), (4, 0.8), (5, 1.0), (60, 1.0)):
        pauses = {patience.pause(times) for _ in range(50)}
        assert len(pauses) > 1
        assert all(most / 2 <= pause <= most for pause in pauses)


async def test_without_a_source_nothing_is_asked(client: IamCredentials, iam: Iam, tokens: Tokens) -> None:
    tokens.is_gone = True

    with pytest.raises(CredentialsUnavailable, match="the source has nothing"):
        await client.sign_blob(WRITER, b"x")

    assert iam.asked == []


@pytest.mark.parametrize("status", [0, 400, 401, 403, 429, 503])
async def test_no_secret_is_in_an_error_or_a_log(
    client: IamCredentials, iam: Iam, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    iam.answers.extend([status] * 50)

    with pytest.raises((CredentialsUnavailable, SigningQuotaExhausted)) as refusal:
        await client.sign_blob(WRITER, b"x")

    assert "canary" not in f"{refusal.value} {refusal.value.detail} {client!r} {caplog.text}"
