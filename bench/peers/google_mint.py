"""The usual way to the same: google-cloud-storage over google.auth.impersonated_credentials, in threads.

One source, one client, both warm; as many threads as requests at once, and a pool of connections that has room for
them. The only things that are changed are addresses – google-auth signs at `_IAM_SIGN_ENDPOINT` and nowhere else – and
the look-up of regional access boundaries, which would go to Google itself.
"""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from google.auth import credentials, iam, impersonated_credentials
from google.auth.transport.requests import Request
from google.cloud import storage
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from bench._gcs_minting import (
    BUCKET,
    CONTENT_TYPE,
    GOOGLE_STORAGE,
    KEY,
    LIFETIME_SECONDS,
    MD5,
    METADATA,
    SCOPES,
    SIZE_BYTES,
    WRITER,
    Task,
    measured,
)


def main(task: Task) -> None:
    os.environ["REQUESTS_CA_BUNDLE"] = str(task.ca)
    client = _client(task)
    mint = _put(client) if task.what == "put" else _session(client)
    with ThreadPoolExecutor(task.at_once) as threads:

        def run(count: int) -> str:
            *_, sample = threads.map(lambda _: mint(), range(count))
            return sample

        measured(run, task.count)


def _client(task: Task) -> storage.Client:
    required = "_is_regional_access_boundary_lookup_required"
    setattr(credentials.CredentialsWithRegionalAccessBoundary, required, lambda _: False)
    google = "https://iamcredentials.googleapis.com"
    for name in ("_IAM_ENDPOINT", "_IAM_SIGN_ENDPOINT"):
        setattr(iam, name, getattr(iam, name).replace(google, task.iam))
    writer = impersonated_credentials.Credentials(
        source_credentials=service_account.Credentials.from_service_account_file(str(task.key_file)),
        target_principal=WRITER,
        target_scopes=list(SCOPES),
        lifetime=3_600,
    )
    writer.refresh(Request())
    client = storage.Client(project="acme", credentials=writer, client_options={"api_endpoint": task.store})
    client._http.mount("https://", HTTPAdapter(pool_maxsize=task.at_once))  # noqa: SLF001
    return client


def _put(client: storage.Client) -> Callable[[], str]:
    bucket = client.bucket(BUCKET)

    def mint() -> str:
        url: str = bucket.blob(KEY).generate_signed_url(
            version="v4",
            method="PUT",
            api_access_endpoint=GOOGLE_STORAGE,
            expiration=timedelta(seconds=LIFETIME_SECONDS),
            content_type=CONTENT_TYPE,
            headers={
                "x-goog-content-length-range": f"{SIZE_BYTES},{SIZE_BYTES}",
                "x-goog-if-generation-match": "0",
                "x-goog-hash": f"md5={MD5}",
                **{f"x-goog-meta-{name}": value for name, value in METADATA.items()},
            },
        )
        return url

    return mint


def _session(client: storage.Client) -> Callable[[], str]:
    bucket = client.bucket(BUCKET)

    def mint() -> str:
        blob = bucket.blob(KEY)
        blob.metadata = METADATA
        blob.md5_hash = MD5
        url: str = blob.create_resumable_upload_session(
            content_type=CONTENT_TYPE, size=SIZE_BYTES, if_generation_match=0
        )
        return url

    return mint


if __name__ == "__main__":
    main(Task.told())
