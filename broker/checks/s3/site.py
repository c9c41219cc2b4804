"""What is checked in S3: a destination's own adapters, as they also serve, and its three credentials."""

from dataclasses import dataclass
from typing import Self

from broker.checks.bench import Bench
from broker.checks.findings import Finding
from broker.checks.needs import Need, Right
from broker.checks.s3 import troubles
from broker.contract import Level
from broker.domain.errors import BrokerError, ConfigurationInvalid
from broker.domain.objects import CAPSULE_FIELD
from broker.ports import Bucket
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.dialects import CHECKSUM_HEADERS, Dialect
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping
from broker.storage.s3.signer import METADATA_PREFIX, S3GetSigner, S3PutSigner
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Site:
    """`public` is where clients send to, `consumer` where jobs are read; `caller` asks where the broker itself does.

    `operator` may read the bucket's own settings, if somebody named such a credential.
    """

    bucket: Bucket
    dialect_name: str
    dialect: Dialect
    public: Endpoint
    consumer: Endpoint
    caller: S3Caller
    credentials: dict[Right, Credentials]
    region: str
    keeping: Keeping = AS_THE_BUCKET_SAYS
    origins: tuple[str, ...] = ()
    operator: Credentials | None = None

    @classmethod
    def of(
        cls,
        bucket: Bucket,
        *,
        dialect_name: str,
        region: str,
        origins: tuple[str, ...],
        operator: Credentials | None = None,
    ) -> Self:
        """:raises ConfigurationInvalid: its provider is not S3."""
        put, head, remover, consumer = bucket.put, bucket.objects, bucket.remover, bucket.consumer_get or bucket.get
        if not (
            isinstance(put, S3PutSigner)
            and isinstance(head, S3ObjectHead)
            and isinstance(remover, S3ObjectRemover)
            and isinstance(consumer, S3GetSigner)
        ):
            raise ConfigurationInvalid(f"destinations.{bucket.destination.name}: is not in S3")
        return cls(
            bucket=bucket,
            dialect_name=dialect_name,
            dialect=put.dialect,
            public=put.endpoint,
            consumer=consumer.endpoint,
            caller=head.caller,
            credentials={"write": put.credentials, "read": head.credentials, "remove": remover.credentials},
            region=region,
            keeping=put.keeping,
            origins=origins,
            operator=operator,
        )

    @property
    def name(self) -> str:
        return self.bucket.destination.name

    @property
    def objects_arn(self) -> str:
        return f"{self.bucket_arn}/{self.bucket.destination.prefix}/*"

    @property
    def bucket_arn(self) -> str:
        return f"arn:aws:s3:::{self.bucket.destination.bucket}"

    @property
    def setup(self) -> str:
        return f"upload-broker setup s3 --print {self.name}"

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
        return "if-none-match"

    @property
    def is_create_only(self) -> bool:
        return self.dialect.create_only is Level.ENFORCED

    @property
    def origin(self) -> str:
        return self.public.origin

    @property
    def has_one_address(self) -> bool:
        return self.consumer == self.public

    @property
    def checksum_headers(self) -> dict[str, str]:
        return {name: CHECKSUM_HEADERS[name] for name in self.dialect.verifies}

    def moved(self, url: str, key: str, to: str) -> str:
        return url.replace(self.public.path(key), self.public.path(to), 1)

    def explained(self, need: Need | None, status: int, code: str) -> Finding:
        return troubles.explained(self, need, status, code)

    def explained_text(self, need: Need | None, detail: str) -> Finding:
        return troubles.explained_text(self, need, detail)

    async def delete_blindly(self, key: str) -> bool:
        """`read` cannot look, or `remove` cannot compare: a DELETE of what is ours by its name."""
        try:
            answer = await self.caller.call("DELETE", key, self.credentials["remove"])
        except BrokerError:
            return False
        return answer.status in {200, 204, 404} and "x-amz-delete-marker" not in answer.headers


S3Bench = Bench[S3Site]
PUT = Need(right="write", actions=("s3:PutObject",))
HEAD = Need(right="read", actions=("s3:GetObject", "s3:GetObjectVersion"))
