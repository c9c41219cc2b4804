"""Cloud Storage as the emulator does it, behind the IAM of its neighbour, and the adapters on a bucket of it.

Three accounts have one right each; the broker's own may nothing but impersonate them. The tokens are fetched once, as
the broker fetches them, and shared by all tests; each signature is IAM's.
"""

import asyncio
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256

from broker.clock import SystemClock
from broker.storage.gcs.caller import GcsCaller
from broker.storage.gcs.endpoint import Endpoint
from broker.storage.gcs.iam import IamCredentials
from broker.storage.gcs.impersonation import Impersonated, ImpersonatedSource
from broker.storage.gcs.lister import GcsObjectLister
from broker.storage.gcs.mark import GcsStoreMark
from broker.storage.gcs.resumable import GcsResumableUploads
from broker.storage.gcs.signer import GcsGetSigner, GcsPutSigner, Signatory
from broker.storage.gcs.source import GoogleSource, key_file
from broker.storage.gcs.store import GcsObjectHead, GcsObjectRemover
from broker.storage.gcs.tokens import AccessToken
from emulators.gcs.process import GcsProcess, start_gcs
from emulators.google_iam.process import GoogleIamProcess, start_google_iam
from tests.contracts.storage.gcs.witness import GcsWitness
from tests.contracts.storage.gcs.words import GCS_WORDS
from tests.contracts.storage.stores import Place, Store, Who

SCOPES: Final = ("https://www.googleapis.com/auth/devstorage.read_write",)

BROKER, WRITER, READER, JANITOR, NEIGHBOUR, WITNESS = (
    f"{name}@emulated.iam.gserviceaccount.com"
    for name in ("broker", "writer", "reader", "janitor", "neighbour", "witness")
)
GRANTED: Final = {
    WRITER: ("create",),
    READER: ("get",),
    JANITOR: ("list", "delete"),
    WITNESS: ("create", "get", "list", "delete"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class FixedTokens:
    """Always the same token."""

    token: AccessToken

    async def current(self, now: datetime) -> AccessToken:  # noqa: ARG002
        return self.token

    def distrust(self, token: AccessToken) -> None:
        """There is no other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKey:
    """A `Signatory` with a key that nobody has a certificate of."""

    email: str
    key: RSAPrivateKey

    async def sign(self, payload: bytes) -> bytes:
        return self.key.sign(payload, PKCS1v15(), SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """Whom the adapters of a place are."""

    writer: str
    reader: str
    janitor: str

    @classmethod
    def all(cls, email: str) -> Self:
        return cls(writer=email, reader=email, janitor=email)


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsPlace(Place):
    put: GcsPutSigner
    get: GcsGetSigner
    objects: GcsObjectHead
    remover: GcsObjectRemover
    lister: GcsObjectLister
    mark: GcsStoreMark
    resumable: GcsResumableUploads
    witness: GcsWitness


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsStore(Store):
    """`tokens` are by account; the broker's own is among them."""

    iam: str
    tokens: dict[str, AccessToken]
    strange_key: RSAPrivateKey
    witness: GcsWitness

    @property
    def accepts_unsigned_headers(self) -> bool:
        return False

    def speaking(self, dialect: str) -> Self:
        assert dialect == "gcs"
        return self

    def place(
        self,
        bucket: str,
        http: aiohttp.ClientSession,
        *,
        who: Who = "owner",
        prefix: str = "uploads",
        page_size: int = 3,
    ) -> GcsPlace:
        accounts = {
            "owner": Accounts(writer=WRITER, reader=READER, janitor=JANITOR),
            "neighbour": Accounts.all(NEIGHBOUR),
            "unknown": Accounts.all("nobody@emulated.iam.gserviceaccount.com"),
            "impostor": Accounts(writer=WRITER, reader=READER, janitor=JANITOR),
        }[who]
        place = self.place_of(bucket, http, accounts, prefix=prefix, page_size=page_size)
        return place if who in {"owner", "neighbour"} else self._invented(place)

    def place_of(
        self,
        bucket: str,
        http: aiohttp.ClientSession,
        accounts: Accounts,
        *,
        prefix: str = "uploads",
        page_size: int = 3,
    ) -> GcsPlace:
        endpoint = Endpoint.of(self.url)
        caller = GcsCaller(http=http, endpoint=endpoint, clock=SystemClock(), timeout=timedelta(seconds=10))
        iam = IamCredentials(http=http, source=self.bearing(BROKER), clock=SystemClock(), endpoint=self.iam)
        writing, reading, cleaning = map(self.bearing, (accounts.writer, accounts.reader, accounts.janitor))
        return GcsPlace(
            put=GcsPutSigner(bucket=bucket, endpoint=endpoint, signatory=Impersonated(email=accounts.writer, iam=iam)),
            get=GcsGetSigner(bucket=bucket, endpoint=endpoint, signatory=Impersonated(email=accounts.reader, iam=iam)),
            objects=GcsObjectHead(caller=caller, tokens=reading, bucket=bucket),
            remover=GcsObjectRemover(caller=caller, tokens=cleaning, bucket=bucket),
            lister=GcsObjectLister(caller=caller, tokens=cleaning, bucket=bucket, prefix=prefix, page_size=page_size),
            mark=GcsStoreMark(caller=caller, reading=reading, writing=writing, bucket=bucket, prefix=prefix),
            resumable=GcsResumableUploads(caller=caller, tokens=writing, bucket=bucket, public=endpoint),
            witness=self.witness,
            bucket=bucket,
        )

    def bearing(self, email: str) -> FixedTokens:
        """The token of an account; one that nobody gave, of one that nobody knows."""
        return FixedTokens(
            token=self.tokens.get(email, AccessToken(text="invented", expires_at=datetime.max.replace(tzinfo=UTC)))
        )

    def _invented(self, place: GcsPlace) -> GcsPlace:
        """With signatures and tokens that nobody gave."""

        def signatory(real: Signatory) -> Signatory:
            return OwnKey(email=real.email, key=self.strange_key)

        tokens = self.bearing("nobody")
        return replace(
            place,
            put=replace(place.put, signatory=signatory(place.put.signatory)),
            get=replace(place.get, signatory=signatory(place.get.signatory)),
            objects=replace(place.objects, tokens=tokens),
            remover=replace(place.remover, tokens=tokens),
            lister=replace(place.lister, tokens=tokens),
            mark=replace(place.mark, reading=tokens, writing=tokens),
            resumable=replace(place.resumable, tokens=tokens),
        )


@contextmanager
def gcs_emulator(data: Path, *flags: str) -> Iterator[GcsStore]:
    """As strict as what is known of Cloud Storage, but where `flags` say otherwise."""
    bucket, versioned = (f"contract-{uuid.uuid4().hex[:12]}" for _ in range(2))
    with ExitStack() as stack:
        iam = stack.enter_context(start_google_iam(accounts=(BROKER,), impersonate={BROKER: (*GRANTED, NEIGHBOUR)}))
        gcs = stack.enter_context(_started(data, iam, bucket, versioned, flags))
        tokens = asyncio.run(_tokens(iam))
        witness = GcsWitness.of(gcs.endpoint, tokens[WITNESS].text)
        stack.callback(witness.close)
        yield GcsStore(
            url=gcs.endpoint,
            iam=iam.endpoint,
            bucket=bucket,
            versioned_bucket=versioned,
            witness=witness,
            words=GCS_WORDS,
            tokens=tokens,
            strange_key=generate_private_key(public_exponent=65_537, key_size=2_048),
        )


def _started(data: Path, iam: GoogleIamProcess, bucket: str, versioned: str, flags: tuple[str, ...]) -> GcsProcess:
    permissions = {email: ",".join(f"storage.objects.{verb}" for verb in verbs) for email, verbs in GRANTED.items()}
    permissions[WITNESS] += ",storage.buckets.get"
    return start_gcs(
        iam=iam.endpoint,
        data=data,
        buckets=(bucket, f"{versioned}@versioned"),
        grants=[f"{name}:{email}={given}" for name in (bucket, versioned) for email, given in permissions.items()],
        arguments=("--hide-missing", *flags),
    )


async def _tokens(iam: GoogleIamProcess) -> dict[str, AccessToken]:
    """Fetched as the broker does: its own by google-auth, the others' by impersonation."""
    with ThreadPoolExecutor(1) as threads:
        async with aiohttp.ClientSession() as http:
            own = await GoogleSource(opened=key_file(iam.key_files[BROKER]), threads=threads).fetch()
            acting = IamCredentials(
                http=http, source=FixedTokens(token=own), clock=SystemClock(), endpoint=iam.endpoint
            )
            sources = {
                email: ImpersonatedSource(email=email, iam=acting, scopes=SCOPES) for email in (*GRANTED, NEIGHBOUR)
            }
            return {BROKER: own, **{email: await source.fetch() for email, source in sources.items()}}
