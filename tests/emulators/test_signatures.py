"""Each neighbour of what was signed is refused, and nothing is stored."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from emulators.process import S3Process
from tests.emulators.signing import Signer
from tests.emulators.wire import exchange

BODY = b"exactly these bytes"
SIGNED = {
    "content-length": str(len(BODY)),
    "content-type": "text/csv",
    "if-none-match": "*",
    "x-amz-meta-upload-session": "capsule",
}
IsStored = Callable[..., bool]


def test_request_sent_as_signed_is_accepted_once(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    target = signer.presign("PUT", f"/uploads/{key}", headers=SIGNED)
    assert exchange(s3.endpoint, "PUT", target, SIGNED, BODY).status == 200
    assert is_stored(key)
    again = exchange(s3.endpoint, "PUT", target, SIGNED, BODY)
    assert (again.status, again.code) == (412, "PreconditionFailed")


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        pytest.param({"content-type": "text/html"}, 403, "SignatureDoesNotMatch", id="other type"),
        pytest.param({"content-type": None}, 403, "SignatureDoesNotMatch", id="no type"),
        pytest.param({"if-none-match": None}, 403, "SignatureDoesNotMatch", id="not create-only"),
        pytest.param({"x-amz-meta-upload-session": "other"}, 403, "SignatureDoesNotMatch", id="other metadata"),
        pytest.param({"x-amz-meta-upload-session": None}, 403, "SignatureDoesNotMatch", id="no metadata"),
        pytest.param({"x-amz-meta-extra": "1"}, 403, "AccessDenied", id="more metadata"),
        pytest.param({"x-amz-copy-source": "/private/secret"}, 403, "AccessDenied", id="copy source"),
        pytest.param({"x-amz-acl": "public-read"}, 403, "AccessDenied", id="acl"),
        pytest.param({"x-amz-tagging": "a=b"}, 403, "AccessDenied", id="tagging"),
        pytest.param({"x-amz-storage-class": "GLACIER"}, 403, "AccessDenied", id="storage class"),
        pytest.param({"x-amz-website-redirect-location": "/x"}, 403, "AccessDenied", id="redirect"),
        pytest.param({"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, 403, "AccessDenied", id="payload header"),
        pytest.param({"host": "127.0.0.1:1"}, 403, "SignatureDoesNotMatch", id="other host"),
        pytest.param({"authorization": "AWS4-HMAC-SHA256 x"}, 400, "InvalidArgument", id="two mechanisms"),
    ],
)
def test_changed_headers_are_refused(
    s3: S3Process,
    signer: Signer,
    key: str,
    is_stored: IsStored,
    changed: dict[str, str | None],
    status: int,
    code: str,
) -> None:
    target = signer.presign("PUT", f"/uploads/{key}", headers=SIGNED)
    headers = {name: value for name, value in {**SIGNED, **changed}.items() if value is not None}
    answer = exchange(s3.endpoint, "PUT", target, headers, BODY)
    assert (answer.status, answer.code) == (status, code)
    assert not is_stored(key)


@pytest.mark.parametrize("body", [BODY + b"!", BODY[:-1], b""], ids=["longer", "shorter", "empty"])
def test_another_length_is_refused(s3: S3Process, signer: Signer, key: str, is_stored: IsStored, body: bytes) -> None:
    target = signer.presign("PUT", f"/uploads/{key}", headers=SIGNED)
    answer = exchange(s3.endpoint, "PUT", target, SIGNED | {"content-length": str(len(body))}, body)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert not is_stored(key)


@pytest.mark.parametrize(
    ("method", "edit"),
    [
        pytest.param("PUT", lambda target: target.replace("/uploads/", "/private/"), id="other bucket"),
        pytest.param("PUT", lambda target: target.replace("?", "-other?", 1), id="other key"),
        pytest.param("PUT", lambda target: target.replace("/uploads/", "//uploads/"), id="other path"),
        pytest.param("PUT", lambda target: target + "&x-id=PutObject", id="extra query"),
        pytest.param("PUT", lambda target: target + "&tagging", id="sub-resource"),
        pytest.param("PUT", lambda target: target.replace("X-Amz-Expires=300", "X-Amz-Expires=600"), id="longer life"),
        pytest.param("PUT", lambda target: target[:-4] + "0000", id="other signature"),
        pytest.param("PUT", lambda target: target.replace("OWNERKEY", "STRANGERKEY"), id="other signer"),
        pytest.param("POST", lambda target: target, id="post"),
        pytest.param("DELETE", lambda target: target, id="delete"),
        pytest.param("GET", lambda target: target, id="get"),
        pytest.param("HEAD", lambda target: target, id="head"),
    ],
)
def test_changed_targets_are_refused(
    s3: S3Process, signer: Signer, key: str, is_stored: IsStored, method: str, edit: Callable[[str], str]
) -> None:
    target = edit(signer.presign("PUT", f"/uploads/{key}", headers=SIGNED))
    answer = exchange(s3.endpoint, method, target, SIGNED, BODY)
    assert answer.status in {403, 405, 501}
    assert not is_stored(key)
    assert not is_stored(f"{key}-other")


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        pytest.param({"region": "eu-west-1"}, 400, "AuthorizationQueryParametersError", id="region"),
        pytest.param({"service": "iam"}, 400, "AuthorizationQueryParametersError", id="service"),
        pytest.param({"access_key": "NOBODY"}, 403, "InvalidAccessKeyId", id="unknown key"),
        pytest.param({"secret_key": "wrong"}, 403, "SignatureDoesNotMatch", id="wrong secret"),
        pytest.param({"token": "unexpected"}, 400, "InvalidToken", id="token of nobody"),
    ],
)
def test_scope_and_credential_are_checked(
    s3: S3Process, signer: Signer, key: str, is_stored: IsStored, changes: dict[str, str], status: int, code: str
) -> None:
    target = replace(signer, **changes).presign("PUT", f"/uploads/{key}", headers=SIGNED)
    answer = exchange(s3.endpoint, "PUT", target, SIGNED, BODY)
    assert (answer.status, answer.code) == (status, code)
    assert not is_stored(key)


@pytest.mark.parametrize(
    ("ago", "expires", "status", "code"),
    [
        pytest.param(timedelta(seconds=301), 300, 403, "AccessDenied", id="expired"),
        pytest.param(timedelta(minutes=-16), 300, 403, "AccessDenied", id="from the future"),
        pytest.param(timedelta(0), 0, 400, "AuthorizationQueryParametersError", id="no life"),
        pytest.param(timedelta(0), -5, 400, "AuthorizationQueryParametersError", id="negative life"),
        pytest.param(timedelta(0), 604_801, 400, "AuthorizationQueryParametersError", id="more than a week"),
        pytest.param(timedelta(0), "1e2", 400, "AuthorizationQueryParametersError", id="no number"),
    ],
)
def test_life_of_a_signature_is_bounded(
    s3: S3Process,
    signer: Signer,
    key: str,
    is_stored: IsStored,
    ago: timedelta,
    expires: object,
    status: int,
    code: str,
) -> None:
    past = replace(signer, at=datetime.now(UTC) - ago)
    answer = exchange(s3.endpoint, "PUT", past.presign("PUT", f"/uploads/{key}", expires=expires), body=BODY)
    assert (answer.status, answer.code) == (status, code)
    assert not is_stored(key)


@pytest.mark.parametrize("expires", [1, 604_800])
def test_shortest_and_longest_lives_are_accepted(s3: S3Process, signer: Signer, key: str, expires: int) -> None:
    ahead = replace(signer, at=datetime.now(UTC) + timedelta(seconds=2))
    assert (
        exchange(s3.endpoint, "PUT", ahead.presign("PUT", f"/uploads/{key}", expires=expires), body=BODY).status == 200
    )


def test_date_of_the_scope_must_be_the_date_of_the_request(s3: S3Process, signer: Signer, key: str) -> None:
    target = signer.presign("PUT", f"/uploads/{key}")
    other = target.replace(signer.now[:8] + "T", "20200101T")
    answer = exchange(s3.endpoint, "PUT", other, body=BODY)
    assert (answer.status, answer.code) == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("skew", [timedelta(minutes=16), timedelta(minutes=-16)], ids=["slow", "fast"])
def test_clock_of_a_header_signature_is_checked(
    s3: S3Process, signer: Signer, key: str, is_stored: IsStored, skew: timedelta
) -> None:
    headers = replace(signer, at=datetime.now(UTC) + skew).headers("PUT", f"/uploads/{key}")
    answer = exchange(s3.endpoint, "PUT", f"/uploads/{key}", headers, BODY)
    assert (answer.status, answer.code) == (403, "RequestTimeTooSkewed")
    assert not is_stored(key)


def test_header_signature_needs_the_payload_hash(s3: S3Process, signer: Signer, key: str) -> None:
    headers = signer.headers("PUT", f"/uploads/{key}")
    del headers["x-amz-content-sha256"]
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", headers, BODY).code == "InvalidRequest"


def test_token_of_a_temporary_credential_is_checked(
    s3: S3Process, signer: Signer, key: str, is_stored: IsStored
) -> None:
    temporary = replace(signer, access_key="TEMPKEY", secret_key="temp-secret")
    path = f"/uploads/{key}"
    assert exchange(s3.endpoint, "PUT", temporary.presign("PUT", path), body=BODY).code == "InvalidToken"
    wrong = replace(temporary, token="temp-tokem")
    assert exchange(s3.endpoint, "PUT", wrong.presign("PUT", path), body=BODY).code == "InvalidToken"
    assert not is_stored(key)
    right = replace(temporary, token="temp-token")
    assert exchange(s3.endpoint, "PUT", right.presign("PUT", path), body=BODY).status == 200


def test_unsigned_request_is_refused(s3: S3Process, key: str) -> None:
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", body=BODY).code == "AccessDenied"
    assert exchange(s3.endpoint, "GET", f"/uploads/{key}").code == "AccessDenied"


def test_sigv2_is_named_as_unsupported(s3: S3Process, key: str) -> None:
    answer = exchange(s3.endpoint, "GET", f"/uploads/{key}?AWSAccessKeyId=OWNERKEY&Signature=x&Expires=9999999999")
    assert (answer.status, answer.code) == (400, "InvalidRequest")


def test_mismatch_shows_what_was_computed_and_no_secret(s3: S3Process, signer: Signer, key: str) -> None:
    target = replace(signer, secret_key="wrong").presign("GET", f"/uploads/{key}")
    answer = exchange(s3.endpoint, "GET", target)
    assert b"<CanonicalRequest>GET" in answer.body
    assert b"<StringToSign>AWS4-HMAC-SHA256" in answer.body
    assert s3.secret_key.encode() not in answer.body


@pytest.mark.parametrize(
    "path",
    ["/uploads/a%20b%2Bc", "/uploads//x//y/", "/uploads/./../z", "/uploads/%C3%BC%E2%82%AC", "/uploads/%25%2F%00"],
)
def test_path_is_verified_as_it_arrived(s3: S3Process, signer: Signer, path: str) -> None:
    assert exchange(s3.endpoint, "PUT", signer.presign("PUT", path), body=BODY).status == 200
    assert exchange(s3.endpoint, "GET", signer.presign("GET", path)).body == BODY
    respelt = signer.presign("GET", path).replace("/uploads/", "/uploads/%2E/", 1)
    assert exchange(s3.endpoint, "GET", respelt).code == "SignatureDoesNotMatch"
