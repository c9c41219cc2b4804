"""Where a caller's own token comes from: key file, metadata server, workload identity. And what is refused there."""

import json
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import compute_engine, crypt, exceptions, identity_pool, impersonated_credentials, jwt
from google.auth.compute_engine import _metadata
from google.auth.transport.requests import Request
from google.oauth2 import id_token, service_account

from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from emulators.google_iam.settings import WORKLOAD_PRINCIPAL
from tests.emulators.google_iam.conftest import BROKER, CLOUD_PLATFORM, READER, WRITER, counters, info
from tests.emulators.wire import Answer, exchange

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def assertion(iam: GoogleIamProcess, signer: Any = None, **claims: Any) -> str:
    """As google-auth makes it; `claims` replace its own, None leaves one out."""
    now = int(time.time())
    usual = {
        "iss": BROKER,
        "aud": f"{iam.endpoint}/token",
        "iat": now,
        "exp": now + 3600,
        "scope": CLOUD_PLATFORM,
    }
    told = {name: value for name, value in (usual | claims).items() if value is not None}
    own = crypt.RSASigner.from_service_account_file(str(iam.key_files[BROKER]))
    return str(jwt.encode(signer or own, told).decode())


def ask(iam: GoogleIamProcess, text: str, path: str = "/token", **fields: str) -> Answer:
    usual = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": text}
    return exchange(iam.endpoint, "POST", path, FORM, urlencode(usual | fields).encode())


def error(answer: Answer) -> tuple[int, str]:
    return answer.status, json.loads(answer.body)["error"]


def test_key_file_makes_a_token(iam: GoogleIamProcess, source: service_account.Credentials, request_: Request) -> None:
    before = counters(iam)["requests"].get("token", 0)
    source.refresh(request_)
    told = info(iam, str(source.token))
    assert (told["email"], told["scope"]) == (BROKER, CLOUD_PLATFORM)
    assert 3590 <= told["expires_in"] <= 3600
    assert counters(iam)["requests"]["token"] == before + 1


def test_key_file_makes_an_id_token(iam: GoogleIamProcess, request_: Request) -> None:
    credentials = service_account.IDTokenCredentials.from_service_account_file(
        str(iam.key_files[BROKER]), target_audience="https://broker"
    )
    credentials.refresh(request_)
    assert id_token.verify_oauth2_token(credentials.token, request_, "https://broker")["email"] == BROKER


def test_a_good_assertion_is_taken(iam: GoogleIamProcess) -> None:
    """What the refusals below are measured against."""
    assert ask(iam, assertion(iam)).status == 200
    assert ask(iam, assertion(iam, aud="https://oauth2.googleapis.com/token")).status == 200
    assert ask(iam, assertion(iam, sub=BROKER)).status == 200


@pytest.mark.parametrize(
    ("claims", "refused"),
    [
        ({"aud": "https://elsewhere.example/token"}, "invalid_grant"),
        ({"aud": None}, "invalid_grant"),
        ({"iss": WRITER}, "invalid_grant"),  # exists, and has no key file
        ({"iss": "nobody@emulated.iam.gserviceaccount.com"}, "invalid_grant"),
        ({"iss": READER}, "invalid_grant"),  # signed with somebody else's key
        ({"iss": 7}, "invalid_grant"),
        ({"iat": -7200, "exp": -3600}, "invalid_grant"),
        ({"iat": 600, "exp": 900}, "invalid_grant"),
        ({"exp": 4000}, "invalid_grant"),
        ({"exp": None}, "invalid_grant"),
        ({"iat": "now"}, "invalid_grant"),
        ({"scope": None}, "invalid_scope"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "everything"}, "invalid_scope"),
    ],
)
def test_an_assertion_that_says_the_wrong_thing_is_refused(
    iam: GoogleIamProcess, claims: Mapping[str, Any], refused: str
) -> None:
    now = time.time()  # moments are said in seconds from now: this list is made long before it is run
    claims = {name: now + value if name in {"iat", "exp"} and isinstance(value, int) else value
              for name, value in claims.items()}  # fmt: skip
    assert error(ask(iam, assertion(iam, **claims))) == (400, refused)


def test_an_assertion_for_another_subject_is_refused(iam: GoogleIamProcess) -> None:
    assert error(ask(iam, assertion(iam, sub=WRITER))) == (401, "unauthorized_client")


def test_an_assertion_that_is_not_signed_is_refused(iam: GoogleIamProcess) -> None:
    good = assertion(iam)
    head, body, signature = good.split(".")
    stranger = crypt.RSASigner(rsa.generate_private_key(public_exponent=65_537, key_size=2048))
    unsigned = "eyJhbGciOiJub25lIn0"  # {"alg":"none"}
    with_mac = "eyJhbGciOiJIUzI1NiJ9"  # {"alg":"HS256"}
    for bad in (
        assertion(iam, signer=stranger),
        f"{unsigned}.{body}.",
        f"{with_mac}.{body}.{signature}",
        f"{head}.{body}.{signature[:-8]}AAAAAAAA",
        f"{head}.{body}",
        f"{head}.{body}.{signature}=",
        "",
        "a.b.c",
        "ä.ö.ü",
    ):
        assert error(ask(iam, bad)) == (400, "invalid_grant"), bad


def test_a_form_that_is_wrong_is_refused(iam: GoogleIamProcess) -> None:
    good = assertion(iam)
    assert error(ask(iam, good, grant_type="password")) == (400, "unsupported_grant_type")
    twice = f"grant_type=x&grant_type=y&assertion={good}".encode()
    for headers, body in (
        (FORM, twice),
        (FORM, b"nonsense"),
        (FORM, b"\xff=1"),
        ({"Content-Type": "text/plain"}, twice),
    ):
        assert error(exchange(iam.endpoint, "POST", "/token", headers, body)) == (400, "invalid_request")


def test_metadata_server_speaks_for_its_account(iam: GoogleIamProcess, request_: Request) -> None:
    assert _metadata.ping(request_)
    assert _metadata.get_project_id(request_) == "emulated"
    credentials = compute_engine.Credentials(scopes=[CLOUD_PLATFORM])
    credentials.refresh(request_)
    assert info(iam, str(credentials.token))["email"] == credentials.service_account_email == BROKER
    mine = compute_engine.IDTokenCredentials(request_, "https://broker", use_metadata_identity_endpoint=True)
    mine.refresh(request_)
    assert id_token.verify_oauth2_token(mine.token, request_, "https://broker")["email"] == BROKER


def test_metadata_server_wants_its_header_and_no_proxy(iam: GoogleIamProcess) -> None:
    flavor = {"Metadata-Flavor": "Google"}
    path = "/computeMetadata/v1/instance/service-accounts/default/token"
    assert exchange(iam.endpoint, "GET", path).status == 403
    assert exchange(iam.endpoint, "GET", path, flavor | {"X-Forwarded-For": "10.0.0.1"}).status == 403
    assert exchange(iam.endpoint, "POST", path, flavor).status == 405
    assert exchange(iam.endpoint, "GET", path, flavor).headers["metadata-flavor"] == "Google"
    for missing in (path.replace("default", WRITER), path.replace("token", "nothing"), "/computeMetadata/v1/nothing"):
        assert exchange(iam.endpoint, "GET", missing, flavor).status == 404


@pytest.mark.parametrize("kind", ["workload_identity_file", "workload_identity_url_file"])
def test_workload_identity_makes_a_token_and_may_impersonate_what_was_granted(
    iam: GoogleIamProcess, request_: Request, kind: str
) -> None:
    credentials = identity_pool.Credentials.from_file(str(getattr(iam, kind)), scopes=[CLOUD_PLATFORM])
    credentials.refresh(request_)
    assert info(iam, str(credentials.token))["email"] == WORKLOAD_PRINCIPAL
    writer = impersonated_credentials.Credentials(credentials, WRITER, [CLOUD_PLATFORM], lifetime=600)
    writer.refresh(request_)
    assert info(iam, str(writer.token))["email"] == WRITER
    with pytest.raises(exceptions.RefreshError, match="denied"):
        impersonated_credentials.Credentials(credentials, READER, [CLOUD_PLATFORM]).refresh(request_)


def exchanged(iam: GoogleIamProcess, **fields: str | None) -> Answer:
    config = json.loads(iam.workload_identity_file.read_text())
    told = {
        "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
        "audience": config["audience"],
        "scope": CLOUD_PLATFORM,
        "requested_token_type": "urn:ietf:params:oauth:token-type:access_token",
        "subject_token": exchange(iam.endpoint, "GET", "/_emulator/subject-token").body.decode(),
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
    } | fields
    body = urlencode({name: value for name, value in told.items() if value is not None})
    return exchange(iam.endpoint, "POST", "/v1/token", FORM, body.encode())


@pytest.mark.parametrize(
    ("fields", "refused"),
    [
        ({"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer"}, "unsupported_grant_type"),
        ({"requested_token_type": None}, "invalid_request"),
        ({"subject_token_type": "urn:ietf:params:aws:token-type:aws4_request"}, "invalid_request"),
        (
            {"audience": WORKLOAD_PRINCIPAL},
            "invalid_target",
        ),
        ({"scope": "everything"}, "invalid_scope"),
        ({"subject_token": "made.up.token"}, "invalid_grant"),
        ({"subject_token": None}, "invalid_grant"),
    ],
)
def test_an_exchange_that_asks_for_the_wrong_thing_is_refused(
    iam: GoogleIamProcess, fields: Mapping[str, str | None], refused: str
) -> None:
    assert exchanged(iam).status == 200
    assert error(exchanged(iam, **fields)) == (400, refused)


def test_a_token_of_google_is_no_subject_token(iam: GoogleIamProcess) -> None:
    asked = json.dumps({"email": BROKER, "audience": "x"}).encode()
    token = json.loads(exchange(iam.endpoint, "POST", "/_emulator/id-tokens", body=asked).body)["token"]
    assert error(exchanged(iam, subject_token=token)) == (400, "invalid_grant")


def test_a_token_expires(request_: Request) -> None:
    with start_google_iam(accounts=(BROKER,), arguments=("--token-seconds=1",)) as iam:
        source = service_account.Credentials.from_service_account_file(
            str(iam.key_files[BROKER]), scopes=[CLOUD_PLATFORM]
        )
        source.refresh(request_)
        assert info(iam, str(source.token))["email"] == BROKER
        deadline = time.monotonic() + 5
        while info(iam, str(source.token)) != 400:
            assert time.monotonic() < deadline
            time.sleep(0.05)
