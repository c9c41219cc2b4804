"""What is checked: a destination's own adapters, taken from the bucket that also serves, and its three credentials."""

from dataclasses import dataclass
from typing import Literal, Self

from broker.domain.errors import ConfigurationInvalid
from broker.ports import Bucket
from broker.storage.s3.caller import S3Caller
from broker.storage.s3.credentials import Credentials
from broker.storage.s3.dialects import Dialect
from broker.storage.s3.endpoint import Endpoint
from broker.storage.s3.keeping import AS_THE_BUCKET_SAYS, Keeping
from broker.storage.s3.signer import S3GetSigner, S3PutSigner
from broker.storage.s3.store import S3ObjectHead, S3ObjectRemover

Right = Literal["write", "read", "remove"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
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
            raise ConfigurationInvalid(f"destinations.{bucket.destination.name}: only S3 can be checked yet")
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
