"""Programs that were written for Google's own service, unmodified."""

import io
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import requests
from google.api_core.exceptions import Forbidden, NotFound, PreconditionFailed
from google.auth import impersonated_credentials
from google.cloud import storage

from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import start_google_iam
from tests.emulators.gcs.conftest import ADMIN, CHUNK, JANITOR, READER, WRITER, Api, credentials_of, insert_path
from tests.emulators.wire import exchange
from tests.google_auth import point_google_auth_at

Clients = Callable[..., storage.Client]


def test_google_cloud_storage_uploads_reads_lists_and_deletes(client_as: Clients, name: str) -> None:
    bucket = client_as(ADMIN).bucket("uploads")
    blob = bucket.blob(f"{name}/a b+ü.txt")
    blob.metadata, blob.cache_control = {"case": "17"}, "no-store"
    blob.upload_from_string(b"hello", content_type="text/plain", if_generation_match=0, checksum="crc32c")
    fresh = bucket.get_blob(blob.name)
    assert (fresh.size, fresh.content_type, fresh.metadata) == (5, "text/plain", {"case": "17"})
    assert (fresh.generation, fresh.cache_control) == (blob.generation, "no-store")
    assert fresh.download_as_bytes(checksum="md5") == b"hello"
    assert fresh.download_as_bytes(start=1, end=3) == b"ell"
    assert [each.name for each in bucket.list_blobs(prefix=f"{name}/")] == [blob.name]
    with pytest.raises(PreconditionFailed):
        blob.upload_from_string(b"again", if_generation_match=0)
    with pytest.raises(PreconditionFailed):
        blob.delete(if_generation_match=1)
    blob.delete(if_generation_match=fresh.generation)
    assert bucket.get_blob(blob.name) is None


def test_google_cloud_storage_resumes(client_as: Clients, name: str) -> None:
    data = secrets.token_bytes(5 * CHUNK + 11)
    blob = client_as(ADMIN).bucket("uploads").blob(name, chunk_size=2 * CHUNK)
    blob.upload_from_file(io.BytesIO(data), checksum="crc32c", if_generation_match=0)
    assert blob.download_as_bytes() == data
    streamed = client_as(ADMIN).bucket("uploads").blob(f"{name}-streamed")
    with streamed.open("wb", chunk_size=CHUNK, ignore_flush=True) as file:
        file.write(data)
    assert streamed.download_as_bytes() == data


def test_google_cloud_storage_is_told_what_an_account_may_not(client_as: Clients, name: str) -> None:
    client_as(ADMIN).bucket("uploads").blob(name).upload_from_string(b"hello")
    with pytest.raises(Forbidden, match=r"storage\.objects\.get"):
        client_as(WRITER).bucket("uploads").blob(name).download_as_bytes()
    with pytest.raises(Forbidden, match=r"storage\.objects\.list"):
        list(client_as(READER).list_blobs("uploads"))
    with pytest.raises(Forbidden, match=r"storage\.objects\.create"):
        client_as(JANITOR).bucket("uploads").blob(f"{name}x").upload_from_string(b"hello")
    with pytest.raises(NotFound):
        client_as(ADMIN).bucket("no-such-bucket").blob(name).download_as_bytes()


def test_impersonated_signer_is_believed_also_after_its_key_was_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (
        start_google_iam(data=tmp_path / "iam", accounts=(ADMIN,), impersonate={ADMIN: (WRITER,)}) as iam,
        start_gcs(iam=iam.endpoint, grants=(f"uploads:{WRITER}=storage.objects.create",)) as gcs,
    ):
        point_google_auth_at(iam, monkeypatch)
        source = credentials_of(iam, ADMIN)
        override = f"{iam.endpoint}/v1/projects/-/serviceAccounts/{WRITER}:generateAccessToken"
        signing = impersonated_credentials.Credentials(
            source, WRITER, ["https://www.googleapis.com/auth/devstorage.read_write"], iam_endpoint_override=override
        )
        client = storage.Client(project="project-1", credentials=signing, client_options={"api_endpoint": gcs.endpoint})
        for name in ("before", "after"):
            url = (
                client.bucket("uploads")
                .blob(name)
                .generate_signed_url(
                    version="v4", expiration=timedelta(hours=1), method="PUT", api_access_endpoint=gcs.endpoint
                )
            )
            assert exchange(gcs.endpoint, "PUT", url.removeprefix(gcs.endpoint), body=b"12345").status == 200
            asked = json.dumps({"email": WRITER, "forget": True}).encode()
            assert exchange(iam.endpoint, "POST", "/_emulator/rotate", body=asked).status == 200
        client.close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_uploads_through_a_session(api: Api, name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(secrets.token_bytes(3 * CHUNK + 1))
    location = api("POST", insert_path(name, kind="resumable"), WRITER, {}).headers["location"]
    command = ("curl", "-sS", "-f", "-m", "30", "-T", str(file), "-H", "Expect: 100-continue", location)
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert json.loads(done.stdout)["size"] == str(3 * CHUNK + 1)
    status = subprocess.run(
        ("curl", "-sS", "-m", "30", "-X", "PUT", "-H", "Content-Range: bytes */*", "-H", "Content-Length: 0", location),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert json.loads(status.stdout)["name"] == name


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_refusal_comes_before_a_patient_client_sends_the_body(gcs: GcsProcess, name: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * CHUNK)
    command = (
        "curl",
        "-sS",
        "-m",
        "30",
        "-T",
        str(file),
        "-H",
        "Expect: 100-continue",
        f"{gcs.endpoint}/uploads/{name}",
    )
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert b"Anonymous caller does not have storage.objects.create access" in done.stdout


def test_requests_is_let_down_gently(gcs: GcsProcess) -> None:
    with requests.Session() as session:
        for method, path in (
            ("GET", "/"),
            ("GET", "/storage/v1/nonsense"),
            ("PUT", "/storage/v1/b/uploads"),
            ("GET", "/%ff"),
        ):
            answer = session.request(method, gcs.endpoint + path, timeout=10)
            assert 400 <= answer.status_code < 500, (method, path)
