"""A signed request permits what was signed, and nothing beside it."""

import base64
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from google.cloud import storage

from emulators.gcs.process import GcsProcess
from emulators.google_iam.process import GoogleIamProcess
from tests.emulators.gcs.conftest import ADMIN, READER, STRANGER, WRITER, Api, Tokens, object_path, signer_of
from tests.emulators.gcs.signing import Signer
from tests.emulators.wire import Answer, exchange

BODY = b"12345"
CRC32C = "GNEjNQ=="
MD5 = base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode()
EXACT = {
    "content-type": "text/csv",
    "x-goog-content-length-range": "5,5",
    "x-goog-if-generation-match": "0",
    "x-goog-hash": f"crc32c={CRC32C},md5={MD5}",
    "x-goog-meta-upload-session": "capsule",
}


def send(gcs: GcsProcess, target: str, headers: dict[str, str] | None = None, body: bytes = BODY) -> Answer:
    return exchange(gcs.endpoint, "PUT", target, headers or {}, body)


def refused(answer: Answer) -> tuple[int, str | None]:
    return answer.status, answer.code


def test_put_stores_exactly_what_was_signed(gcs: GcsProcess, signer: Signer, name: str, api: Api) -> None:
    answer = send(gcs, signer.sign("PUT", f"/uploads/{name}", EXACT), EXACT)
    assert (answer.status, answer.body) == (200, b"")
    seen = json.loads(api("GET", object_path(name)).body)
    assert (seen["contentType"], seen["size"], seen["metadata"]) == ("text/csv", "5", {"upload-session": "capsule"})
    assert (seen["crc32c"], seen["md5Hash"]) == (CRC32C, MD5)
    assert answer.headers["x-goog-generation"] == seen["generation"]
    assert answer.headers["x-goog-hash"] == f"crc32c={CRC32C},md5={MD5}"


@pytest.mark.parametrize("left_out", [each for each in EXACT if each.startswith("x-goog-")] + ["content-type"])
def test_signed_header_must_come(gcs: GcsProcess, signer: Signer, name: str, left_out: str) -> None:
    target = signer.sign("PUT", f"/uploads/{name}", EXACT)
    sent = {key: value for key, value in EXACT.items() if key != left_out}
    answer = send(gcs, target, sent)
    assert refused(answer) == (400, "MalformedSecurityHeader")
    assert f"<ParameterName>{left_out}</ParameterName>".encode() in answer.body


@pytest.mark.parametrize(
    "changed",
    [
        {"content-type": "text/html"},
        {"x-goog-content-length-range": "5,6"},
        {"x-goog-if-generation-match": "1"},
        {"x-goog-hash": "crc32c=AAAAAA=="},
        {"x-goog-meta-upload-session": "another"},
    ],
)
def test_signed_header_must_come_unchanged(gcs: GcsProcess, signer: Signer, name: str, changed: dict[str, str]) -> None:
    answer = send(gcs, signer.sign("PUT", f"/uploads/{name}", EXACT), EXACT | changed)
    assert refused(answer) == (403, "SignatureDoesNotMatch")
    assert b"<StringToSign>GOOG4-RSA-SHA256" in answer.body


@pytest.mark.parametrize("added", ["x-goog-meta-more", "x-goog-acl", "x-goog-copy-source", "x-goog-resumable"])
def test_unsigned_google_header_is_refused(gcs: GcsProcess, signer: Signer, name: str, added: str) -> None:
    answer = send(gcs, signer.sign("PUT", f"/uploads/{name}", EXACT), {**EXACT, added: "start"})
    assert refused(answer) == (400, "MalformedSecurityHeader")


def test_another_object_bucket_method_or_query_is_refused(gcs: GcsProcess, signer: Signer, name: str) -> None:
    target = signer.sign("PUT", f"/uploads/{name}")
    for changed in (
        target.replace(name, f"{name}x"),
        target.replace("/uploads/", "/others/"),
        target + "&generation=7",
        target.replace("X-Goog-Expires=600", "X-Goog-Expires=6000"),
    ):
        assert refused(send(gcs, changed)) == (403, "SignatureDoesNotMatch")
    assert refused(exchange(gcs.endpoint, "GET", target)) == (403, "SignatureDoesNotMatch")


def test_another_host_is_refused(gcs: GcsProcess, signer: Signer, name: str) -> None:
    target = replace(signer, host="storage.googleapis.com").sign("PUT", f"/uploads/{name}")
    assert refused(send(gcs, target)) == (403, "SignatureDoesNotMatch")


def test_host_must_be_signed(gcs: GcsProcess, signer: Signer, name: str) -> None:
    target = signer.sign("PUT", f"/uploads/{name}", {"content-type": "a/b"}, host_is_signed=False)
    assert refused(send(gcs, target, {"content-type": "a/b"})) == (400, "MalformedSecurityHeader")


def test_signature_ends(gcs: GcsProcess, signer: Signer, name: str) -> None:
    answer = send(gcs, signer.sign("PUT", f"/uploads/{name}", expires=60, age=timedelta(seconds=61)))
    assert refused(answer) == (400, "ExpiredToken")
    assert b"Request signature expired at: " in answer.body


def test_signature_of_tomorrow_is_refused_and_a_clock_may_be_a_little_ahead(
    gcs: GcsProcess, signer: Signer, name: str
) -> None:
    assert refused(send(gcs, signer.sign("PUT", f"/uploads/{name}", age=-timedelta(minutes=16)))) == (
        403,
        "AccessDenied",
    )
    assert send(gcs, signer.sign("PUT", f"/uploads/{name}", age=-timedelta(minutes=14))).status == 200


@pytest.mark.parametrize(
    "wrong",
    [
        {"expires": 604_801},
        {"expires": 0},
        {"location": "eu"},
        {"service": "s3"},
        {"terminal": "aws4_request"},
        {"scope_date": "20200101"},
        {"algorithm": "GOOG4-HMAC-SHA256"},
    ],
)
def test_scope_and_lifetime_must_be_right(gcs: GcsProcess, signer: Signer, name: str, wrong: dict[str, object]) -> None:
    target = signer.sign("PUT", f"/uploads/{name}", **wrong)  # type: ignore[arg-type]
    assert refused(send(gcs, target)) == (400, "InvalidArgument")


def test_the_buckets_own_location_may_be_the_scope_for_a_week(gcs: GcsProcess, signer: Signer, name: str) -> None:
    assert send(gcs, signer.sign("PUT", f"/uploads/{name}", location="us", expires=604_800)).status == 200


@pytest.mark.parametrize("field", ["Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature"])
def test_every_field_of_the_query_is_needed_once(gcs: GcsProcess, signer: Signer, name: str, field: str) -> None:
    target = signer.sign("PUT", f"/uploads/{name}")
    without = re.sub(rf"[?&]X-Goog-{field}=[^&]*", "", target, count=1)
    without = without if "?" in without else without.replace("&", "?", 1)
    for changed in (without, f"{target}&X-Goog-{field}=1"):
        assert refused(send(gcs, changed)) == (400, "AuthorizationQueryParametersError")


@pytest.mark.parametrize("garbage", ["zz", "", "00" * 256, "AB"])
def test_garbled_signature_is_refused(gcs: GcsProcess, signer: Signer, name: str, garbage: str) -> None:
    target = re.sub(r"X-Goog-Signature=.*", f"X-Goog-Signature={garbage}", signer.sign("PUT", f"/uploads/{name}"))
    assert send(gcs, target).status in {400, 403}


def test_key_of_another_account_is_refused(iam: GoogleIamProcess, gcs: GcsProcess, signer: Signer, name: str) -> None:
    forged = replace(signer_of(iam, gcs, STRANGER), email=WRITER)
    assert refused(send(gcs, forged.sign("PUT", f"/uploads/{name}"))) == (403, "SignatureDoesNotMatch")
    unknown = replace(signer, email="nobody@emulated.iam.gserviceaccount.com")
    assert refused(send(gcs, unknown.sign("PUT", f"/uploads/{name}"))) == (403, "InvalidSecurity")


@pytest.mark.parametrize("email", [STRANGER, READER])
def test_signer_must_hold_the_permission(iam: GoogleIamProcess, gcs: GcsProcess, name: str, email: str) -> None:
    answer = send(gcs, signer_of(iam, gcs, email).sign("PUT", f"/uploads/{name}"))
    assert refused(answer) == (403, "AccessDenied")
    assert f"{email} does not have storage.objects.create access".encode() in answer.body


def test_signature_and_bearer_together_are_refused(gcs: GcsProcess, signer: Signer, name: str) -> None:
    answer = send(gcs, signer.sign("PUT", f"/uploads/{name}"), {"authorization": "Bearer x"})
    assert refused(answer) == (400, "InvalidArgument")


def test_signature_counts_for_nothing_on_the_json_api(gcs: GcsProcess, signer: Signer, name: str) -> None:
    assert exchange(gcs.endpoint, "GET", signer.sign("GET", object_path(name))).status == 401


@pytest.mark.parametrize(("size", "code"), [(4, "EntityTooSmall"), (6, "EntityTooLarge")])
def test_length_is_held_to_its_range(
    gcs: GcsProcess, signer: Signer, name: str, size: int, code: str, api: Api
) -> None:
    bound = {"x-goog-content-length-range": "5,5"}
    target = signer.sign("PUT", f"/uploads/{name}", bound)
    assert refused(send(gcs, target, bound, b"x" * size)) == (400, code)
    chunked = b"".join(f"1\r\n{each}\r\n".encode() for each in "x" * size) + b"0\r\n\r\n"
    headers = {**bound, "transfer-encoding": "chunked"}
    assert refused(exchange(gcs.endpoint, "PUT", target, headers, chunked)) == (400, code)
    assert api("GET", object_path(name)).status == 404


@pytest.mark.parametrize(
    "header", [{"x-goog-hash": "crc32c=AAAAAA=="}, {"x-goog-hash": f"md5={MD5}"}, {"content-md5": MD5}]
)
def test_body_with_another_digest_is_refused(
    gcs: GcsProcess, signer: Signer, name: str, header: dict[str, str], api: Api
) -> None:
    target = signer.sign("PUT", f"/uploads/{name}", header)
    assert refused(send(gcs, target, header, b"other")) == (400, "BadDigest")
    assert api("GET", object_path(name)).status == 404


def test_nonsense_in_a_header_is_refused(gcs: GcsProcess, signer: Signer, name: str) -> None:
    for header in (
        {"x-goog-hash": "crc32c=AAAA"},
        {"x-goog-hash": "sha256=AAAA"},
        {"content-md5": "?"},
        {"x-goog-content-length-range": "6,5"},
        {"x-goog-if-generation-match": "none"},
        {"x-goog-storage-class": "COLDLINE"},
    ):
        answer = send(gcs, signer.sign("PUT", f"/uploads/{name}", header), header)
        assert answer.status in {400, 501}, header


def test_create_only_writes_once(gcs: GcsProcess, signer: Signer, name: str, api: Api) -> None:
    once = {"x-goog-if-generation-match": "0"}
    target = signer.sign("PUT", f"/uploads/{name}", once)
    assert send(gcs, target, once).status == 200
    assert refused(send(gcs, target, once, b"other")) == (412, "PreconditionFailed")
    assert api("GET", object_path(name, query="alt=media")).body == BODY


def test_replacing_takes_the_right_to_delete(iam: GoogleIamProcess, gcs: GcsProcess, signer: Signer, name: str) -> None:
    target = signer.sign("PUT", f"/uploads/{name}")
    assert send(gcs, target).status == 200
    answer = send(gcs, target)
    assert refused(answer) == (403, "AccessDenied")
    assert b"storage.objects.delete" in answer.body
    assert send(gcs, signer_of(iam, gcs, ADMIN).sign("PUT", f"/uploads/{name}")).status == 200


def test_get_is_pinned_to_its_generation(iam: GoogleIamProcess, gcs: GcsProcess, signer: Signer, name: str) -> None:
    generation = send(gcs, signer.sign("PUT", f"/uploads/{name}", EXACT), EXACT).headers["x-goog-generation"]
    reader = signer_of(iam, gcs, READER)
    query = {"generation": generation, "response-content-disposition": 'attachment; filename="ü.csv"'}
    answer = exchange(gcs.endpoint, "GET", reader.sign("GET", f"/uploads/{name}", query=query))
    assert (answer.status, answer.body, answer.headers["content-type"]) == (200, BODY, "text/csv")
    assert answer.headers["x-goog-meta-upload-session"] == "capsule"
    assert answer.headers["content-disposition"].startswith("attachment; ")
    part = exchange(gcs.endpoint, "GET", reader.sign("GET", f"/uploads/{name}"), {"range": "bytes=1-3"})
    assert (part.status, part.body, part.headers["content-range"]) == (206, b"234", "bytes 1-3/5")
    beyond = exchange(gcs.endpoint, "GET", reader.sign("GET", f"/uploads/{name}"), {"range": "bytes=5-"})
    assert refused(beyond) == (416, "InvalidRange")
    gone = exchange(gcs.endpoint, "GET", reader.sign("GET", f"/uploads/{name}", query={"generation": "1"}))
    assert refused(gone) == (404, "NoSuchKey")
    head = exchange(gcs.endpoint, "HEAD", reader.sign("HEAD", f"/uploads/{name}"))
    assert (head.status, head.headers["content-length"], head.body) == (200, "5", b"")


def test_subresources_are_refused_and_never_taken_for_the_object(
    gcs: GcsProcess, signer: Signer, name: str, api: Api
) -> None:
    for query in ({"acl": ""}, {"uploads": ""}, {"tagging": ""}):
        assert refused(send(gcs, signer.sign("PUT", f"/uploads/{name}", query=query))) == (501, "NotImplemented")
    assert api("GET", object_path(name)).status == 404


@pytest.mark.parametrize("key", ["a b/ü+&?#%.csv", "a//b", "~tilde-_.txt", "back\\slash"])
def test_urls_of_googles_own_signer_are_accepted(
    client_as: Callable[..., storage.Client], gcs: GcsProcess, api: Api, key: str
) -> None:
    headers = {"x-goog-if-generation-match": "0", "x-goog-content-length-range": "5,5", "x-goog-meta-a": "1   2"}
    blob = client_as(WRITER).bucket("uploads").blob(f"google/{key}")
    url = blob.generate_signed_url(
        version="v4",
        expiration=timedelta(hours=1),
        method="PUT",
        api_access_endpoint=gcs.endpoint,
        content_type="text/plain",
        headers=dict(headers),
    )
    sent = {**headers, "content-type": "text/plain"}
    assert send(gcs, url.removeprefix(gcs.endpoint), sent).status == 200
    assert json.loads(api("GET", object_path(f"google/{key}")).body)["name"] == f"google/{key}"


def test_xml_api_takes_bearers_too(gcs: GcsProcess, token: Tokens, name: str) -> None:
    bearer = {"authorization": f"Bearer {token(ADMIN)}"}
    generation = exchange(gcs.endpoint, "PUT", f"/uploads/{name}", bearer, BODY).headers["x-goog-generation"]
    assert exchange(gcs.endpoint, "GET", f"/uploads/{name}", bearer).body == BODY
    stale = {**bearer, "x-goog-if-generation-match": "1"}
    assert refused(exchange(gcs.endpoint, "DELETE", f"/uploads/{name}", stale)) == (412, "PreconditionFailed")
    assert exchange(gcs.endpoint, "DELETE", f"/uploads/{name}?generation={generation}", bearer).status == 204
    assert refused(exchange(gcs.endpoint, "GET", f"/uploads/{name}", bearer)) == (404, "NoSuchKey")
    assert refused(exchange(gcs.endpoint, "GET", f"/uploads/{name}")) == (401, "AuthenticationRequired")
