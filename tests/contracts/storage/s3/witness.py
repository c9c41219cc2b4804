"""boto3, with a signer of its own and the owner's credential, says what is really stored."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Self

import boto3
import msgspec
from botocore.config import Config

from broker.storage.s3.sigv4 import Credential


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Witness:
    client: Any  # boto3 makes its methods at run time

    @classmethod
    def of(cls, url: str, region: str, credential: Credential) -> Self:
        # Ceph 16.2 does not know the trailing checksums that boto3 adds by itself.
        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        client = boto3.client(
            "s3",
            endpoint_url=url,
            region_name=region,
            aws_access_key_id=credential.access_key,
            aws_secret_access_key=credential.secret_key,
            config=config,
        )
        return cls(client=client)

    def close(self) -> None:
        self.client.close()

    def make_bucket(self, bucket: str, *, is_versioned: bool = False) -> None:
        self.client.create_bucket(Bucket=bucket)
        if is_versioned:
            self.client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def set_policy(self, bucket: str, *statements: dict[str, Any]) -> None:
        policy = {"Version": "2012-10-17", "Statement": list(statements)}
        # Without spaces: Ceph 16.2 calls a policy malformed that has some.
        self.client.put_bucket_policy(Bucket=bucket, Policy=msgspec.json.encode(policy).decode())

    def set_public_access(self, bucket: str, settings: dict[str, bool]) -> None:
        self.client.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=settings)

    async def has_bucket(self, bucket: str) -> bool:
        return bucket in {each["Name"] for each in (await self._call(self.client.list_buckets))["Buckets"]}

    async def keys(self, bucket: str, prefix: str = "") -> set[str]:
        listing = await self._call(self.client.list_objects_v2, Bucket=bucket, Prefix=prefix)
        assert not listing["IsTruncated"]
        return {each["Key"] for each in listing.get("Contents", ())}

    async def unfinished(self, bucket: str, prefix: str) -> set[str]:
        listing = await self._call(self.client.list_multipart_uploads, Bucket=bucket, Prefix=prefix)
        return {each["Key"] for each in listing.get("Uploads", ())}

    async def put(
        self,
        bucket: str,
        key: str,
        body: bytes,
        *,
        content_type: str = "text/plain",
        metadata: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        what = {"Body": body, "ContentType": content_type, "Metadata": dict(metadata)}
        await self._call(self.client.put_object, Bucket=bucket, Key=key, **what)

    async def get(self, bucket: str, key: str) -> bytes:
        answer = await self._call(self.client.get_object, Bucket=bucket, Key=key)
        body: bytes = await asyncio.to_thread(answer["Body"].read)
        return body

    async def digests(self, bucket: str, prefix: str) -> dict[str, str]:
        """MD5 in hex, by key, of all there are."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        listed = await self._call(lambda: [each for page in pages for each in page.get("Contents", ())])
        return {each["Key"]: each["ETag"].strip('"') for each in listed}

    async def delete(self, bucket: str, key: str) -> None:
        await self._call(self.client.delete_object, Bucket=bucket, Key=key)

    async def _call(self, method: Callable[..., Any], **arguments: Any) -> Any:
        return await asyncio.to_thread(lambda: method(**arguments))
