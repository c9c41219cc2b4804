"""Tokens and signatures of another service account: granted link by link, and really signed."""

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate
from google.auth import exceptions, impersonated_credentials
from google.auth.transport.requests import Request
from google.oauth2 import id_token, service_account

from emulators.google_iam.process import GoogleIamProcess
from tests.emulators.google_iam.conftest import (
    BROKER,
    CLOUD_PLATFORM,
    DOMAIN,
    FAR,
    GRANTS,
    MIDDLE,
    READER,
    WRITER,
    Impersonate,
    account,
    control,
    info,
    post,
    source_of,
)
from tests.emulators.wire import exchange

NOBODY = f"nobody{DOMAIN}"


def certificates(iam: GoogleIamProcess, email: str) -> dict[str, str]:
    answer = exchange(iam.endpoint, "GET", f"/robot/v1/metadata/x509/{email}")
    found: dict[str, str] = json.loads(answer.body)
    return found


def public_key(pem: str) -> rsa.RSAPublicKey:
    key = load_pem_x509_certificate(pem.encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key


def test_token_is_of_the_target_and_ends_when_it_says(
    iam: GoogleIamProcess, impersonate: Impersonate, request_: Request
) -> None:
    credentials = impersonate(WRITER, lifetime=600)
    credentials.refresh(request_)
    told = info(iam, str(credentials.token))
    assert (told["email"], told["scope"]) == (WRITER, CLOUD_PLATFORM)
    assert 590 <= told["expires_in"] <= 600
    expiry = credentials.expiry.replace(tzinfo=UTC)
    assert timedelta(seconds=590) <= expiry - datetime.now(UTC) <= timedelta(seconds=600)


@pytest.mark.parametrize("target", [READER, FAR, NOBODY, BROKER])
def test_nothing_is_allowed_that_was_not_granted(impersonate: Impersonate, request_: Request, target: str) -> None:
    """Delegation alone, a grant of somebody else, no such account, oneself."""
    with pytest.raises(exceptions.RefreshError, match=r"getAccessToken.* denied"):
        impersonate(target).refresh(request_)


def test_a_chain_of_delegates_is_followed_link_by_link(
    iam: GoogleIamProcess, impersonate: Impersonate, request_: Request
) -> None:
    credentials = impersonate(FAR, MIDDLE)
    credentials.refresh(request_)
    assert info(iam, str(credentials.token))["email"] == FAR
    for chain in ((FAR, WRITER), (FAR, MIDDLE, READER), (WRITER, READER)):
        with pytest.raises(exceptions.RefreshError, match="denied on resource"):
            impersonate(*chain).refresh(request_)


def test_a_missing_link_and_a_missing_last_grant_are_told_apart(iam: GoogleIamProcess, token: str) -> None:
    def message(target: str, *chain: str) -> str:
        delegates = [f"projects/-/serviceAccounts/{each}" for each in chain]
        body = {"scope": [CLOUD_PLATFORM], "delegates": delegates}
        answer = post(iam, account("generateAccessToken", target), body, token)
        assert answer.status == 403
        return str(json.loads(answer.body)["error"]["message"])

    assert "iam.serviceAccounts.implicitDelegation" in message(WRITER, FAR)
    assert "iam.serviceAccounts.getAccessToken" in message(FAR, READER)


def test_grants_can_be_taken_and_given(iam: GoogleIamProcess, impersonate: Impersonate, request_: Request) -> None:
    all_grants = {
        name: [f"{source}={each}" for source, targets in table.items() for each in targets]
        for name, table in GRANTS.items()
    }
    control(iam, "PUT", "grants", {})
    try:
        with pytest.raises(exceptions.RefreshError, match="denied"):
            impersonate(WRITER).refresh(request_)
    finally:
        control(iam, "PUT", "grants", all_grants)
    impersonate(WRITER).refresh(request_)


def test_signature_is_of_the_targets_key_that_is_published(iam: GoogleIamProcess, impersonate: Impersonate) -> None:
    signature = impersonate(WRITER).sign_bytes(b"payload")
    keys = [public_key(each) for each in certificates(iam, WRITER).values()]
    assert [key.key_size for key in keys] == [2048]
    keys[0].verify(signature, b"payload", padding.PKCS1v15(), hashes.SHA256())
    assert certificates(iam, WRITER).keys().isdisjoint(certificates(iam, FAR))


def test_key_id_names_the_key_that_signed_also_after_a_rotation(iam: GoogleIamProcess, token: str) -> None:
    def sign() -> str:
        answer = post(iam, account("signBlob"), {"payload": base64.b64encode(b"x").decode()}, token)
        signed = json.loads(answer.body)
        key = public_key(certificates(iam, WRITER)[signed["keyId"]])
        key.verify(base64.b64decode(signed["signedBlob"]), b"x", padding.PKCS1v15(), hashes.SHA256())
        return str(signed["keyId"])

    old = sign()
    assert sign() == old
    assert control(iam, "POST", "rotate", {"email": WRITER})["keyId"] == sign() != old
    assert old in certificates(iam, WRITER)
    control(iam, "POST", "rotate", {"email": WRITER, "forget": True})
    assert set(certificates(iam, WRITER)) == {sign()}


def test_id_token_is_verified_by_google_auth(impersonate: Impersonate, request_: Request) -> None:
    credentials = impersonated_credentials.IDTokenCredentials(
        impersonate(WRITER), target_audience="https://broker", include_email=True
    )
    credentials.refresh(request_)
    claims = id_token.verify_oauth2_token(credentials.token, request_, audience="https://broker")
    assert (claims["email"], claims["email_verified"], claims["iss"]) == (WRITER, True, "https://accounts.google.com")


def test_permissions_are_those_of_the_caller(iam: GoogleIamProcess, token: str) -> None:
    asked = [f"iam.serviceAccounts.{each}" for each in ("getAccessToken", "signBlob", "implicitDelegation", "delete")]

    def held(email: str, project: str = "-") -> list[str]:
        path = f"/v1/projects/{project}/serviceAccounts/{email}:testIamPermissions"
        answer = post(iam, path, {"permissions": asked}, token)
        assert answer.status == 200, answer.body
        return list(json.loads(answer.body).get("permissions", ()))

    assert held(WRITER) == held(WRITER, "emulated") == asked[:3]
    assert held(READER) == asked[2:3]
    assert held(FAR) == []


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("generateAccessToken", b"nonsense"),
        ("generateAccessToken", b'{"scope": "\xff"}'),
        ("generateAccessToken", {}),
        ("generateAccessToken", {"scope": []}),
        ("generateAccessToken", {"scope": ["cloud-platform"]}),
        ("generateAccessToken", {"scope": CLOUD_PLATFORM}),
        ("generateAccessToken", {"scope": [CLOUD_PLATFORM], "lifetime": 3600}),
        ("generateAccessToken", {"scope": [CLOUD_PLATFORM], "lifetime": "3600"}),
        ("generateAccessToken", {"scope": [CLOUD_PLATFORM], "lifetime": "3601s"}),
        ("generateAccessToken", {"scope": [CLOUD_PLATFORM], "lifetime": "0s"}),
        ("generateAccessToken", {"scope": [CLOUD_PLATFORM], "delegates": [MIDDLE]}),
        ("generateAccessToken", {"scope": [CLOUD_PLATFORM], "audience": "x"}),
        ("signBlob", {}),
        ("signBlob", {"payload": ""}),
        ("signBlob", {"payload": "not base64"}),
        ("signBlob", {"payload": "YQ"}),
        ("signBlob", {"payload": "YQ==", "scope": []}),
        ("generateIdToken", {}),
        ("generateIdToken", {"audience": "a", "include_email": True}),
    ],
)
def test_a_body_that_is_wrong_is_refused_as_google_does(
    iam: GoogleIamProcess, token: str, verb: str, body: object
) -> None:
    answer = post(iam, account(verb), body, token)
    error = json.loads(answer.body)["error"]
    assert (answer.status, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert error["message"]


def test_a_body_that_is_no_json_by_its_type_or_too_long_is_refused(iam: GoogleIamProcess, token: str) -> None:
    body = {"payload": "YQ=="}
    assert post(iam, account("signBlob"), body, token, **{"Content-Type": "text/plain"}).status == 400
    assert post(iam, account("signBlob"), {"payload": "A" * 100_000}, token).status == 413


def test_a_project_where_the_wildcard_must_be_is_refused(iam: GoogleIamProcess, token: str) -> None:
    path = account("signBlob").replace("/-/", "/emulated/")
    assert post(iam, path, {"payload": "YQ=="}, token).status == 400


def test_a_token_made_for_something_else_may_not_impersonate(iam: GoogleIamProcess, request_: Request) -> None:
    storage = source_of(iam, scope="https://www.googleapis.com/auth/devstorage.read_only")
    storage.refresh(request_)
    answer = post(iam, account("signBlob"), {"payload": "YQ=="}, str(storage.token))
    assert (answer.status, json.loads(answer.body)["error"]["status"]) == (403, "PERMISSION_DENIED")


def test_another_service_account_has_not_the_brokers_grants(iam: GoogleIamProcess, request_: Request) -> None:
    other: service_account.Credentials = source_of(iam, READER)
    other.refresh(request_)
    assert post(iam, account("signBlob"), {"payload": "YQ=="}, str(other.token)).status == 403


def test_no_token_and_a_token_that_was_altered_are_refused(iam: GoogleIamProcess, token: str) -> None:
    body = {"payload": "YQ=="}
    altered = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
    for each in (None, "", "ya29.made-up", altered, token.removeprefix("ya29."), f"{token}A"):
        answer = post(iam, account("signBlob"), body, each)
        assert (answer.status, json.loads(answer.body)["error"]["status"]) == (401, "UNAUTHENTICATED"), each
    assert post(iam, account("signBlob"), body, None, Authorization=f"Basic {token}").status == 401
    assert post(iam, account("signBlob"), body, token).status == 200


def test_what_does_not_exist_is_404(iam: GoogleIamProcess, token: str) -> None:
    assert exchange(iam.endpoint, "GET", account("allowedLocations").replace(":", "/")).status == 404
    assert exchange(iam.endpoint, "GET", account("signBlob")).status == 404
    assert exchange(iam.endpoint, "GET", f"/robot/v1/metadata/x509/{NOBODY}").status == 404
    assert post(iam, account("signNothing"), {}, token).status == 404
