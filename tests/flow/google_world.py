"""Both ways to one signed URL: our adapters, and google-cloud-storage over google-auth, by the same IAM."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import aiohttp
from google.auth import compute_engine, identity_pool, impersonated_credentials
from google.auth.credentials import Credentials
from google.cloud import storage
from google.cloud.storage import _signing
from google.oauth2 import service_account

from broker.clock import SystemClock
from broker.contract import Checksum, SignedRequest
from broker.domain.objects import UploadSpec
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.impersonation import Impersonated
from broker.storage.gcs.signer import GcsGetSigner, GcsPutSigner
from broker.storage.gcs.source import GoogleSource, Opened, application_default, config_file, key_file
from broker.storage.held import HeldCredentials
from emulators.google_iam.process import GoogleIamProcess

BROKER, MIDDLE, FAR, WRITER, READER = (
    f"{name}@acme.iam.gserviceaccount.com" for name in ("broker", "middle", "far", "writer", "reader")
)
BUCKET, KEY = "acme-uploads", "uploads/1/Straße + 100%.csv"
NOW = datetime(2026, 11, 20, 8, 30, 15, tzinfo=UTC)
ENDS = NOW + timedelta(minutes=15)
IAM_SCOPES = ["https://www.googleapis.com/auth/iam"]
MD5 = "1B2M2Y8AsgTpgAmY7PhCfg=="


SPEC = UploadSpec(
    filename="report.csv",
    size_bytes=17,
    content_type="text/csv",
    checksum=Checksum(md5=MD5),
    object_metadata={"mtime": "1732100000"},
)
BOUND = {
    "X-Goog-Content-Length-Range": "17,17",
    "X-Goog-If-Generation-Match": "0",
    "X-Goog-Hash": f"md5={MD5}",
    "X-Goog-Meta-Upload-Session": "sealed",
    "X-Goog-Meta-Mtime": "1732100000",
}


Kind = Callable[[GoogleIamProcess], tuple[Opened, Credentials]]


def by_key_file(iam: GoogleIamProcess) -> tuple[Opened, Credentials]:
    path = iam.key_files[BROKER]
    return key_file(path), service_account.Credentials.from_service_account_file(str(path), scopes=IAM_SCOPES)


def by_workload_identity(iam: GoogleIamProcess) -> tuple[Opened, Credentials]:
    path = iam.workload_identity_file
    return config_file(path), identity_pool.Credentials.from_file(str(path), scopes=IAM_SCOPES)


def by_metadata_server(iam: GoogleIamProcess) -> tuple[Opened, Credentials]:
    assert iam.host
    return application_default(), compute_engine.Credentials(scopes=IAM_SCOPES)


class World:
    """Both ways to the same: our adapters, and the library over the same IAM."""

    def __init__(self, iam: GoogleIamProcess, opened: Opened, theirs: Any, http: aiohttp.ClientSession) -> None:
        self.threads = ThreadPoolExecutor(1)
        clock = SystemClock()
        source = HeldCredentials(
            GoogleSource(opened=opened, threads=self.threads), clock=clock, jitter=lambda: 0.0, told=lambda _: None
        )
        self.client = IamCredentials(http=http, source=source, clock=clock, endpoint=iam.endpoint)
        self.theirs = theirs

    def put_signer(self, endpoint: str, email: str = WRITER, delegates: tuple[str, ...] = ()) -> GcsPutSigner:
        signatory = Impersonated(email=email, iam=self.client, delegates=delegates)
        return GcsPutSigner(bucket=BUCKET, endpoint=Endpoint.of(endpoint), signatory=signatory)

    def get_signer(self, endpoint: str) -> GcsGetSigner:
        signatory = Impersonated(email=READER, iam=self.client)
        return GcsGetSigner(bucket=BUCKET, endpoint=Endpoint.of(endpoint), signatory=signatory)

    async def their_url(
        self, method: str, endpoint: str, email: str = WRITER, now: datetime = NOW, **terms: Any
    ) -> str:
        """What `generate_signed_url` gives at `now`, over an impersonated account. Blocks: in a thread."""

        def signed() -> str:
            key = terms.pop("key", KEY)
            delegates = terms.pop("delegates", [])
            account = impersonated_credentials.Credentials(
                self.theirs, email, ["https://www.googleapis.com/auth/devstorage.read_write"], delegates=delegates
            )
            client = storage.Client(project="acme", credentials=account)
            with mock.patch.object(_signing, "_NOW", return_value=now):
                url: str = (
                    client.bucket(BUCKET)
                    .blob(key)
                    .generate_signed_url(
                        version="v4", method=method, api_access_endpoint=endpoint, expiration=900, **terms
                    )
                )
            return url

        return await asyncio.get_running_loop().run_in_executor(self.threads, signed)


async def our_put(signer: GcsPutSigner) -> SignedRequest:
    return await signer.sign_put(KEY, SPEC, "sealed", now=NOW, ends=ENDS)
