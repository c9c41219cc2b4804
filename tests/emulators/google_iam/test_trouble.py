"""Each misbehaviour is the one that was asked for; keys, tokens and certificates outlive the process."""

import base64
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_pem_x509_certificate
from google.auth import exceptions
from google.auth.transport.requests import Request
from google.oauth2 import id_token, service_account

from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.emulators.google_iam.conftest import (
    BROKER,
    CLOUD_PLATFORM,
    WRITER,
    Impersonate,
    account,
    control,
    counters,
    info,
    post,
)
from tests.emulators.wire import Answer, exchange

COMMAND = (sys.executable, "-m", "emulators", "google-iam")


def sign(iam: GoogleIamProcess, token: str) -> Answer:
    return post(iam, account("signBlob"), {"payload": "YQ=="}, token)


@pytest.mark.parametrize(
    ("kind", "status", "word"),
    [
        ("unauthorized", 401, "UNAUTHENTICATED"),
        ("forbidden", 403, "PERMISSION_DENIED"),
        ("exhausted", 429, "RESOURCE_EXHAUSTED"),
        ("internal", 500, "INTERNAL"),
        ("unavailable", 503, "UNAVAILABLE"),
    ],
)
def test_a_refusal_is_the_one_that_was_asked_for(
    iam: GoogleIamProcess, token: str, kind: str, status: int, word: str
) -> None:
    control(iam, "PUT", "faults", {kind: 1, "routes": ["signBlob"]})
    answer = sign(iam, token)
    assert (answer.status, json.loads(answer.body)["error"]["status"]) == (status, word)
    assert post(iam, account("generateAccessToken"), {"scope": [CLOUD_PLATFORM]}, token).status == 200
    assert counters(iam)["faults"][kind] >= 1
    control(iam, "POST", "faults", {})
    assert sign(iam, token).status == 200


def test_an_answer_is_garbled_or_never_comes(iam: GoogleIamProcess, token: str) -> None:
    control(iam, "PUT", "faults", {"garbled": 1})
    answer = sign(iam, token)
    assert answer.status == 200
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)
    control(iam, "PUT", "faults", {"hung_up": 1})
    with pytest.raises(ConnectionResetError):
        sign(iam, token)


def test_a_script_is_answered_in_its_order_and_then_no_more(iam: GoogleIamProcess, token: str) -> None:
    control(iam, "PUT", "faults", {"script": {"signBlob": [403, 0, 429, 502]}})
    assert [sign(iam, token).status for _ in range(6)] == [403, 200, 429, 502, 200, 200]


def test_signatures_above_the_quota_are_refused_until_the_second_is_over(iam: GoogleIamProcess, token: str) -> None:
    control(iam, "PUT", "faults", {"signs_per_second": 3})
    assert [sign(iam, token).status for _ in range(4)] == [200, 200, 200, 429]
    deadline = time.monotonic() + 5
    while sign(iam, token).status != 200:
        assert time.monotonic() < deadline


def test_certificates_go_wrong_only_by_name(iam: GoogleIamProcess) -> None:
    control(iam, "PUT", "faults", {"unavailable": 1})
    assert exchange(iam.endpoint, "GET", "/oauth2/v1/certs").status == 200
    control(iam, "PUT", "faults", {"unavailable": 1, "routes": ["certs"]})
    assert exchange(iam.endpoint, "GET", "/oauth2/v1/certs").status == 503
    assert exchange(iam.endpoint, "GET", f"/robot/v1/metadata/x509/{WRITER}").status == 200


def test_google_auth_sees_the_refusal(iam: GoogleIamProcess, impersonate: Impersonate, request_: Request) -> None:
    control(iam, "PUT", "faults", {"script": {"generateAccessToken": [429]}})
    with pytest.raises(exceptions.RefreshError, match="RESOURCE_EXHAUSTED"):
        impersonate(WRITER).refresh(request_)


def test_latency_is_what_a_signature_takes(request_: Request) -> None:
    grants = {BROKER: (WRITER,)}
    with start_google_iam(accounts=(BROKER,), impersonate=grants, latency_ms=50) as iam:
        source = service_account.Credentials.from_service_account_file(
            str(iam.key_files[BROKER]), scopes=[CLOUD_PLATFORM]
        )
        source.refresh(request_)
        start = time.monotonic()
        assert sign(iam, str(source.token)).status == 200
        assert time.monotonic() - start >= 0.05
        info(iam, str(source.token))
        assert counters(iam)["signatures"] == {WRITER: 1}


def test_keys_and_tokens_are_good_after_a_crash(tmp_path: Path, request_: Request) -> None:
    def start() -> GoogleIamProcess:
        return start_google_iam(data=tmp_path, accounts=(BROKER,), impersonate={BROKER: (WRITER,)})

    def certificates() -> bytes:
        return exchange(iam.endpoint, "GET", f"/robot/v1/metadata/x509/{WRITER}").body

    with start() as iam:
        source = service_account.Credentials.from_service_account_file(
            str(iam.key_files[BROKER]), scopes=[CLOUD_PLATFORM]
        )
        source.refresh(request_)
        before, key_file = certificates(), json.loads(iam.key_files[BROKER].read_text())
        iam.kill()
    with start() as iam:
        assert info(iam, str(source.token))["email"] == BROKER
        assert sign(iam, str(source.token)).status == 200
        assert certificates() == before
        again = json.loads(iam.key_files[BROKER].read_text())
    assert again["private_key"] == key_file["private_key"]
    assert {path.stat().st_mode & 0o077 for path in tmp_path.rglob("*.json")} == {0}


def test_certificates_of_the_issuer_come_in_both_shapes_and_say_how_long_they_are_good(
    iam: GoogleIamProcess, request_: Request
) -> None:
    token = control(iam, "POST", "id-tokens", {"email": WRITER, "audience": "https://broker"})["token"]
    claims = id_token.verify_oauth2_token(token, request_, "https://broker")
    assert (claims["email"], claims["email_verified"]) == (WRITER, True)
    v1, v3 = (exchange(iam.endpoint, "GET", f"/oauth2/{shape}/certs") for shape in ("v1", "v3"))
    for answer in (v1, v3):
        assert answer.headers["cache-control"].startswith("public, max-age=3600")
    for key in json.loads(v3.body)["keys"]:
        public = load_pem_x509_certificate(json.loads(v1.body)[key["kid"]].encode()).public_key()
        assert isinstance(public, rsa.RSAPublicKey)
        numbers = rsa.RSAPublicNumbers(_integer(key["e"]), _integer(key["n"]))
        assert public.public_numbers() == numbers
        assert (key["kty"], key["alg"], key["use"]) == ("RSA", "RS256", "sig")


def _integer(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))


def test_a_test_may_have_any_id_token_it_wants(iam: GoogleIamProcess) -> None:
    claims = {"iss": "https://evil.example", "email_verified": False, "exp": 1, "iat": None}
    asked = {"email": WRITER, "audience": "a", "claims": claims}
    body = control(iam, "POST", "id-tokens", asked)["token"].split(".")[1]
    told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    assert (told["iss"], told["email_verified"], told["exp"], told["aud"]) == ("https://evil.example", False, 1, "a")
    assert "iat" not in told


def test_unknown_settings_are_refused(iam: GoogleIamProcess) -> None:
    for what, body in (("faults", b'{"nonsense": 1}'), ("faults", b'{"forbidden": 2}'), ("faults", b"\xff")):
        assert exchange(iam.endpoint, "PUT", f"/_emulator/{what}", body=body).status == 422
    assert exchange(iam.endpoint, "PUT", "/_emulator/grants", body=b'{"impersonate": ["x"]}').status == 422
    assert exchange(iam.endpoint, "GET", "/_emulator/nothing").status == 404
    assert exchange(iam.endpoint, "POST", "/_emulator/rotate", body=b'{"email": "../keys"}').status == 404


@pytest.mark.parametrize(
    "arguments",
    [
        ("--account", "no-address"),
        ("--account", "../../etc@x"),
        ("--impersonate", BROKER),
        ("--impersonate", f"{BROKER}=workload"),
        ("--latency-ms", "-1"),
        ("--token-seconds", "4000"),
        ("--faults", '{"nonsense": 1}'),
        ("--listen", "nowhere"),
    ],
)
def test_mistake_is_told_in_a_sentence(arguments: tuple[str, ...]) -> None:
    done = subprocess.run((*COMMAND, *arguments), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: ")


def test_one_json_line_when_ready_and_a_clean_end() -> None:
    with subprocess.Popen(
        (*COMMAND, "--json", "--listen=127.0.0.1:0", "--account", BROKER),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert set(ready) == {"endpoint", "key_files", "workload_identity_file", "workload_identity_url_file"}
    assert list(ready["key_files"]) == [BROKER]
    assert not Path(ready["key_files"][BROKER]).exists()  # a directory of its own, gone with the process
    assert (process.returncode, out, err) == (0, b"", b"")


def test_two_do_not_share_a_directory(tmp_path: Path) -> None:
    with start_google_iam(data=tmp_path, accounts=(BROKER,)):
        arguments = (*COMMAND, "--listen=127.0.0.1:0", f"--data={tmp_path}")
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, "another emulator" in done.stderr) == (1, True)
