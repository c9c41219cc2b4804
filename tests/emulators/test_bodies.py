"""A body keeps every promise of its headers, or nothing is stored; and the client hears why."""

import base64
import hashlib
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from emulators import checksums
from emulators.process import S3Process
from tests.emulators.signing import Signer
from tests.emulators.wire import Wire, exchange

BODY = bytes(range(256)) * 300  # two chunks and a bit
IsStored = Callable[..., bool]


def digest(name: str, body: bytes = BODY) -> str:
    running = checksums.new(name)
    running.update(body)
    return base64.b64encode(running.digest()).decode()


def put(s3: S3Process, signer: Signer, key: str, headers: dict[str, str], body: bytes = BODY) -> tuple[int, str | None]:
    answer = exchange(s3.endpoint, "PUT", signer.presign("PUT", f"/uploads/{key}", headers=headers), headers, body)
    return answer.status, answer.code


@pytest.mark.parametrize("name", checksums.CHECKSUMS)
def test_checksum_header_is_verified(s3: S3Process, signer: Signer, key: str, is_stored: IsStored, name: str) -> None:
    header = f"x-amz-checksum-{name}"
    assert put(s3, signer, key, {header: digest(name, BODY + b"!")}) == (400, "BadDigest")
    assert put(s3, signer, key, {header: "bm8="}) == (400, "InvalidRequest")
    assert not is_stored(key)
    assert put(s3, signer, key, {header: digest(name)}) == (200, None)
    read = exchange(
        s3.endpoint,
        "HEAD",
        signer.presign("HEAD", f"/uploads/{key}", headers={"x-amz-checksum-mode": "ENABLED"}),
        {"x-amz-checksum-mode": "ENABLED"},
    )
    assert read.headers[header] == digest(name)


def test_content_md5_is_verified(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    assert put(s3, signer, key, {"content-md5": digest("md5", b"other")}) == (400, "BadDigest")
    assert put(s3, signer, key, {"content-md5": "short"}) == (400, "InvalidDigest")
    assert not is_stored(key)
    assert put(s3, signer, key, {"content-md5": digest("md5")}) == (200, None)


def test_two_checksums_and_unknown_ones_are_refused(
    s3: S3Process, signer: Signer, key: str, is_stored: IsStored
) -> None:
    two = {"x-amz-checksum-sha256": digest("sha256"), "x-amz-checksum-sha1": digest("sha1")}
    assert put(s3, signer, key, two) == (400, "InvalidRequest")
    assert put(s3, signer, key, {"x-amz-checksum-md4": "AAAA"}) == (400, "InvalidRequest")
    assert not is_stored(key)


def test_signed_payload_hash_is_verified(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    path = f"/uploads/{key}"
    wrong = signer.headers("PUT", path, payload=hashlib.sha256(b"other").hexdigest())
    answer = exchange(s3.endpoint, "PUT", path, wrong, BODY)
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")
    assert (
        exchange(s3.endpoint, "PUT", path, signer.headers("PUT", path, payload="abc"), BODY).code == "InvalidArgument"
    )
    assert not is_stored(key)
    right = signer.headers("PUT", path, payload=hashlib.sha256(BODY).hexdigest())
    assert exchange(s3.endpoint, "PUT", path, right, BODY).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        pytest.param({}, 411, "MissingContentLength", id="no length"),
        pytest.param({"transfer-encoding": "chunked"}, 501, "NotImplemented", id="chunked"),
        pytest.param({"content-length": str(5 * 2**30 + 1)}, 400, "EntityTooLarge", id="more than 5 GiB"),
    ],
)
def test_length_must_be_known_and_possible(
    s3: S3Process,
    signer: Signer,
    key: str,
    is_stored: IsStored,
    headers: dict[str, str],
    status: int,
    code: str,
) -> None:
    with Wire(s3.endpoint) as wire:
        wire.send_head("PUT", signer.presign("PUT", f"/uploads/{key}"), [("host", wire.host), *headers.items()])
        answer = wire.read()
    assert (answer.status, answer.code) == (status, code)
    assert not is_stored(key)


def test_short_body_stores_nothing(s3: S3Process, signer: Signer, key: str, is_stored: IsStored, data: Path) -> None:
    with Wire(s3.endpoint) as wire:
        target = signer.presign("PUT", f"/uploads/{key}")
        wire.send_head("PUT", target, [("host", wire.host), ("content-length", str(len(BODY)))])
        wire.send(BODY[:-1])
        wire.end()
        assert wire.is_ended()
    assert not is_stored(key)
    assert list((data / "incoming").iterdir()) == []


def test_refusal_comes_before_a_body_that_waits(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    with Wire(s3.endpoint) as wire:
        target = signer.presign("PUT", f"/uploads/{key}")[:-1] + "x"
        head = [("host", wire.host), ("content-length", "1000"), ("expect", "100-continue")]
        wire.send_head("PUT", target, head)
        answer = wire.read()
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
        assert answer.headers["connection"] == "close"
        assert wire.is_ended()
    assert not is_stored(key)


def test_body_that_waits_is_invited(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    with Wire(s3.endpoint) as wire:
        head = [("host", wire.host), ("content-length", str(len(BODY))), ("expect", "100-continue")]
        wire.send_head("PUT", signer.presign("PUT", f"/uploads/{key}"), head)
        assert wire.read().status == 100
        assert not is_stored(key)
        wire.send(BODY)
        assert wire.read().status == 200
    assert is_stored(key)


def test_existing_object_is_refused_before_a_body_that_waits(s3: S3Process, signer: Signer, key: str) -> None:
    assert put(s3, signer, key, {}) == (200, None)
    with Wire(s3.endpoint) as wire:
        target = signer.presign("PUT", f"/uploads/{key}", headers={"if-none-match": "*"})
        head = {"host": wire.host, "content-length": "1000", "expect": "100-continue", "if-none-match": "*"}
        wire.send_head("PUT", target, head.items())
        assert wire.read().code == "PreconditionFailed"


def test_refusal_is_readable_by_a_client_that_sends_on(s3: S3Process, signer: Signer, key: str) -> None:
    target = signer.presign("PUT", f"/uploads/{key}")[:-1] + "x"
    answer = exchange(s3.endpoint, "PUT", target, body=b"\0" * 20_000_000)
    assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


def test_connection_lives_on_after_a_small_refusal_was_read(s3: S3Process, signer: Signer, key: str) -> None:
    with Wire(s3.endpoint) as wire:
        for _ in range(2):
            wire.send_head("HEAD", signer.presign("HEAD", f"/uploads/{key}"), [("host", wire.host)])
            assert wire.read("HEAD").status == 404


# aws-chunked


def streamed(
    signer: Signer, key: str, payload: str, decoded: int, extra: dict[str, str] | None = None
) -> dict[str, str]:
    headers = {"x-amz-decoded-content-length": str(decoded), "content-encoding": "aws-chunked", **(extra or {})}
    return signer.headers("PUT", f"/uploads/{key}", payload=payload, headers=headers)


def unsigned_chunks(pieces: list[bytes], trailer: str = "") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + f"0\r\n{trailer}\r\n".encode()


PIECES = [BODY[:65_536], BODY[65_536:]]
TRAILER = "x-amz-checksum-crc32"
CRC32 = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()


def test_signed_chunks_are_stored_decoded(s3: S3Process, signer: Signer, key: str) -> None:
    head = streamed(signer, key, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", len(BODY))
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, signer.chunks(head, PIECES)).status == 200
    read = exchange(s3.endpoint, "GET", signer.presign("GET", f"/uploads/{key}"))
    assert read.body == BODY
    assert "content-encoding" not in read.headers


def test_changed_signed_chunk_is_refused(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    head = streamed(signer, key, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", len(BODY))
    chunks = bytearray(signer.chunks(head, PIECES))
    chunks[70_000] ^= 1
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, bytes(chunks)).code == "SignatureDoesNotMatch"
    assert not is_stored(key)


def test_signed_trailer_is_verified(s3: S3Process, signer: Signer, key: str, is_stored: IsStored) -> None:
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    head = streamed(signer, key, payload, len(BODY), {"x-amz-trailer": TRAILER})
    wrong = signer.chunks(head, PIECES, trailer=(TRAILER, "AAAAAA=="))
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, wrong).code == "BadDigest"
    forged = signer.chunks(head, PIECES, trailer=(TRAILER, CRC32)).replace(CRC32.encode(), b"AAAAAA==")
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, forged).code == "SignatureDoesNotMatch"
    assert not is_stored(key)
    right = signer.chunks(head, PIECES, trailer=(TRAILER, CRC32))
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, right).status == 200


@pytest.mark.parametrize(
    ("decoded", "body", "code"),
    [
        pytest.param(len(BODY), unsigned_chunks(PIECES, f"{TRAILER}:AAAAAA==\r\n"), "BadDigest", id="wrong sum"),
        pytest.param(len(BODY), unsigned_chunks(PIECES), "MalformedTrailerError", id="no sum"),
        pytest.param(len(BODY), unsigned_chunks(PIECES, "nonsense\r\n"), "MalformedTrailerError", id="no trailer"),
        pytest.param(
            len(BODY) + 1, unsigned_chunks(PIECES, f"{TRAILER}:{CRC32}\r\n"), "IncompleteBody", id="too short"
        ),
        pytest.param(len(BODY) - 1, unsigned_chunks(PIECES, f"{TRAILER}:{CRC32}\r\n"), "IncompleteBody", id="too long"),
        pytest.param(len(BODY), b"%x\r\n" % len(BODY) + BODY, "IncompleteBody", id="no end"),
        pytest.param(len(BODY), BODY, "InvalidRequest", id="not chunked"),
        pytest.param(
            len(BODY),
            unsigned_chunks([BODY[:100], BODY[100:]], f"{TRAILER}:{CRC32}\r\n"),
            "InvalidChunkSizeError",
            id="small chunk",
        ),
    ],
)
def test_bad_unsigned_chunks_store_nothing(
    s3: S3Process, signer: Signer, key: str, is_stored: IsStored, decoded: int, body: bytes, code: str
) -> None:
    head = streamed(signer, key, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", decoded, {"x-amz-trailer": TRAILER})
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, body).code == code
    assert not is_stored(key)


def test_unsigned_chunks_with_a_trailer_are_stored(s3: S3Process, signer: Signer, key: str) -> None:
    head = streamed(signer, key, "STREAMING-UNSIGNED-PAYLOAD-TRAILER", len(BODY), {"x-amz-trailer": TRAILER})
    body = unsigned_chunks(PIECES, f"{TRAILER}:{CRC32}\r\n")
    assert exchange(s3.endpoint, "PUT", f"/uploads/{key}", head, body).headers[TRAILER] == CRC32


def test_limits_of_key_and_metadata(s3: S3Process, signer: Signer, key: str) -> None:
    long_key = key + "k" * (1024 - len(key))
    assert put(s3, signer, long_key, {}) == (200, None)
    assert put(s3, signer, long_key + "k", {}) == (400, "KeyTooLongError")
    assert put(s3, signer, key, {"x-amz-meta-a": "v" * 2047}) == (200, None)
    assert put(s3, signer, key, {"x-amz-meta-a": "v" * 2048}) == (400, "MetadataTooLarge")


def test_empty_bodies_follow_one_another_on_one_connection(s3: S3Process, signer: Signer, key: str) -> None:
    with Wire(s3.endpoint) as wire:
        for number in range(3):
            head = [("host", wire.host), ("content-length", "0")]
            wire.send_head("PUT", signer.presign("PUT", f"/uploads/{key}-{number}"), head)
            assert wire.read().status == 200
