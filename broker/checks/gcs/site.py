"""What is checked in Cloud Storage: a destination's own adapters, as they also serve, and its service accounts."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, Self

from broker.checks.bench import Bench
from broker.checks.findings import Finding
from broker.checks.gcs import troubles
from broker.checks.gcs.operator import Operator
from broker.checks.needs import Need, Right
from broker.domain.errors import BrokerError, ConfigurationInvalid
from broker.domain.objects import CAPSULE_FIELD
from broker.ports import Bucket
from broker.storage.gcs import permissions
from broker.storage.gcs.caller import GcsCaller
from broker.storage.gcs.dialect import VERIFIED
from broker.storage.gcs.endpoint import Endpoint, object_path, xml_path
from broker.storage.gcs.resumable import GcsResumableUploads
from broker.storage.gcs.signer import METADATA_PREFIX, GcsGetSigner, GcsPutSigner, Signatory
from broker.storage.gcs.store import GcsObjectHead, GcsObjectRemover
from broker.storage.gcs.tokens import AccessTokens

PUT: Final = Need(right="write", actions=(permissions.CREATE,))
HEAD: Final = Need(right="read", actions=(permissions.GET,))
LIST: Final = Need(right="remove", actions=(permissions.LIST,), is_on_bucket=True)
MISSING: Final = Need(right="read", actions=(permissions.LIST,), is_on_bucket=True)
REMOVE: Final = Need(right="remove", actions=(permissions.DELETE,))


class GcsAccounts(Protocol):
    """Who has which right, and who stands in between."""

    @property
    def writer(self) -> str: ...

    @property
    def reader(self) -> str: ...

    @property
    def janitor(self) -> str: ...

    @property
    def delegates(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GcsSite:
    """`accounts` are those that the broker impersonates; `iam` asks what it may do with them.

    :param source, in_storage: the broker's own identity, as it comes to IAM and to the store.
    :param unscoped: tokens that are good for whatever the accounts may, which ours are not.
    :param delegates: the accounts in between.
    :param operator: who may read the bucket's own settings, or why nobody does.
    """

    bucket: Bucket
    caller: GcsCaller
    iam: GcsCaller
    public: Endpoint
    consumer: Endpoint
    source: AccessTokens
    in_storage: AccessTokens
    accounts: Mapping[Right, str]
    delegates: tuple[str, ...]
    tokens: Mapping[Right, AccessTokens]
    unscoped: Mapping[Right, AccessTokens]
    signatories: Mapping[Right, Signatory]
    proved: frozenset[str]
    origins: tuple[str, ...]
    operator: Operator | str

    @classmethod
    def of(
        cls,
        bucket: Bucket,
        *,
        iam: GcsCaller,
        source: AccessTokens,
        in_storage: AccessTokens,
        unscoped: Mapping[Right, AccessTokens],
        accounts: GcsAccounts,
        origins: tuple[str, ...],
        operator: Operator | str,
    ) -> Self:
        """:raises ConfigurationInvalid: its provider is not Google."""
        put, get, head, remover = bucket.put, bucket.get, bucket.objects, bucket.remover
        consumer, resumable = bucket.consumer_get or get, bucket.resumable
        if not (
            isinstance(put, GcsPutSigner)
            and isinstance(get, GcsGetSigner)
            and isinstance(head, GcsObjectHead)
            and isinstance(remover, GcsObjectRemover)
            and isinstance(consumer, GcsGetSigner)
            and isinstance(resumable, GcsResumableUploads)
        ):
            raise ConfigurationInvalid(f"destinations.{bucket.destination.name}: is not in Google Cloud Storage")
        return cls(
            bucket=bucket,
            caller=head.caller,
            iam=iam,
            public=put.endpoint,
            consumer=consumer.endpoint,
            source=source,
            in_storage=in_storage,
            unscoped=unscoped,
            accounts={"write": accounts.writer, "read": accounts.reader, "remove": accounts.janitor},
            delegates=accounts.delegates,
            tokens={"write": resumable.tokens, "read": head.tokens, "remove": remover.tokens},
            signatories={"write": put.signatory, "read": get.signatory},
            proved=frozenset(resumable.proved),
            origins=origins,
            operator=operator,
        )

    @property
    def name(self) -> str:
        return self.bucket.destination.name

    @property
    def dialect_name(self) -> str:
        return "gcs"

    @property
    def setup(self) -> str:
        return f"upload-broker setup gcs --print {self.name}"

    @property
    def put(self) -> Need:
        return PUT

    @property
    def head(self) -> Need:
        return HEAD

    @property
    def capsule_header(self) -> str:
        return f"{METADATA_PREFIX}{CAPSULE_FIELD}"

    @property
    def condition_header(self) -> str:
        return "x-goog-if-generation-match"

    @property
    def is_create_only(self) -> bool:
        return True

    @property
    def origin(self) -> str:
        return self.public.origin

    @property
    def has_one_address(self) -> bool:
        return self.consumer == self.public

    @property
    def checksum_headers(self) -> Mapping[str, str]:
        return dict.fromkeys(VERIFIED, "x-goog-hash")

    def moved(self, url: str, key: str, to: str) -> str:
        name = self.bucket.destination.bucket
        return url.replace(xml_path(name, key), xml_path(name, to), 1)

    def explained(self, need: Need | None, status: int, code: str) -> Finding:
        return troubles.explained(self, need, status, code)

    def explained_text(self, need: Need | None, detail: str) -> Finding:
        return troubles.explained_text(self, need, detail)

    async def delete_blindly(self, key: str) -> bool:
        """The reader cannot look: a DELETE of what is ours by its name."""
        path = object_path(self.bucket.destination.bucket, key)
        try:
            answer = await self.caller.call("DELETE", path, self.tokens["remove"])
        except BrokerError:
            return False
        return answer.status in {200, 204, 404}


GcsBench = Bench[GcsSite]
